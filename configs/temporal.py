"""Convolutions over the frames of each voxel, then pointwise layers: 2,145 parameters, for any number of frames.

A convolution finds the bolus wherever it passes, and the layers after it learn from how strong it was and when it came.
Cohorts of other lengths (`--size=8,32,32,40`) need no other network.

    python -m tmax_jax.main --config=configs/temporal.py
    python -m tmax_jax.main --config=configs/temporal.py:paper      stored units, all voxels, Adam 1e-3

TIMES
"""

from ml_collections import ConfigDict

from tmax_jax import defaults


def get_config(variant: str = "") -> defaults.Config:
    config = defaults.get_config()
    config.name = "temporal"
    config.model = ConfigDict(
        {
            "name": "temporal",
            "features": (8, 16),
            "kernel_frames": 5,
            "hidden": (32,),
            "norm": "batch",
            "dropout": 0.0,
            "dtype": "float32",
        }
    )
    config.optimizer.learning_rate = 1e-2
    config.optimizer.schedule = "cosine"
    config.epochs = 60
    config.batch_size = 4  # see two_layer.py
    return defaults.choose(config, variant, VARIANTS)


VARIANTS = {"paper": defaults.paper}
