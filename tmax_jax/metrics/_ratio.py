"""Division that says "undefined" instead of warning."""

import numpy as np


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Returns the quotient, NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    undefined = np.full(numerator.shape, np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.divide(numerator, denominator, out=undefined, where=denominator != 0)
