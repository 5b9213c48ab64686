"""Figures that only a cohort has."""

from typing import NamedTuple

import numpy as np


class VolumeAgreement(NamedTuple):
    """Predicted against true volumes of a cohort."""

    patients: int
    bias_ml: float  # mean of predicted - true
    lower_ml: float  # limits of agreement: 95 % of differences lie between them
    upper_ml: float
    ccc: float  # concordance of the volumes over patients


def volume_agreement(predicted_ml: np.ndarray, true_ml: np.ndarray) -> VolumeAgreement:
    """Compares the volumes of all patients of a cohort.

    Args:
      predicted_ml: `[case]`, one volume a patient in mL.
      true_ml: `[case]`.

    Returns:
      Bias and the Bland-Altman limits, bias +- 1.96 standard deviations (n - 1) of the differences, in mL, and Lin's
      concordance 2 cov / (var p + var t + bias^2). NaN where a single patient, or none, has no spread.

    Example:
      >>> found = volume_agreement(np.array([12.0, 50.0, 100.0]), np.array([10.0, 50.0, 98.0]))
      >>> f"{found.bias_ml:.2f} {found.lower_ml:.2f} {found.upper_ml:.2f} {found.ccc:.3f}"
      '1.33 -0.93 3.60 0.999'

    Reference:
      Bland and Altman 1986, Lancet 327:307; Lin 1989, Biometrics 45:255.
    """
    predicted, true = np.asarray(predicted_ml, float), np.asarray(true_ml, float)
    if len(predicted) < 2:
        return VolumeAgreement(
            len(predicted), float(np.sum(predicted - true)) if len(predicted) else np.nan, *[np.nan] * 3
        )
    difference = predicted - true
    bias, half = float(difference.mean()), 1.96 * float(difference.std(ddof=1))
    covariance = float(np.mean((predicted - predicted.mean()) * (true - true.mean())))
    total = float(predicted.var() + true.var()) + bias**2
    ccc = 2 * covariance / total if total > 0 else float("nan")
    return VolumeAgreement(len(predicted), bias, bias - half, bias + half, ccc)
