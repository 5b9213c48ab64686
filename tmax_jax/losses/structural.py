"""Losses of structure: similarity of local means, contrasts and patterns, and of edges.

Windows are Gaussian, and normalised to what they can see: near the border, or the mask's edge, a window's means and
variances are those of its voxels that count. Leaving such windows out instead would leave the cortex unscored, and five
of 24 slices on either side of a 3-D window; filling in zeros would invent an edge. Inside, the two are the same.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from tmax_jax.losses._reduce import Array, masked, masked_mean, masked_sum, wide

_K1, _K2 = 0.01, 0.03  # of the stabilising constants (K data_range)^2, as published
_TRUNCATE = 3.5  # a window ends after so many standard deviations


def ssim(
    predictions: Array,
    targets: Array,
    *,
    data_range: float,
    sigma: Sequence[float] = (0.0, 1.5, 1.5),
    where: Array | None = None,
) -> jax.Array:
    """Structural dissimilarity, 1 - SSIM.

    Args:
      predictions: `[case, z, y, x]`.
      targets: `[case, z, y, x]`, in the unit of the predictions.
      data_range: the span of values that the maps can have, in their unit: 20 for Tmax from 0 to 20 s. Not the span of
        one case, which would score each by a measure of its own.
      sigma: standard deviation of the window along z, y and x, in voxels; 0 is no window along that axis. The default
        compares slice by slice; (1.5, 1.5, 1.5) is the 3-D window, (0.5, 1.5, 1.5) one for thick slices.
      where: bool `[case, z, y, x]`, True for the voxels that count; all of them by default. Voxels outside enter no
        window.

    Returns:
      `[case]`, from 0 to 2: 1 - mean of `ssim_map` over the voxels that count, 0 where none does.

    Raises:
      ValueError: the shapes differ or are not `[case, z, y, x]`.

    Example:
      >>> import jax.numpy as jnp
      >>> truth = jnp.arange(256.0).reshape(1, 1, 16, 16) / 16
      >>> [f"{ssim(truth + shift, truth, data_range=20.0)[0]:.3f}" for shift in (0, 2)]
      ['0.000', '0.065']

    Reference:
      Wang, Bovik, Sheikh and Simoncelli 2004, IEEE Transactions on Image Processing 13:600.
    """
    luminance, contrast = _similarity(*masked(predictions, targets, where), data_range, sigma, where)
    return masked_mean(1 - luminance * contrast, where).astype(predictions.dtype)


def ssim_map(
    predictions: Array,
    targets: Array,
    *,
    data_range: float,
    sigma: Sequence[float] = (0.0, 1.5, 1.5),
    where: Array | None = None,
) -> jax.Array:
    """Structural similarity around each voxel: the index itself, not a loss.

    With means m, variances v and the covariance c in a voxel's window, and C1 = (0.01 data_range)^2,
    C2 = (0.03 data_range)^2:

      SSIM = (2 m_p m_t + C1) (2 c + C2) / ((m_p^2 + m_t^2 + C1) (v_p + v_t + C2))

    Args:
      predictions: `[case, z, y, x]`.
      targets: `[case, z, y, x]`, in the unit of the predictions.
      data_range: the span of values that the maps can have, in their unit.
      sigma: of the window along z, y and x, in voxels; see `ssim`.
      where: bool `[case, z, y, x]`, True for the voxels that count; all of them by default.

    Returns:
      float32 (or wider) `[case, z, y, x]`, at most 1; 0 where the mask is False.

    Raises:
      ValueError: the shapes differ or are not `[case, z, y, x]`.

    Example:
      >>> import jax.numpy as jnp
      >>> ssim_map(jnp.ones((1, 1, 1, 2)), jnp.ones((1, 1, 1, 2)), data_range=1.0, sigma=(0, 1.5, 1.5))
      Array([[[[1., 1.]]]], dtype=float32)

    Reference:
      Wang, Bovik, Sheikh and Simoncelli 2004, IEEE Transactions on Image Processing 13:600.
    """
    luminance, contrast = _similarity(*masked(predictions, targets, where), data_range, sigma, where)
    return luminance * contrast if where is None else jnp.where(where, luminance * contrast, 0)


def multiscale_ssim(
    predictions: Array,
    targets: Array,
    *,
    data_range: float,
    sigma: Sequence[float] = (0.0, 1.5, 1.5),
    pool: Sequence[int] = (1, 2, 2),
    weights: Sequence[float] = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333),
    where: Array | None = None,
) -> jax.Array:
    """Structural dissimilarity over several scales, 1 - MS-SSIM.

    Contrast and pattern are compared at every scale, local means at the coarsest alone.

    Args:
      predictions: `[case, z, y, x]`.
      targets: `[case, z, y, x]`, in the unit of the predictions.
      data_range: the span of values that the maps can have, in their unit.
      sigma: of the window along z, y and x, in voxels of each scale; see `ssim`.
      pool: voxels along z, y and x averaged into one from a scale to the next. By default the slices stay apart: they
        are few, and some three times as thick as their pixels are wide. (2, 2, 2) is for isotropic volumes.
      weights: exponent of each scale, from the finest; as many scales as weights. With the published five, 128 rows
        become 8.
      where: bool `[case, z, y, x]`, True for the voxels that count; all of them by default. A pooled voxel is the mean
        of those in it that count.

    Returns:
      `[case]`, from 0 to 1: 1 - product over scales of (mean contrast term)^weight, the coarsest with its luminance
      term; a negative mean counts as 0. 0 where no voxel counts.

    Raises:
      ValueError: the shapes differ or are not `[case, z, y, x]`, or an axis is too short for so many scales.

    Example:
      >>> import jax.numpy as jnp
      >>> truth = jnp.arange(1024.0).reshape(1, 1, 32, 32) / 64
      >>> f"{multiscale_ssim(truth + 2, truth, data_range=20.0)[0]:.3f}"  # the patterns are the same
      '0.003'

    Reference:
      Wang, Simoncelli and Bovik 2003, Asilomar Conference on Signals, Systems and Computers 37:1398.
    """
    predictions, targets = masked(predictions, targets, where)
    dtype = predictions.dtype
    predictions, targets = wide(predictions), wide(targets)
    for axis, length, factor in zip("zyx", targets.shape[1:], pool, strict=True):
        if length < factor ** (len(weights) - 1):
            raise ValueError(
                f"{axis} has {length} voxels, too few for {len(weights)} scales, each {factor} times coarser: give"
                f" fewer weights, or pool {axis} by 1"
            )
    index = jnp.ones_like(targets[:, 0, 0, 0])
    for scale, weight in enumerate(weights):
        if scale > 0:
            (predictions, targets), where = _pooled((predictions, targets), where, pool)
        luminance, contrast = _similarity(predictions, targets, data_range, sigma, where)
        similarity = luminance * contrast if scale == len(weights) - 1 else contrast
        mean = 1 - masked_mean(1 - similarity, where)
        index *= jnp.where(mean > 0, jnp.where(mean > 0, mean, 1) ** weight, 0)  # the root has no slope at 0
    return (1 - index).astype(dtype)


def gradient_difference(
    predictions: Array,
    targets: Array,
    *,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    where: Array | None = None,
) -> jax.Array:
    """Difference of the two maps' slopes: edges that are blurred, moved, invented or turned around.

    Args:
      predictions: `[case, z, y, x]`.
      targets: `[case, z, y, x]`, in the unit of the predictions.
      spacing_mm: of the voxels along z, y and x.
      where: bool `[case, z, y, x]`, True for the voxels that count; all of them by default. A slope counts where both
        its voxels do.

    Returns:
      `[case]`, in the maps' unit per mm: mean over all pairs of neighbours along z, y and x of
      |(p_1 - p_0) - (t_1 - t_0)| / spacing; 0 where there is no pair.

    Raises:
      ValueError: the shapes differ or are not `[case, z, y, x]`.

    Example:
      >>> import jax.numpy as jnp
      >>> gradient_difference(jnp.array([[[[0.0, 4.0]]]]), jnp.array([[[[0.0, 0.0]]]]), spacing_mm=(5.0, 2.0, 2.0))
      Array([2.], dtype=float32)

    Reference:
      Mathieu, Couprie and LeCun 2016, ICLR 4 (equation 6, with signed slopes: unsigned, an edge turned around is free).
    """
    predictions, targets = masked(predictions, targets, where)
    _check_axes(targets)
    error = wide(predictions) - wide(targets)
    counted = jnp.ones(error.shape, bool) if where is None else jnp.asarray(where)
    totals, pairs = [], []
    for axis, spacing in enumerate(spacing_mm, start=1):
        ends = (slice(None),) * axis
        both = counted[(*ends, slice(1, None))] & counted[(*ends, slice(-1))]
        totals.append(masked_sum(jnp.abs(jnp.diff(error, axis=axis)) / spacing, both))
        pairs.append(masked_sum(both.astype(error.dtype), None))
    total, number = sum(totals[1:], start=totals[0]), sum(pairs[1:], start=pairs[0])
    return (total / jnp.maximum(number, 1)).astype(predictions.dtype)


def _similarity(
    predictions: jax.Array, targets: jax.Array, data_range: float, sigma: Sequence[float], where: Array | None
) -> tuple[jax.Array, jax.Array]:
    """Returns the luminance and the contrast-structure term of SSIM, `[case, z, y, x]`, of maps masked already.

    Both are written as 1 minus a difference, 1 - (m_p - m_t)^2 / (m_p^2 + m_t^2 + C1) and
    1 - v_(p - t) / (v_p + v_t + C2): the same numbers, but exactly 1 for equal maps also in float32.
    """
    _check_axes(targets)
    predictions, targets = wide(predictions), wide(targets)
    difference = predictions - targets
    moments = jnp.stack(
        [predictions, targets, jnp.square(difference), jnp.square(predictions) + jnp.square(targets)], axis=1
    )
    mean_p, mean_t, square_d, squares = jnp.unstack(_blur(moments, sigma) / _window_mass(where, targets, sigma), axis=1)
    square_of_mean_d = jnp.square(mean_p - mean_t)
    squares_of_means = jnp.square(mean_p) + jnp.square(mean_t)
    variance_d = jnp.maximum(square_d - square_of_mean_d, 0)
    variances = jnp.maximum(squares - squares_of_means, 0)
    luminance = 1 - square_of_mean_d / (squares_of_means + (_K1 * data_range) ** 2)
    return luminance, 1 - variance_d / (variances + (_K2 * data_range) ** 2)


def _window_mass(where: Array | None, like: jax.Array, sigma: Sequence[float]) -> jax.Array:
    """Returns how much of each voxel's window counts, `[case or 1, 1, z, y, x]`; 1 where the voxel itself does not."""
    if where is None:
        z, y, x = (
            _band(n, width).sum(0) if width > 0 else np.ones(n) for n, width in zip(like.shape[1:], sigma, strict=True)
        )
        return jnp.asarray(z[:, None, None] * y[:, None] * x, like.dtype)[None, None]
    return jnp.where(where, _blur(jnp.asarray(where, like.dtype)[:, None], sigma)[:, 0], 1)[:, None]


def _blur(values: jax.Array, sigma: Sequence[float]) -> jax.Array:
    """Convolves `[case, channel, z, y, x]` with a Gaussian, zero beyond the border, one axis after the other.

    Each convolution is a product with a banded matrix: for axes of this length it is faster than XLA's convolution,
    and its gradient is another such product.
    """
    for axis, width in enumerate(sigma, start=2):
        if width > 0:
            matrix = jnp.asarray(_band(values.shape[axis], width), values.dtype)
            product = jnp.tensordot(values, matrix, axes=((axis,), (0,)), precision="highest")
            values = jnp.moveaxis(product, -1, axis)
    return values


def _band(length: int, sigma: float) -> np.ndarray:
    """Returns the matrix of a 1-D Gaussian convolution, `[length, length]`."""
    radius = int(_TRUNCATE * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    window = np.exp(-0.5 * np.square(offsets / sigma))
    distance = np.subtract.outer(np.arange(length), np.arange(length))
    inside = np.abs(distance) <= radius
    return np.where(inside, (window / window.sum())[np.where(inside, distance, 0) + radius], 0)


def _pooled(
    maps: tuple[jax.Array, jax.Array], where: Array | None, pool: Sequence[int]
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """Averages blocks of the voxels that count; a pooled voxel counts where any in it does."""
    counted = jnp.ones(maps[0].shape, bool) if where is None else jnp.asarray(where)

    def block_sum(values: jax.Array) -> jax.Array:
        padding = [(0, 0), *((0, -length % factor) for length, factor in zip(values.shape[1:], pool, strict=True))]
        values = jnp.pad(values, padding)
        blocks = [part for size, f in zip(values.shape[1:], pool, strict=True) for part in (size // f, f)]
        return jnp.sum(values.reshape(values.shape[0], *blocks), axis=(2, 4, 6))

    number = block_sum(counted.astype(maps[0].dtype))
    prediction, target = (block_sum(values) / jnp.maximum(number, 1) for values in maps)
    return (prediction, target), number > 0


def _check_axes(maps: jax.Array) -> None:
    if maps.ndim != 4:
        raise ValueError(f"the maps have shape {maps.shape}; structure needs [case, z, y, x]")
