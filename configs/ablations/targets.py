"""In which unit, over which voxels and through which head should a network learn Tmax?

    python -m tmax_jax.sweep --config=configs/ablations/targets.py --config.data.store=cohort.zarr
    python -m tmax_jax.main --config=configs/ablations/targets.py:ms-all    one of its variants

`ms`, `1s` and `20s` is the Tmax that an output of 1 stands for; the loss is counted in the same unit, so that Adam sees
the same gradients a network with such targets would give. `brain` or `all` is where the loss looks. `ms-all` is the
paper's. The network is the 6-layer pointwise one, 7,089 parameters, with a linear head.

6 variants x (6 folds + 1). At 8 x 32 x 32 x 60 a cell of 44 patients and 60 epochs takes about a minute of one core.
"""

from configs import pointwise
from tmax_jax import defaults

UNITS_S = {"20s": 20.0, "1s": 1.0, "ms": 0.001}


def get_sweep() -> dict[str, defaults.Config]:
    sweep = {}
    for unit, seconds in UNITS_S.items():
        for over in ("brain", "all"):
            config = pointwise.get_config()
            config.target.scale_s = config.loss.unit_s = seconds
            config.loss.voxels = over
            sweep[f"{unit}-{over}"] = config
    return sweep


def get_config(variant: str = "") -> defaults.Config:
    return defaults.pick("targets", get_sweep(), variant)
