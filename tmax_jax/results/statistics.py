"""Does one method do better than another on the same patients? Paired differences, and what chance would do to them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95  # of intervals; tests are at 1 - LEVEL
_DRAWS = 9999


class Comparison(NamedTuple):
    """A method against a baseline, by one metric. A difference is the method's value less the baseline's."""

    patients: int  # with a value for both
    difference: float  # mean over patients
    low: float  # bootstrap interval of the mean, over patients
    high: float
    p_wilcoxon: float  # signed ranks of the patients' differences
    p_folds: float  # corrected resampled t-test of the folds' mean differences
    p_adjusted: float  # the Wilcoxon p, adjusted for the number of methods (Holm)
    verdict: str  # "better", "worse" or "no difference shown"


def compare(
    methods: Mapping[str, Mapping[str, float]],
    baseline: Mapping[str, float],
    folds: Mapping[str, int],
    *,
    best: str,
    seed: int = 0,
) -> dict[str, Comparison]:
    """Compares methods with a baseline by one metric, patient by patient.

    A patient for whom either has no value (NaN) is left out of that comparison. A method is called better or worse
    when its adjusted p is below 0.05 and the interval of the mean difference leaves out 0.

    Args:
      methods: by name, the value of each patient.
      baseline: the value of each patient.
      folds: in which fold each patient was scored.
      best: which values are best: "low", "high", or "zero", where sizes are compared.
      seed: of the bootstrap.

    Returns:
      One comparison a method.

    Example:
      >>> baseline = {f"case-{number}": 2.0 + 0.1 * number for number in range(12)}
      >>> halved = {case: value / 2 for case, value in baseline.items()}
      >>> found = compare({"half": halved}, baseline, dict.fromkeys(baseline, 0), best="low")["half"]
      >>> round(found.difference, 3), found.verdict
      (-1.275, 'better')

    Reference:
      Wilcoxon 1945, Biometrics Bulletin 1:80; Holm 1979, Scandinavian Journal of Statistics 6:65.
    """
    size = abs if best == "zero" else float
    rows = {}
    for name, values in methods.items():
        pairs = {case: size(value) - size(baseline[case]) for case, value in values.items() if case in baseline}
        pairs = {case: difference for case, difference in pairs.items() if math.isfinite(difference)}
        rows[name] = (np.array(list(pairs.values())), np.array([folds[case] for case in pairs]))
    wilcoxon = {name: signed_rank_p(differences) for name, (differences, _) in rows.items()}
    adjusted = dict(zip(wilcoxon, holm(list(wilcoxon.values())), strict=True))
    found = {}
    for name, (differences, fold) in rows.items():
        low, high = bootstrap_interval(differences, seed=seed)
        mean = float(differences.mean()) if len(differences) else math.nan
        shown = adjusted[name] < 1 - LEVEL and not low <= 0 <= high
        good = mean > 0 if best == "high" else mean < 0
        verdict = ("better" if good else "worse") if shown else "no difference shown"
        p_folds = resampled_t_p(differences, fold)
        found[name] = Comparison(
            len(differences), mean, low, high, wilcoxon[name], p_folds, float(adjusted[name]), verdict
        )
    return found


def bootstrap_interval(differences: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """Returns the 95 % percentile interval of the mean when patients are drawn anew.

    Args:
      differences: `[patient]`.
      seed: of the draws.

    Returns:
      Its ends; NaN for fewer than two patients.

    Reference:
      Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    if len(differences) < 2:
        return math.nan, math.nan
    found = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=_DRAWS,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def signed_rank_p(differences: np.ndarray) -> float:
    """Returns the two-sided p of Wilcoxon's signed ranks; patients without a difference are left out, 1 without any.

    Args:
      differences: `[patient]`.

    Example:
      >>> signed_rank_p(np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]))
      0.0625
    """
    changed = differences[differences != 0]
    found: Any = stats.wilcoxon(changed) if len(changed) else None
    return float(found.pvalue) if found else 1.0


def resampled_t_p(differences: np.ndarray, folds: np.ndarray) -> float:
    """Returns the two-sided p of the corrected resampled t-test of the folds' mean differences.

    Folds share most of their training patients, so that their means vary less than independent ones would; the variance
    is enlarged by the ratio of scored to training patients: t = mean / sqrt((1 / k + n_scored / n_trained) s^2), with
    k - 1 degrees of freedom.

    Args:
      differences: `[patient]`.
      folds: int `[patient]`, where each was scored.

    Returns:
      p; 1 where no fold has a difference, NaN for fewer than two folds.

    Reference:
      Nadeau and Bengio 2003, Machine Learning 52:239.
    """
    names = np.unique(folds)
    if len(names) < 2:
        return math.nan
    means = np.array([differences[folds == name].mean() for name in names])
    variance = means.var(ddof=1) * (1 / len(names) + 1 / (len(names) - 1))  # of k folds, 1 is scored, k - 1 train
    if variance == 0:
        return 1.0 if means[0] == 0 else 0.0
    return float(2 * stats.t.sf(abs(means.mean()) / math.sqrt(variance), len(names) - 1))


def holm(p: Sequence[float]) -> np.ndarray:
    """Adjusts the p of several tests, so that with 95 % none of those below 0.05 is there by chance.

    Args:
      p: one a test.

    Returns:
      float64 `[test]`, at most 1, in the order given.

    Example:
      >>> holm([0.01, 0.04, 0.03]).tolist()
      [0.03, 0.06, 0.06]
    """
    order = np.argsort(p)
    raised = np.asarray(p, float)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1)
    return adjusted
