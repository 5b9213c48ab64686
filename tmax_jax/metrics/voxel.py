"""Voxel-wise agreement of predicted and true Tmax, from sums: of each case, or of a cohort pooled.

With p and t the predicted and true Tmax of the voxels that count, e = p - t, and means, variances and the covariance
over these voxels.
"""

import numpy as np

from tmax_jax.metrics._ratio import ratio
from tmax_jax.metrics.sums import RANGE_S, TmaxSums

_CONSTANT = 1e-5  # a standard deviation below this share of the mean is rounding


def mse_all_s2(sums: TmaxSums) -> np.ndarray:
    """Mean squared error over all voxels, background included: the paper's score.

    Returns:
      mean of e^2, in s^2.

    Reference:
      Sossin, Carlson and Radzihovsky 2021, section IV.C.
    """
    return ratio(sums.squared_all, sums.count_all)


def mse_brain_s2(sums: TmaxSums) -> np.ndarray:
    """Mean squared error over the mask.

    Returns:
      mean of e^2, in s^2.

    Reference:
      Wang and Bovik 2009, IEEE Signal Processing Magazine 26:98.
    """
    return ratio(sums.squared_brain, sums.brain.count)


def mae_brain_s(sums: TmaxSums) -> np.ndarray:
    """Mean absolute error over the mask.

    Returns:
      mean of |e|, in seconds.

    Reference:
      Willmott and Matsuura 2005, Climate Research 30:79.
    """
    return ratio(sums.over_brain + sums.under_brain, sums.brain.count)


def bias_brain_s(sums: TmaxSums) -> np.ndarray:
    """Mean error over the mask.

    Returns:
      mean of e, in seconds; positive: predicted too high.

    Reference:
      Bland and Altman 1986, Lancet 327:307.
    """
    return ratio(sums.over_brain - sums.under_brain, sums.brain.count)


def over_share_brain(sums: TmaxSums) -> np.ndarray:
    """Calibration: the share of the absolute error that is over-prediction.

    Returns:
      sum of max(e, 0) / sum of |e|, from 0 (every error too low) over 0.5 (balanced) to 1 (every error too high).
      Undefined without any error.

    Reference:
      Koenker and Bassett 1978, Econometrica 46:33 (the two sides of the absolute error).
    """
    return ratio(sums.over_brain, sums.over_brain + sums.under_brain)


def r2_brain(sums: TmaxSums) -> np.ndarray:
    """Coefficient of determination over the mask.

    Returns:
      1 - sum of e^2 / sum of (t - mean t)^2: 1 is perfect, 0 as good as the true mean, negative worse. Undefined where
      the truth is constant.

    Reference:
      Draper and Smith 1998, Applied Regression Analysis, section 1.3.
    """
    return 1 - ratio(sums.squared_brain, _spread(sums.brain.squares_true, sums.brain.count, sums.brain.mean_true))


def ccc_brain(sums: TmaxSums) -> np.ndarray:
    """Concordance correlation coefficient over the mask: correlation, less any shift and any difference in scale.

    Returns:
      2 cov(p, t) / (var p + var t + (mean p - mean t)^2), from -1 to 1. Undefined where both are the same constant.

    Reference:
      Lin 1989, Biometrics 45:255.
    """
    brain = sums.brain
    shift = brain.count * np.square(brain.mean_predicted - brain.mean_true)
    return ratio(2 * brain.products, brain.squares_predicted + brain.squares_true + shift)


def pearson_brain(sums: TmaxSums) -> np.ndarray:
    """Correlation coefficient over the mask.

    Returns:
      cov(p, t) / sqrt(var p var t), from -1 to 1. Undefined where one of them is constant.

    Reference:
      Pearson 1895, Proceedings of the Royal Society of London 58:240.
    """
    brain = sums.brain
    predicted = _spread(brain.squares_predicted, brain.count, brain.mean_predicted)
    true = _spread(brain.squares_true, brain.count, brain.mean_true)
    return ratio(brain.products, np.sqrt(predicted * true))


def psnr_brain_db(sums: TmaxSums) -> np.ndarray:
    """Peak signal-to-noise ratio over the mask, with a peak of 20 s for all cases.

    Returns:
      10 log10(20^2 / mean of e^2), in dB; infinite for equal maps.

    Reference:
      Huynh-Thu and Ghanbari 2008, Electronics Letters 44:800.
    """
    with np.errstate(divide="ignore"):
        return 10 * np.log10(np.square(RANGE_S)) - 10 * np.log10(mse_brain_s2(sums))


def ssim_brain(sums: TmaxSums) -> np.ndarray:
    """Structural similarity over the mask, slice by slice, with a range of 20 s; see `losses.ssim_map`.

    Returns:
      mean of SSIM, at most 1.

    Reference:
      Wang, Bovik, Sheikh and Simoncelli 2004, IEEE Transactions on Image Processing 13:600.
    """
    return ratio(sums.similarity, sums.brain.count)


def _spread(squares: np.ndarray, count: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Returns the centred squares, 0 where they are rounding of a constant map."""
    return np.where(squares > count * np.square(_CONSTANT * mean), squares, 0)
