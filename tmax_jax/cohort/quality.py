"""Numbers that tell whether a perfusion scan can be used, and what is found in them, each with its limit.

They look for what spoils a scan, not for disease: no bolus, a bolus too early or too late, drift, spikes, motion,
slices that are empty or clipped, noise, a mask that is no head. All are computed within the mask, and an image that is
missing counts for nothing.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from tmax_jax.cohort.shifts import estimate_shifts_mm
from tmax_jax.cohort.store import Case

NON_STEADY_FRAMES = 2  # before the magnetisation has settled; they are no baseline
MIN_BASELINE_FRAMES = 3  # that are needed to know the baseline
AFTER_PEAK_S = 20.0  # of scan that late tissue needs: its delay of up to 12 s and its own first pass
MIN_BOLUS = 0.03  # of the baseline: how far the mean signal of a head falls, at least
BOLUS_OVER_NOISE = 5.0  # standard deviations of the mean curve's baseline
MAX_DRIFT = 0.02  # of the baseline, from its start to its end
MAX_SPIKE = 0.05  # of the baseline: how far a slice may leave its neighbours in time, beyond what all slices do
MAX_MOTION_MM = 2.0  # about a voxel
MIN_SNR = 10.0  # of a voxel over time; 20 to 100 is usual
MAX_CLIPPED = 0.005  # of a slice's values in the mask that equal the largest value of the series
MAX_MASK_CHANGE = 0.3  # of the cohort's median volume
_FEWEST_VOXELS = 20  # of a slice in the mask, for its mean to tell anything
_SNR_VOXELS = 20_000  # enough for a median


@dataclasses.dataclass(frozen=True)
class Quality:
    """What was measured of one case; NaN where it cannot be measured."""

    curve: np.ndarray  # float64 [time], mean signal of the mask over its baseline
    times_s: np.ndarray  # float64 [time]
    arrival_s: float  # of the bolus
    peak_s: float  # where the mean signal is lowest
    bolus: float  # fraction of the baseline by which the mean signal falls
    noise: float  # standard deviation of the baseline of `curve`
    drift: float  # change over the baseline, a fraction of it
    spikes: tuple[tuple[int, int], ...]  # (slice, frame) from 0; slice -1: all slices
    shift_mm: np.ndarray  # float64 [time, 3], z y x, from the mean of the baseline; NaN for frames without an image
    motion_mm: float  # the largest shift of a frame
    snr: float  # median over voxels of mean over standard deviation, in the baseline
    empty_slices: tuple[int, ...]
    clipped_slices: tuple[int, ...]
    mask_ml: float
    missing_images: int
    images: int
    has_tmax: bool

    @property
    def has_bolus(self) -> bool:
        """Whether the mean signal falls far enough, and farther than it does by chance."""
        return self.bolus >= MIN_BOLUS and self.bolus >= BOLUS_OVER_NOISE * self.noise


class Finding(NamedTuple):
    """What is wrong, and with which number."""

    about: str  # name of a number, such as "motion_mm"
    text: str


def measure(case: Case) -> Quality:
    """Measures one case.

    Args:
      case: with perfusion, and with `frame_times_s` and `spacing_mm` in its attributes.

    Returns:
      Its numbers.

    Example:
      `measure(read_case("cohort.zarr", "case-0001")).motion_mm`
    """
    assert case.perfusion is not None
    values, mask, inserted = case.perfusion, case.mask, case.inserted
    times_s = np.array(case.attributes["frame_times_s"], np.float64)
    spacing_mm = np.array(case.attributes["spacing_mm"], np.float64)
    by_slice = _slice_curves(values, mask, inserted)
    weights = mask.sum(axis=(1, 2)) * np.isfinite(by_slice).any(axis=1)
    curve = weights @ np.nan_to_num(_fill_gaps(by_slice)) / max(weights.sum(), 1)
    arrival_s, peak = find_bolus(curve, times_s)
    first = max(min(NON_STEADY_FRAMES, len(times_s) - 2), 0)
    before = times_s < arrival_s
    before[:first] = False
    if before.sum() < 2:  # a bolus at the very start, or none at all
        before[first : max(first + 2, len(times_s) // 3)] = True
    baseline = curve[before].mean() or 1.0
    steps = np.diff(curve[before])
    after_s = times_s[before] - times_s[before].mean()
    slope = after_s @ curve[before] / max(after_s @ after_s, np.finfo(float).tiny)  # of a least squares line
    shift_mm = estimate_shifts_mm(values, inserted, before, spacing_mm)
    empty, clipped = _bad_slices(values, mask, inserted)
    return Quality(
        curve=curve / baseline,
        times_s=times_s,
        arrival_s=arrival_s,
        peak_s=float(times_s[peak]),
        bolus=float(1 - curve[peak] / baseline),
        noise=float(steps.std() / math.sqrt(2) / baseline) if steps.size else math.nan,
        drift=float(slope * np.ptp(times_s[before]) / baseline),
        spikes=find_spikes(by_slice, before, (times_s >= arrival_s - 3) & (times_s <= arrival_s + AFTER_PEAK_S)),
        shift_mm=shift_mm,
        motion_mm=float(np.nanmax(np.linalg.norm(shift_mm, axis=1))),
        snr=_temporal_snr(values, mask, inserted, before),
        empty_slices=empty,
        clipped_slices=clipped,
        mask_ml=float(mask.sum() * np.prod(spacing_mm) / 1000),
        missing_images=int(inserted.sum()),
        images=inserted.size,
        has_tmax="tmax" in case.attributes["maps"],
    )


def findings_of(quality: Quality) -> list[Finding]:
    """Says what is wrong with a case, each with the number and the limit that it breaks."""
    q, found = quality, []
    if not q.has_bolus:
        limit = f"limit {MIN_BOLUS:.0%} and {BOLUS_OVER_NOISE:g} times the noise of {q.noise:.2%}"
        found.append(Finding("bolus_fall_percent", f"no bolus: the mean signal falls by {q.bolus:.1%} ({limit})"))
    else:
        frames = max(int((q.times_s < q.arrival_s).sum()) - NON_STEADY_FRAMES, 0)
        if frames < MIN_BASELINE_FRAMES:
            text = (
                f"bolus too early: at {q.arrival_s:.1f} s, after {frames} steady frames (limit {MIN_BASELINE_FRAMES})"
            )
            found.append(Finding("bolus_arrival_s", text))
        rest_s = q.times_s[-1] - q.peak_s
        if rest_s < AFTER_PEAK_S:
            text = f"bolus too late: {rest_s:.1f} s of scan after its peak (limit {AFTER_PEAK_S:g} s)"
            found.append(Finding("bolus_arrival_s", text))
    if abs(q.drift) > MAX_DRIFT:
        found.append(Finding("drift_percent", f"the baseline drifts by {q.drift:+.1%} (limit {MAX_DRIFT:.0%})"))
    if q.spikes:
        names = [f"slice {z + 1}, frame {t + 1}" if z >= 0 else f"frame {t + 1}" for z, t in q.spikes]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        text = f"spikes: {'; '.join(names[:3])}{more} (limit {MAX_SPIKE:.0%} of the baseline)"
        found.append(Finding("spikes", text))
    if q.motion_mm > MAX_MOTION_MM:
        frame = int(np.nanargmax(np.linalg.norm(q.shift_mm, axis=1))) + 1
        text = f"motion of {q.motion_mm:.1f} mm at frame {frame} (limit {MAX_MOTION_MM:g} mm)"
        found.append(Finding("motion_mm", text))
    if q.snr < MIN_SNR:
        found.append(Finding("snr", f"SNR of {q.snr:.1f} over time (limit {MIN_SNR:g})"))
    if q.empty_slices:
        found.append(Finding("slices", f"slices without any signal: {_ranges(q.empty_slices)} (limit 0)"))
    if q.clipped_slices:
        text = f"slices clipped at the top: {_ranges(q.clipped_slices)} (limit {MAX_CLIPPED:.1%} of their values)"
        found.append(Finding("slices", text))
    if q.missing_images:
        text = f"{q.missing_images} of {q.images} images missing ({q.missing_images / q.images:.1%}, limit 0)"
        found.append(Finding("missing_images", text))
    if not q.has_tmax:
        found.append(Finding("map", "no Tmax map: no target to learn"))
    return found


def mask_findings(mask_ml: Mapping[str, float]) -> dict[str, Finding]:
    """Compares the masks' volumes with the cohort's median.

    Args:
      mask_ml: volume by case id.

    Returns:
      What was found by case id; nothing in a cohort of fewer than three.

    Example:
      >>> mask_findings({"a": 1500.0, "b": 1600.0, "c": 900.0})["c"].text
      'mask of 900 ml, -40% from the median of 1500 ml (limit 30%)'
    """
    if len(mask_ml) < 3:
        return {}
    median = float(np.median(list(mask_ml.values()))) or 1.0
    found = {}
    for case, ml in mask_ml.items():
        change = ml / median - 1
        if abs(change) > MAX_MASK_CHANGE:
            text = (
                f"mask of {ml:.0f} ml, {change:+.0%} from the median of {median:.0f} ml (limit {MAX_MASK_CHANGE:.0%})"
            )
            found[case] = Finding("mask_ml", text)
    return found


def _ranges(slices: tuple[int, ...]) -> str:
    """Names slices, counted from 1, in short: "1-3, 5"."""
    starts = [z for z in slices if z - 1 not in slices]
    ends = [z for z in slices if z + 1 not in slices]
    return ", ".join(f"{a + 1}" if a == b else f"{a + 1}-{b + 1}" for a, b in zip(starts, ends, strict=True))


def find_bolus(curve: np.ndarray, times_s: np.ndarray) -> tuple[float, int]:
    """Finds when the mean signal starts to fall: the kink of a level line and a falling one, up to the lowest frame.

    Args:
      curve: `[time]`, mean signal of the head.
      times_s: `[time]`.

    Returns:
      The arrival in seconds, NaN where the curve never falls after its first frames; and the index of the peak.

    Example:
      >>> find_bolus(np.array([130, 110, 100, 100, 100, 100, 90, 80, 70, 90, 95.0]), np.arange(11.0))
      (5.0, 8)

    Reference:
      Cheong et al. 2003, Phys Med Biol 48:N83 (arrival by a piecewise linear fit).
    """
    smooth = ndimage.median_filter(curve, 3)  # one bad frame is no bolus
    lowest = int(np.argmin(smooth[NON_STEADY_FRAMES:])) + NON_STEADY_FRAMES if len(curve) > NON_STEADY_FRAMES else 0
    beside = max(lowest - 1, 0)
    peak = beside + int(np.argmin(curve[beside : lowest + 2]))
    times, fitted = times_s[NON_STEADY_FRAMES : peak + 1], curve[NON_STEADY_FRAMES : peak + 1]
    if len(times) < 3:
        return math.nan, peak
    candidates = np.linspace(times[0], times[-2], 10 * len(times))
    falling = np.maximum(times - candidates[:, None], 0.0)
    falling -= falling.mean(axis=1, keepdims=True)
    centred = fitted - fitted.mean()
    slopes = falling @ centred / (falling**2).sum(axis=1)
    errors = ((centred - slopes[:, None] * falling) ** 2).sum(axis=1)
    best = int(errors.argmin())
    return (round(float(candidates[best]), 1) if slopes[best] < 0 else math.nan), peak


def find_spikes(by_slice: np.ndarray, before: np.ndarray, bolus: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Finds single frames that leave their neighbours in time.

    Args:
      by_slice: `[z, time]`, mean signal; NaN where an image is missing or a slice has no voxels.
      before: bool `[time]`, the baseline.
      bolus: bool `[time]`, when the signal of all slices may change fast.

    Returns:
      (slice, frame) from 0. Slice -1 is a frame in which all slices do it, which outside the bolus is a spike too.
    """
    rows = np.flatnonzero((np.nan_to_num(by_slice[:, before]) > 0).any(axis=1))
    if not len(rows):
        return ()
    relative = by_slice[rows] / np.nanmean(by_slice[rows][:, before], axis=1, keepdims=True)
    bend = np.full(relative.shape, np.nan)
    bend[:, 1:-1] = relative[:, 1:-1] - (relative[:, :-2] + relative[:, 2:]) / 2
    bend[:, : NON_STEADY_FRAMES + 1] = np.nan
    common = np.array([np.nanmedian(column) if np.isfinite(column).any() else 0.0 for column in bend.T])
    everywhere = np.where(bolus, 0.0, common)
    return tuple(
        [(-1, int(t)) for t in _outliers(everywhere[None])[1]]
        + [(int(rows[z]), int(t)) for z, t in zip(*_outliers(bend - common), strict=True)]
    )


def _outliers(bend: np.ndarray) -> tuple[np.ndarray, ...]:
    """Where curves bend more than the limit, than by chance, and than right beside: a spike bends thrice."""
    size = np.nan_to_num(np.abs(bend))
    by_chance = 6 * 1.4826 * np.nanmedian(size, axis=1, keepdims=True)
    beside = np.maximum(np.pad(size, ((0, 0), (1, 0)))[:, :-1], np.pad(size, ((0, 0), (0, 1)))[:, 1:])
    return np.nonzero((size > np.maximum(MAX_SPIKE, by_chance)) & (size > beside))


def _slice_curves(values: np.ndarray, mask: np.ndarray, inserted: np.ndarray) -> np.ndarray:
    """Mean signal of the mask in each slice `[z, time]`; NaN where an image is missing or too little is in the mask."""
    curves = np.full(inserted.shape, np.nan)
    for z, inside in enumerate(mask):
        if inside.sum() >= _FEWEST_VOXELS:
            curves[z] = values[z][inside].mean(axis=0, dtype=np.float64)
    curves[inserted] = np.nan
    return curves


def _fill_gaps(by_slice: np.ndarray) -> np.ndarray:
    """Draws straight lines over missing images, so that a lost bright slice does not dent the mean curve."""
    filled = by_slice.copy()
    frames = np.arange(by_slice.shape[1])
    for row in filled:
        there = np.isfinite(row)
        if there.any():
            row[~there] = np.interp(frames[~there], frames[there], row[there])
    return filled


def _temporal_snr(values: np.ndarray, mask: np.ndarray, inserted: np.ndarray, before: np.ndarray) -> float:
    """Median over voxels of mean over standard deviation; the latter from successive frames, so without drift."""
    z, y, x = np.nonzero(mask & np.any(~inserted[:, before], axis=1, keepdims=True)[..., None])
    chosen = slice(None, None, max(1, len(z) // _SNR_VOXELS))
    frames = np.flatnonzero(before)
    signal = values[z[chosen], y[chosen], x[chosen]][:, frames].astype(np.float64)
    signal[inserted[z[chosen]][:, frames]] = np.nan
    steps = np.diff(signal, axis=1)
    pairs = np.isfinite(steps).sum(axis=1)
    sd = np.sqrt(np.nansum(steps**2, axis=1) / np.maximum(pairs, 1) / 2)
    usable = (pairs > 1) & (sd > 0)
    return float(np.median(np.nanmean(signal[usable], axis=1) / sd[usable])) if usable.any() else math.nan


def _bad_slices(values: np.ndarray, mask: np.ndarray, inserted: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Slices without any signal, and slices whose values are clipped at the top."""
    top = values.max()
    empty, clipped = [], []
    for z, inside in enumerate(mask):
        if not values[z].any():
            empty.append(z)
        elif inside.any() and np.mean(values[z][inside][:, ~inserted[z]] == top) > MAX_CLIPPED:
            clipped.append(z)
    return tuple(empty), tuple(clipped)
