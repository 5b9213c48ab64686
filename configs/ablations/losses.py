"""Which loss keeps healthy brain from being called late? Sixteen losses against the squared error.

    python -m tmax_jax.sweep --config=configs/ablations/losses.py --config.data.store=cohort.zarr
    python -m tmax_jax.main --config=configs/ablations/losses.py:asymmetric-4    one of its variants

The paper asks for losses that punish "too high" more than "too low", and that weigh precision. The page's table of
losses by metrics sets the white-out index (healthy brain predicted above 6 s) beside the absolute error, both as paired
differences from the squared error: a loss that lowers the one by raising the other has only moved all values down.

The network is `pointwise.py`'s of 6 layers, 7,089 parameters. Overlap, precision, structure and thresholds say little
about absolute values (ordinal alone, 165 steps: Dice > 6 s .66, absolute error 27 s), so they are added to the squared
error (s²), with weights that let both count.

17 variants x (6 folds + 1). At 8 x 32 x 32 x 60 a cell of 44 patients and 60 epochs takes about a minute of one core.
"""

from ml_collections import ConfigDict

from configs import pointwise
from tmax_jax import defaults


def beside_squared_error(name: str, weight: float, **options: object) -> dict[str, object]:
    return {
        "name": "weighted_sum",
        "terms": {"squared_error": {"weight": 1.0}, name: {"weight": weight, **options}},
    }


LOSSES: dict[str, dict[str, object]] = {
    "squared": {"name": "squared_error"},
    "absolute": {"name": "absolute_error"},
    "huber": {"name": "huber", "delta": 1.0},
    "log_cosh": {"name": "log_cosh"},
    "quantile-0.4": {"name": "quantile", "level": 0.4},
    "quantile-0.3": {"name": "quantile", "level": 0.3},
    "asymmetric-2": {"name": "asymmetric_squared_error", "over": 2.0},
    "asymmetric-4": {"name": "asymmetric_squared_error", "over": 4.0},
    "relative": {"name": "relative_error", "floor": 1.0},
    "precision_weighted-4": {"name": "precision_weighted", "weight": 4.0},
    "precision_weighted-10": {"name": "precision_weighted", "weight": 10.0},
    "squared+ordinal": beside_squared_error("ordinal", 2.0, thresholds_s=(4.0, 6.0, 8.0, 10.0)),
    "squared+precision": beside_squared_error("soft_precision", 2.0),
    "squared+tversky": beside_squared_error("tversky", 2.0, alpha=0.7, beta=0.3),
    "squared+dice": beside_squared_error("dice", 2.0),
    "squared+ssim": beside_squared_error("ssim", 5.0, data_range=20.0),
    "squared+gradient": beside_squared_error("gradient_difference", 1.0),
}


def get_sweep() -> dict[str, defaults.Config]:
    sweep = {}
    for variant, loss in LOSSES.items():
        config = pointwise.get_config()
        config.loss = ConfigDict({**config.loss.to_dict(), **loss})
        sweep[variant] = config
    return sweep


def get_config(variant: str = "") -> defaults.Config:
    return defaults.pick("losses", get_sweep(), variant)
