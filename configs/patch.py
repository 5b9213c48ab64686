"""A voxel's Tmax from the curves of its 3 x 3 x 3 neighbourhood: 53,217 parameters.

Between the pointwise networks and the U-Net: neighbours average the noise away, and nothing farther off plays a part.
After the local regressors of McKinley et al. 2018 (doi:10.3389/fneur.2018.00717).

    python -m tmax_jax.main --config=configs/patch.py
    python -m tmax_jax.main --config=configs/patch.py:paper         stored units, all voxels, Adam 1e-3

TIMES
"""

from ml_collections import ConfigDict

from tmax_jax import defaults


def get_config(variant: str = "") -> defaults.Config:
    config = defaults.get_config()
    config.name = "patch"
    config.model = ConfigDict(
        {
            "name": "patch",
            "neighbourhood": 3,
            "features": (32, 32),
            "norm": "batch",
            "dropout": 0.0,
            "dtype": "float32",
        }
    )
    config.optimizer.learning_rate = 1e-2
    config.optimizer.schedule = "cosine"
    config.epochs = 40
    config.batch_size = 4  # see two_layer.py
    return defaults.choose(config, variant, VARIANTS)


VARIANTS = {"paper": defaults.paper}
