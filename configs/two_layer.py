"""Two pointwise layers with batch normalisation: 1033 parameters, 889 trained and 144 running statistics.

Reproduces the paper's "2 Layer" rows, its best model.

    python -m tmax_jax.main --config=configs/two_layer.py          Tmax in seconds, inside the brain
    python -m tmax_jax.main --config=configs/two_layer.py:paper    stored units, all voxels, Adam 1e-3

With one patient a batch, the batch's statistics are that patient's own: the network learns to lean on a correction that
it does not have at inference. Four patients a batch bring the two closer (see BUILD_NOTES); the paper used one.

Paper, Table I (their patients, stored units): MSE 214097 / 212887 / 203112 at 1e-5 / 1e-4 / 1e-3.
"""

from ml_collections import ConfigDict

from tmax_jax import defaults


def get_config(variant: str = "") -> defaults.Config:
    config = defaults.get_config()
    config.name = "two_layer"
    config.model = ConfigDict({"name": "two_layer", "features": 12})
    config.optimizer.learning_rate = 1e-2
    config.epochs = 100  # the running statistics, with a momentum of 0.99, need some hundred steps
    config.batch_size = 4
    return defaults.choose(config, variant, VARIANTS)


VARIANTS = {"paper": defaults.paper}
