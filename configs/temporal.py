"""Convolutions over the frames of each voxel, then pointwise layers: 1,793 parameters, for any number of frames.

A convolution finds the bolus wherever it passes, and the layers after it learn from how strong it was and when it came.
Cohorts of other lengths (`--size=8,32,32,40`) need no other network.

    python -m tmax_jax.main --config=configs/temporal.py
    python -m tmax_jax.main --config=configs/temporal.py:paper      stored units, all voxels, Adam 1e-3

On the quickstart's patients (simulated, 8 x 32 x 32; fold 0 of 3, 20 epochs): brain MSE 2.6 s², the training mean 5.1
s²; a minute on two busy CPU cores.
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
            "norm": "none",
            "dropout": 0.0,
            "dtype": "float32",
        }
    )
    config.optimizer.schedule = "cosine"
    return defaults.choose(config, variant, VARIANTS)


VARIANTS = {"paper": defaults.paper}
