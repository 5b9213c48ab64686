"""How much may be missing of the patients that a network learns from? 0, 2, 5 and 20 % of their images.

    python -m tmax_jax.sweep --config=configs/ablations/missing_data.py --config.data.store=cohort.zarr
    python -m tmax_jax.main --config=configs/ablations/missing_data.py:missing5    one of its variants

The paper dropped patients of whom more than 5 % of the images were missing, and asks for cohorts with incomplete
patients. Here images (one slice at one time) are taken from the training patients and replaced by zeros, as conversion
does; the patients that are scored are complete. Each larger share holds the smaller one. `dropped5` takes 5 % anew in
every step (augmentation) instead of the same images every time.

5 variants of the 6-layer pointwise network (7,089 parameters) x (6 folds + 1). At 8 x 32 x 32 x 60 a cell of 44
patients and 60 epochs takes about a minute of one CPU core.
"""

from configs import pointwise
from tmax_jax import defaults


def get_sweep() -> dict[str, defaults.Config]:
    sweep = {}
    for percent in (0, 2, 5, 20):
        config = pointwise.get_config()
        config.data.missing_percent = float(percent)
        sweep[f"missing{percent}"] = config
    sweep["dropped5"] = pointwise.get_config()
    sweep["dropped5"].augment.dropped_images_percent = 5.0
    return sweep


def get_config(variant: str = "") -> defaults.Config:
    return defaults.pick("missing_data", get_sweep(), variant)
