"""The U-Net that the paper cut its own from, with its fourth pooling: 22,102,017 parameters.

24 slices do not halve four times, so the fourth pooling keeps z here; `four_pools` is the parent as it was written
(22,626,305 parameters), for cohorts whose slices divide by 16.
Source: https://github.com/mrkolarik/3D-brain-segmentation (3D-unet.py), with 60 input channels instead of 1.

    python -m tmax_jax.main --config=configs/unet_parent.py
    python -m tmax_jax.main --config=configs/unet_parent.py:four_pools    16, 32, ... slices
    python -m tmax_jax.main --config=configs/unet_parent.py:paper         stored units, all voxels, a sigmoid head

A GPU is wanted, as for `unet.py`, whose time a step this has within a few per cent.
"""

from ml_collections import ConfigDict

from tmax_jax import defaults


def get_config(variant: str = "") -> defaults.Config:
    config = defaults.get_config()
    config.name = "unet_parent"
    config.model = ConfigDict(
        {
            "name": "unet",
            "features": (32, 64, 128, 256),
            "bottleneck": 512,
            "pool_bottleneck": True,
            "keep_z": (4,),
            "head_activation": "linear",
            "dtype": "float32",
        }
    )
    config.optimizer.learning_rate = 1e-4
    return defaults.choose(config, variant, VARIANTS)


def four_pools(config: defaults.Config) -> None:
    config.name += "-four_pools"
    config.model.keep_z = ()


def paper(config: defaults.Config) -> None:
    defaults.paper(config)
    config.model.head_activation = "sigmoid"


VARIANTS = {"four_pools": four_pools, "paper": paper}
