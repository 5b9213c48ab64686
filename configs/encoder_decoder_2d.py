"""A 2-D encoder-decoder, every slice by itself: 7,776,513 parameters, four poolings.

No slice knows its neighbours, which are three times as far away as the next pixel. Its kernels have a third of the 3-D
U-Net's weights, and a stack may have any number of slices. After Chen et al. 2020 (doi:10.1148/radiol.2020192793), who
predict a map from eleven series this way.

    python -m tmax_jax.main --config=configs/encoder_decoder_2d.py
    python -m tmax_jax.main --config=configs/encoder_decoder_2d.py:paper    stored units, all voxels, a sigmoid head

440 GFLOP a training step at full size, three quarters of the 3-D U-Net's: a GPU is wanted.
"""

from ml_collections import ConfigDict

from tmax_jax import defaults


def get_config(variant: str = "") -> defaults.Config:
    config = defaults.get_config()
    config.name = "encoder_decoder_2d"
    config.model = ConfigDict(
        {
            "name": "unet",
            "slice_wise": True,
            "features": (32, 64, 128, 256),
            "bottleneck": 512,
            "pool_bottleneck": True,
            "norm": "none",
            "dropout": 0.0,
            "head_activation": "linear",
            "dtype": "float32",
        }
    )
    config.optimizer.learning_rate = 1e-4
    return defaults.choose(config, variant, VARIANTS)


def paper(config: defaults.Config) -> None:
    defaults.paper(config)
    config.model.head_activation = "sigmoid"


VARIANTS = {"paper": paper}
