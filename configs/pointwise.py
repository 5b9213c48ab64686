"""2 to 12 pointwise layers with batch normalisation and ReLU, 32 wide: 7,089 parameters for the default of 6 layers.

The paper's outlook asks for them, since its two layers did better than its U-Net. Nothing is seen but a voxel's own
curve; what depth adds over `two_layer.py` is that the curve may be bent.

    python -m tmax_jax.main --config=configs/pointwise.py            6 layers
    python -m tmax_jax.main --config=configs/pointwise.py:depth12    12 layers; depth2 to depth12 are there
    python -m tmax_jax.main --config=configs/pointwise.py:paper      6 layers, stored units, all voxels, Adam 1e-3

Add --config.model.dropout=0.1 or --config.model.norm=none for the other half of that grid.

    depth2      2,353 parameters      depth6      7,089      depth10    11,825
    depth3      3,537                 depth7      8,273      depth11    13,009
    depth4      4,721                 depth8      9,457      depth12    14,193
    depth5      5,905                 depth9     10,641

On 44 simulated patients (8 x 32 x 32, fold 0 of 2): brain MSE 0.88 s², the training mean 4.5 s², in 35 s on one core.
"""

import functools

from ml_collections import ConfigDict

from tmax_jax import defaults

WIDTH = 32


def get_config(variant: str = "") -> defaults.Config:
    config = defaults.get_config()
    config.name = "pointwise"
    config.model = ConfigDict(
        {
            "name": "pointwise",
            "features": (WIDTH,) * 5,
            "activation": "relu",
            "norm": "batch",
            "dropout": 0.0,
            "dtype": "float32",
        }
    )
    config.epochs = 60
    config.batch_size = 1
    # One patient a step, 60 epochs: brain MSE 0.88 s², Dice > 6 s .71. Four a step, 120 epochs: 1.19 s², .64. (44
    # phantom patients at 8 x 32 x 32, fold 0 of 2.) The cosine to zero lets the batch statistics settle.
    config.optimizer.learning_rate = 1e-2
    config.optimizer.schedule = "cosine"
    return defaults.choose(config, variant, VARIANTS)


def depth(config: defaults.Config, layers: int) -> None:
    config.name += f"-depth{layers}"
    config.model.features = (WIDTH,) * (layers - 1)  # and the head


VARIANTS = {f"depth{layers}": functools.partial(depth, layers=layers) for layers in range(2, 13)}
VARIANTS |= {"paper": defaults.paper}
