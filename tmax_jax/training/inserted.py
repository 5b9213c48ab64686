"""What training makes of images that were missing: zeros mark their places, and no scanner measured them."""

import jax
import jax.numpy as jnp


def fill_inserted(perfusion: jax.Array, inserted: jax.Array) -> jax.Array:
    """Fills images that were missing from their neighbours in time; beyond the ends with the nearest.

    Args:
      perfusion: float32 `[case, z, y, x, time]`.
      inserted: bool `[case, z, time]`, the images to fill.

    Returns:
      The series; a slice of which no image is there stays as it is.

    Example:
      >>> series, lost = jnp.array([1.0, 0.0, 3.0, 0.0]), jnp.array([False, True, False, True])
      >>> fill_inserted(series.reshape(1, 1, 1, 1, 4), lost.reshape(1, 1, 4))[0, 0, 0, 0]
      Array([1., 2., 3., 3.], dtype=float32)
    """
    frames = inserted.shape[-1]
    time = jax.lax.broadcasted_iota(jnp.int32, inserted.shape, 2)
    before = jax.lax.cummax(jnp.where(inserted, -1, time), axis=2)
    after = jax.lax.cummin(jnp.where(inserted, frames, time), axis=2, reverse=True)
    left = jnp.clip(jnp.where(before < 0, after, before), 0, frames - 1)  # the nearest, where there is one side only
    right = jnp.clip(jnp.where(after == frames, before, after), 0, frames - 1)
    share = (time - left) / jnp.maximum(right - left, 1)

    def images(index: jax.Array) -> jax.Array:
        return jnp.take_along_axis(perfusion, index[:, :, None, None], axis=-1)

    share = share[:, :, None, None].astype(perfusion.dtype)
    between = images(left) * (1 - share) + images(right) * share
    return jnp.where(inserted[:, :, None, None], between, perfusion)


def slices_that_count(inserted: jax.Array, max_inserted: float) -> jax.Array:
    """Tells the slices that hold enough measured images to be learnt from.

    Args:
      inserted: bool `[case, z, time]`.
      max_inserted: the largest share of a slice's images that may have been missing.

    Returns:
      bool `[case, z]`.

    Example:
      >>> slices_that_count(jnp.array([[[True, False], [False, False]]]), 0.25).tolist()
      [[False, True]]
    """
    return inserted.mean(axis=-1) <= max_inserted
