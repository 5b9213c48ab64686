"""Do more pointwise layers help, and do batch normalisation and dropout help them? 2 to 12 layers, each in four ways.

    python -m tmax_jax.sweep --config=configs/ablations/depth.py --config.data.store=cohort.zarr
    python -m tmax_jax.main --config=configs/ablations/depth.py:depth6-batch    one of its variants

The paper's outlook asks for this grid. Width 32, ReLU, Adam with a cosine schedule. Dropout takes a tenth of the
channels of each hidden layer. All are compared with two layers without either.

28 variants x (6 folds + 1), 1,985 to 14,193 parameters. At 8 x 32 x 32 x 60 a cell of 44 patients and 60 epochs takes
about a minute of one CPU core; at full size, 16 GFLOP a patient and epoch for 6 layers, it is made for a GPU.
"""

from configs import pointwise
from tmax_jax import defaults

LAYERS = (2, 3, 4, 6, 8, 10, 12)


def get_sweep() -> dict[str, defaults.Config]:
    sweep = {}
    for layers in LAYERS:
        for norm in ("none", "batch"):
            for dropout in (0.0, 0.1):
                config = pointwise.get_config(f"depth{layers}")
                config.model.norm, config.model.dropout = norm, dropout
                name = f"depth{layers}" + ("-batch" if norm == "batch" else "") + ("-dropout" if dropout else "")
                sweep[name] = config
    return sweep


def get_config(variant: str = "") -> defaults.Config:
    return defaults.pick("depth", get_sweep(), variant)
