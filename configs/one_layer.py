"""One linear layer over time: 61 parameters, one weight a frame and a bias.

Reproduces the paper's "1 Layer" rows. The learning rate is ten times the paper's largest: with inputs in 0..1 the
weights must reach sizes near 1, and Adam moves each by about one learning rate a step.

    python -m tmax_jax.main --config=configs/one_layer.py          Tmax in seconds, inside the brain
    python -m tmax_jax.main --config=configs/one_layer.py:paper    stored units, all voxels, Adam 1e-3

Paper, Table I (their patients, stored units): MSE 162699887 / 7046720 / 3664168 at 1e-5 / 1e-4 / 1e-3. Numbers of
that size need inputs of raw magnitude: add --config.data.normalise=False to the paper's variant.
"""

from ml_collections import ConfigDict

from tmax_jax import defaults


def get_config(variant: str = "") -> defaults.Config:
    config = defaults.get_config()
    config.name = "one_layer"
    config.model = ConfigDict({"name": "one_layer"})
    config.optimizer.learning_rate = 1e-2
    config.epochs = 60
    return defaults.choose(config, variant, VARIANTS)


VARIANTS = {"paper": defaults.paper}
