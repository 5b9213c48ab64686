"""When the frames of a series were acquired."""

from collections.abc import Sequence

import numpy as np

from tmax_jax.dicom.header import Frame
from tmax_jax.dicom.timing import SAME_S, TimeOrder, values_of


def frame_times_s(frames: Sequence[Frame], order: TimeOrder) -> tuple[np.ndarray, str]:
    """Finds when the frames were acquired, from the first value that tells them apart.

    Args:
      frames: of one series.
      order: of the same.

    Returns:
      Seconds since the first frame, float64 `[time]`, and the name of the header value.
    """
    triggered = values_of(frames, "trigger_time_ms")
    measured = {
        "AcquisitionTime": values_of(frames, "acquired_s"),
        "TriggerTime": None if triggered is None else triggered / 1000,
    }
    present = np.unique(order.index)
    for name, times_s in measured.items():
        if times_s is not None and len(present) > 1:
            medians = np.array([np.median(times_s[order.index == t]) for t in present])
            if np.all(np.diff(medians) > SAME_S):
                return _fill(present, medians, order.count), name
    for name in ("temporal_resolution_ms", "repetition_time_ms"):
        interval_ms = getattr(frames[0], name)
        if interval_ms:
            tag = "TemporalResolution" if name.startswith("temporal") else "RepetitionTime"
            return np.arange(order.count) * interval_ms / 1000, tag
    return np.arange(order.count, dtype=np.float64), "frame number, for want of any time"


def _fill(present: np.ndarray, times_s: np.ndarray, count: int) -> np.ndarray:
    """Interpolates the times of frames that are missing altogether, and goes on evenly beyond the ends."""
    step = np.median(np.diff(times_s) / np.diff(present))
    every = np.arange(count)
    filled = np.interp(every, present, times_s)
    filled = np.where(every < present[0], times_s[0] + (every - present[0]) * step, filled)
    filled = np.where(every > present[-1], times_s[-1] + (every - present[-1]) * step, filled)
    return filled - filled[0]
