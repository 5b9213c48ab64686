"""The Tmax maps that the goldens of losses and metrics were made from, by NumPy alone."""

import numpy as np

SPACING_MM = (5.0, 1.8, 1.8)
FRAME = 40  # voxels of equal margin around the inner maps: enough for three scales of windows


def tmax_maps() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns predictions and targets in seconds, float32 `[case, z, y, x]`, and a mask; both with late regions."""
    rng = np.random.default_rng(2004)
    z, y, x = np.meshgrid(np.arange(14), np.arange(32), np.arange(24), indexing="ij")
    predictions, targets = [], []
    for shift in (0, 4):
        late = 12 * np.exp(-(((z - 7) / 4) ** 2 + ((y - 14 - shift) / 7) ** 2 + ((x - 10) / 6) ** 2))
        targets.append(late + rng.gamma(2, 0.7, late.shape))
        predictions.append(0.8 * np.roll(late, 2, axis=1) + rng.gamma(2, 1.0, late.shape))
    mask = np.broadcast_to(((y - 15.5) / 14) ** 2 + ((x - 11.5) / 10) ** 2 < 1, (2, *z.shape))
    return np.stack(predictions).astype(np.float32), np.stack(targets).astype(np.float32), mask


def framed_maps() -> tuple[np.ndarray, np.ndarray]:
    """Returns two slices that differ in their middle only, `[case, z, y, x]`: no window at the border sees it."""
    rng = np.random.default_rng(2003)
    inner = rng.gamma(2, 2, (2, 2, 1, 48, 48)).cumsum(axis=-1) % 20
    framed = np.zeros((2, 2, 1, 48 + 2 * FRAME, 48 + 2 * FRAME), np.float32)
    framed[..., FRAME:-FRAME, FRAME:-FRAME] = inner
    framed[0] = 0.6 * framed[0] + 0.4 * framed[1]  # alike, so that no scale's contrast term is negative
    return framed[0], framed[1]
