"""Two pointwise layers with batch normalisation: 1033 parameters, 889 trained and 144 running statistics.

Reproduces the paper's "2 Layer" rows, its best model.

    python -m tmax_jax.main --config=configs/two_layer.py          Tmax in seconds, inside the brain
    python -m tmax_jax.main --config=configs/two_layer.py:paper    stored units, all voxels, Adam 1e-3

Paper, Table I (their patients, stored units): MSE 214097 / 212887 / 203112 at 1e-5 / 1e-4 / 1e-3.
"""

from ml_collections import ConfigDict

from tmax_jax import defaults


def get_config(variant: str = "") -> ConfigDict:
    config = defaults.get_config()
    config.name = "two_layer"
    config.model = ConfigDict({"name": "two_layer", "features": 12})
    config.optimizer.learning_rate = 1e-2
    return defaults.choose(config, variant, {"paper": defaults.paper})
