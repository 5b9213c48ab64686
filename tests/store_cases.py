"""A small case for tests of the store."""

import numpy as np

from tmax_jax.cohort.store import Case


def make_case(case_id: str = "case-0001", *, dtype: type = np.int16, seed: int = 0) -> Case:
    """Makes a case of random numbers."""
    rng = np.random.default_rng(seed)
    shape = (3, 6, 5)
    perfusion = rng.integers(0, 900, (*shape, 4)).astype(dtype)
    maps = {"tmax": rng.uniform(0, 17, shape).astype(np.float32)}
    attributes = {"data": "phantom", "maps": {"tmax": {"unit": "s"}}, "frame_times_s": [0.0, 1.5, 3.0, 4.5]}
    return Case(case_id, perfusion, rng.random(shape) > 0.5, rng.random((3, 4)) > 0.9, maps, attributes)
