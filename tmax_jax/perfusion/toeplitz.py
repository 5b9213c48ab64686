"""Deconvolution by the singular values of the lower-triangular matrix: the first published form."""

import jax
import jax.numpy as jnp

SSVD_THRESHOLD = 0.20  # of the largest singular value
_EXACT = jax.lax.Precision.HIGHEST  # an accelerator's default would round the products to 10 bits


def ssvd(
    concentration: jax.Array, aif: jax.Array, *, dt: float | jax.Array, threshold: float | jax.Array = SSVD_THRESHOLD
) -> jax.Array:
    """Deconvolves by singular values of the causal convolution matrix, dropping the small ones.

    Flow is underestimated where tissue is fed late; `csvd` and `osvd` do not depend on the delay.

    Args:
      concentration: `[..., time]`, tissue curves.
      aif: `[time]`, or `[..., time]` with an artery a voxel, which needs a decomposition a voxel and is slow.
      dt: seconds between frames.
      threshold: fraction of the largest singular value below which one is dropped.

    Returns:
      The flow-scaled residue function in 1/s, `[..., 2 * time]`, as `deconvolve` says; the second half is 0, since this
      method knows no negative times.

    Reference:
      Ostergaard et al., Magn Reson Med 1996;36:715.
    """
    time = concentration.shape[-1]
    lag = jnp.arange(time).reshape(-1, 1) - jnp.arange(time).reshape(1, -1)
    matrix = dt * jnp.where(lag >= 0, aif[..., jnp.maximum(lag, 0)], 0.0)
    inverse = _truncated_inverse(matrix, jnp.asarray(threshold, matrix.dtype))
    residue = jnp.einsum("...ij,...j->...i", inverse, concentration, precision=_EXACT)
    return jnp.concatenate([residue, jnp.zeros_like(residue)], axis=-1)


@jax.custom_jvp
def _truncated_inverse(matrix: jax.Array, threshold: jax.Array) -> jax.Array:
    return _parts(matrix, threshold)[0]


@_truncated_inverse.defjvp
def _truncated_inverse_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Differentiates the inverse as a function of singular values, not through the singular vectors.

    The vectors of equal singular values, as all those are that an artery's leading zeros make, have no derivative; the
    inverse has. Its divided differences are 0 between two dropped values.
    """
    inverse, left, values, right, gain = _parts(*primals)
    turned = jnp.einsum("...ia,...ij,...bj->...ba", left, tangents[0], right, precision=_EXACT)  # V^T dA^T U
    symmetric, skew = 0.5 * (turned + turned.mT), 0.5 * (turned - turned.mT)
    a, b = gain[..., :, None], gain[..., None, :]
    s, t = values[..., :, None], values[..., None, :]
    both, mixed = (a > 0) & (b > 0), (a > 0) ^ (b > 0)
    difference = jnp.where(both, -a * b, jnp.where(mixed, (a - b) / jnp.where(mixed, s - t, 1.0), 0.0))
    total = jnp.where(both | mixed, (a + b) / jnp.where(both | mixed, s + t, 1.0), 0.0)
    change = difference * symmetric + total * skew
    return inverse, jnp.einsum("...ai,...ab,...jb->...ij", right, change, left, precision=_EXACT)


def _parts(matrix: jax.Array, threshold: jax.Array) -> tuple[jax.Array, ...]:
    """Returns the inverse, left vectors (columns), values, right vectors (rows) and inverted values."""
    left, values, right = jnp.linalg.svd(matrix)
    kept = (values >= threshold * values[..., :1]) & (values > 0)
    gain = jnp.where(kept, 1.0 / jnp.where(kept, values, 1.0), 0.0)
    inverse = jnp.einsum("...ki,...k,...jk->...ij", right, gain, left, precision=_EXACT)
    return inverse, left, values, right, gain
