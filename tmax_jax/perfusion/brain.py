"""Where the bolus passes: brain, told from scalp and air by the curves. On the host, in numpy and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage

from tmax_jax.perfusion.arrival import NON_STEADY_FRAMES

_RISE_OVER_NOISE = 4.0  # of the mean after the arrival; scalp has little blood and little signal
_LEAST_AREA = 0.3  # of the upper quartile
_HOLES_VOXELS = 4  # gaps of up to twice so many are closed: a core without flow is brain


def brain_mask(concentration: jax.Array, head: np.ndarray, *, arrival_frame: float) -> np.ndarray:
    """Finds the brain in the head: the largest piece through which contrast agent passes.

    A mask by brightness alone keeps the scalp, in whose curves noise reads as late tissue.

    Args:
      concentration: `[z, y, x, time]`, dR2* in 1/s.
      head: bool `[z, y, x]`, where it is looked for.
      arrival_frame: of the bolus in the head's mean curve, as `find_bolus` returns it.

    Returns:
      bool `[z, y, x]`, holes filled slice by slice, so that tissue without flow and ventricles are in it. Empty where
      nothing rises above its noise.

    Example:
      `brain_mask(scan.curves, head, arrival_frame=float(scan.bolus.arrival))`
    """
    area, rise = (np.asarray(values) for values in _rise(concentration, arrival_frame))
    seen = head & (rise > _RISE_OVER_NOISE)
    if not seen.any():
        return seen
    seen &= area > _LEAST_AREA * np.percentile(area[seen], 75)
    cross = scipy.ndimage.generate_binary_structure(2, 1)
    opened = scipy.ndimage.binary_opening(seen, cross[None])
    labels = np.zeros(seen.shape, np.int32)
    if not scipy.ndimage.label(opened, output=labels):
        return opened
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    padded = np.pad(labels == sizes.argmax(), ((0, 0), (_HOLES_VOXELS, _HOLES_VOXELS), (_HOLES_VOXELS, _HOLES_VOXELS)))
    closed = scipy.ndimage.binary_closing(padded, cross[None], iterations=_HOLES_VOXELS)
    inner = slice(_HOLES_VOXELS, -_HOLES_VOXELS)
    return np.stack([np.asarray(scipy.ndimage.binary_fill_holes(image)) for image in closed[:, inner, inner]]) & head


@jax.jit
def _rise(concentration: jax.Array, arrival_frame: float | jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the mean after the arrival, and how many times its own standard error it is, each `[z, y, x]`."""
    frame = jnp.arange(concentration.shape[-1]).reshape(1, 1, 1, -1)
    before = (frame >= NON_STEADY_FRAMES) & (frame <= arrival_frame)
    after = frame > arrival_frame
    area = jnp.mean(concentration, axis=-1, where=after)
    noise = jnp.std(concentration, axis=-1, where=before)
    error = noise / jnp.sqrt(jnp.maximum(jnp.sum(after), 1).astype(noise.dtype))
    return area, area / jnp.where(error > 0, error, 1.0) * (error > 0)
