"""What each loss promises, for the tests that every loss must pass: a loss without an entry here fails them."""

import functools
from typing import Any, NamedTuple

from tmax_jax import losses


class Promise(NamedTuple):
    """The properties of one loss; those not named here hold for all."""

    options: dict[str, Any]  # enough to call it on a small volume
    golden: dict[str, Any]  # options of its golden
    symmetric: bool = True  # the same when prediction and target are exchanged
    monotone: bool = True  # grows along the straight line from the target on
    upper: float = float("inf")
    voxelwise: bool = False  # a mean over voxels, in any order


PAIR = [(1.0, losses.absolute_error), (0.5, functools.partial(losses.huber, delta=2.0))]
WINDOW = {"data_range": 20.0, "sigma": (0.5, 1.0, 1.0)}

PROMISES: dict[str, Promise] = {
    "squared_error": Promise({}, {}, voxelwise=True),
    "absolute_error": Promise({}, {}, voxelwise=True),
    "huber": Promise({}, {"delta": 2.0}, voxelwise=True),
    "log_cosh": Promise({}, {}, voxelwise=True),
    "quantile": Promise({"level": 0.3}, {"level": 0.3}, symmetric=False, voxelwise=True),
    "asymmetric_squared_error": Promise({}, {"over": 3.0, "under": 0.5}, symmetric=False, voxelwise=True),
    "relative_error": Promise({}, {}, symmetric=False, voxelwise=True),
    "precision_weighted": Promise({}, {}, symmetric=False, voxelwise=True),
    "soft_precision": Promise({}, {}, symmetric=False, upper=1),
    "tversky": Promise({}, {}, symmetric=False, upper=1),
    "focal_tversky": Promise({}, {}, symmetric=False, upper=1),
    "dice": Promise({}, {}, upper=1),
    "generalized_dice": Promise({}, {"temperature_s": 0.05}, symmetric=False, monotone=False, upper=1),
    "ordinal": Promise({}, {}, symmetric=False, voxelwise=True),
    "ssim": Promise(WINDOW, {"data_range": 20.0}, monotone=False, upper=2),
    "multiscale_ssim": Promise(
        WINDOW | {"weights": (0.5, 0.5)},
        {"data_range": 20.0, "weights": (0.3, 0.3, 0.4)},
        monotone=False,
        upper=1,
    ),
    "gradient_difference": Promise({"spacing_mm": (5.0, 1.8, 1.8)}, {"spacing_mm": (5.0, 1.8, 2.0)}),
    "weighted_sum": Promise({"terms": PAIR}, {"terms": PAIR}, voxelwise=True),
}


def bound(name: str):
    """Returns the loss with the options that a small volume needs."""
    return functools.partial(losses.LOSSES[name], **PROMISES[name].options)
