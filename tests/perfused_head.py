"""A small head through which a bolus passes, in NumPy, to be damaged by tests."""

import numpy as np

from tmax_jax.cohort.store import Case

SHAPE, FRAMES, INTERVAL_S = (12, 32, 32), 60, 1.5
SPACING_MM = (6.0, 4.0, 4.0)
ARRIVAL_S = 15.0


def head(case_id: str = "case-0001", *, arrival_s: float = ARRIVAL_S, noise: float = 10.0, seed: int = 0) -> Case:
    """Returns a case whose signal falls by a quarter at the bolus' peak, 4.5 s after its arrival."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    mask = (y / 0.8) ** 2 + (x / 0.65) ** 2 + (z / 1.1) ** 2 < 1
    texture = 500 + 150 * np.sin(9 * x + 2 * z) * np.cos(7 * y)
    times_s = INTERVAL_S * np.arange(FRAMES)
    after = np.maximum(times_s - arrival_s, 0) / 4.5
    bolus = 0.25 * after**3 * np.exp(3 * (1 - after))
    signal = np.where(mask, texture, 0.0)[..., None] * (1 - bolus)
    signal += noise * rng.standard_normal(signal.shape)
    perfusion = np.clip(np.round(signal), 0, 4095).astype(np.int16)
    tmax_s = np.where(mask, 1.0 + 8.0 * (x > 0.3), 0.0).astype(np.float32)
    attributes = {
        "data": "phantom",
        "vendor": "Philips",
        "maps": {"tmax": {"unit": "s"}},
        "frame_times_s": times_s.tolist(),
        "spacing_mm": list(SPACING_MM),
        "findings": ["a finding of the converter about Doe/IM0001"],
    }
    return Case(case_id, perfusion, mask, np.zeros((SHAPE[0], FRAMES), bool), {"tmax": tmax_s}, attributes)
