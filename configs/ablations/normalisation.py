"""What should be normalised: the intensities of a series, the layers of the network, both, or neither?

    python -m tmax_jax.sweep --config=configs/ablations/normalisation.py --config.data.store=cohort.zarr
    python -m tmax_jax.main --config=configs/ablations/normalisation.py:raw-batch    one of its variants

`series` scales each series to 0..1 by its own extremes, `raw` leaves the scanner's numbers; after the dash stands what
normalises the layers of the 6-layer pointwise network (7,089 parameters; 6,209 without, 6,649 by groups or instances).

8 variants x (6 folds + 1). At 8 x 32 x 32 x 60 a cell of 44 patients and 60 epochs takes about a minute of one core.
"""

from configs import pointwise
from tmax_jax import defaults


def get_sweep() -> dict[str, defaults.Config]:
    sweep = {}
    for scaled in (True, False):
        for norm in ("none", "batch", "group", "instance"):
            config = pointwise.get_config()
            config.data.normalise, config.model.norm = scaled, norm
            sweep[f"{'series' if scaled else 'raw'}-{norm}"] = config
    return sweep


def get_config(variant: str = "") -> defaults.Config:
    return defaults.pick("normalisation", get_sweep(), variant)
