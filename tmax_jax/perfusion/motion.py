"""Rigid motion between the frames of a scan: estimated on the device, all frames at once, and taken out."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from tmax_jax.perfusion.arrival import NON_STEADY_FRAMES

_LEVELS = ((4, 12), (2, 10))  # reduction in y and x, and steps; a finer grid finds no more than noise
_REFERENCE_FRAMES = 3  # settled ones, averaged
_EXACT = jax.lax.Precision.HIGHEST


def rigid(rotation_rad: jax.Array, translation_mm: jax.Array) -> jax.Array:
    """Returns rigid motions as matrices.

    Args:
      rotation_rad: `[..., 3]`, rotation vector: axis in the order z, y, x, its length the angle.
      translation_mm: `[..., 3]`, z, y, x.

    Returns:
      `[..., 4, 4]`, acting on columns (z, y, x, 1) in mm from the middle of the grid.

    Example:
      >>> rigid(jnp.zeros(3), jnp.array([0.0, 2.0, 0.0]))[1].tolist()
      [0.0, 1.0, 0.0, 2.0]
    """
    a, b, c = (rotation_rad[..., i] for i in range(3))
    nothing = jnp.zeros_like(a)
    cross = jnp.stack([nothing, -c, b, c, nothing, -a, -b, a, nothing], axis=-1).reshape(*a.shape, 3, 3)
    square = jnp.sum(rotation_rad**2, axis=-1)[..., None, None]
    small = square < 1e-8
    angle = jnp.sqrt(jnp.where(small, 1.0, square))
    first = jnp.where(small, 1.0 - square / 6.0, jnp.sin(angle) / angle)
    second = jnp.where(small, 0.5 - square / 24.0, (1.0 - jnp.cos(angle)) / angle**2)
    turn = (
        jnp.broadcast_to(jnp.eye(3), cross.shape) + first * cross + second * jnp.matmul(cross, cross, precision=_EXACT)
    )
    top = jnp.concatenate([turn, translation_mm[..., None]], axis=-1)
    bottom = jnp.broadcast_to(jnp.array([0.0, 0.0, 0.0, 1.0]), (*top.shape[:-2], 1, 4))
    return jnp.concatenate([top, bottom], axis=-2)


def estimate_motion(signal: jax.Array, mask: jax.Array, *, spacing_mm: Sequence[float]) -> jax.Array:
    """Estimates where each frame's head lies, relative to the mean of the first settled frames.

    Gauss-Newton from a coarse, smoothed grid to a finer one. Each step fits the frame's brightness and offset, too, and
    trusts voxels less the worse they fit: the bolus darkens vessels more than tissue, which is no motion.

    Args:
      signal: `[z, y, x, time]`.
      mask: bool `[z, y, x]`, True = head.
      spacing_mm: of the voxels, z, y, x.

    Returns:
      `[time, 4, 4]`, from a place in the reference to the same tissue's place in the frame, as `rigid` says.

    Example:
      `still = apply_motion(signal, estimate_motion(signal, mask, spacing_mm=spacing), spacing_mm=spacing)`

    Reference:
      Baker and Matthews, Int J Comput Vis 2004;56:221 (the inverse-compositional step).
    """
    signal = signal.astype(jnp.float32)
    frames = jnp.moveaxis(signal, -1, 0)
    reference = jnp.mean(frames[NON_STEADY_FRAMES : NON_STEADY_FRAMES + _REFERENCE_FRAMES], axis=0)
    motion = jnp.tile(jnp.eye(4).reshape(1, 4, 4), (frames.shape[0], 1, 1))
    for factor, steps in _LEVELS:
        coarse_mm = (spacing_mm[0], spacing_mm[1] * factor, spacing_mm[2] * factor)
        weight = _reduced(mask.astype(jnp.float32), factor)
        target = _reduced(reference, factor)
        slopes = _slopes(target, coarse_mm)

        def one_frame(
            pair: tuple[jax.Array, jax.Array],
            factor: int = factor,
            steps: int = steps,
            coarse_mm: tuple[float, ...] = coarse_mm,
            parts: tuple[jax.Array, ...] = (weight, target, slopes),
        ) -> jax.Array:
            frame, start = pair
            moving = _reduced(frame, factor)
            return jax.lax.fori_loop(0, steps, lambda _, matrix: _step(matrix, moving, parts, coarse_mm), start)

        motion = jax.lax.map(one_frame, (frames, motion))
    return motion


def apply_motion(signal: jax.Array, motion: jax.Array, *, spacing_mm: Sequence[float]) -> jax.Array:
    """Resamples each frame at the places to which a motion takes the grid, by linear interpolation.

    With the motion of `estimate_motion` this brings all frames back to the reference; with a motion of one's own it
    moves a still head by its inverse.

    Args:
      signal: `[z, y, x, time]`.
      motion: `[time, 4, 4]`.
      spacing_mm: of the voxels, z, y, x.

    Returns:
      `[z, y, x, time]`; beyond the edge the nearest voxel is repeated.
    """
    frames = jnp.moveaxis(signal.astype(jnp.float32), -1, 0)
    moved = jax.lax.map(lambda pair: _warp(pair[0], pair[1], tuple(spacing_mm)), (frames, motion))
    return jnp.moveaxis(moved, 0, -1)


def _places(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> jax.Array:
    """Returns `[4, z * y * x]`: millimetres from the middle of the grid, and 1."""
    axes = [(jnp.arange(n) - 0.5 * (n - 1)) * mm for n, mm in zip(shape, spacing_mm, strict=True)]
    grid = [axis.reshape(-1) for axis in jnp.meshgrid(*axes, indexing="ij")]
    return jnp.stack([*grid, jnp.ones_like(grid[0])])


def _warp(image: jax.Array, matrix: jax.Array, spacing_mm: tuple[float, ...]) -> jax.Array:
    at = jnp.matmul(matrix[:3], _places(image.shape, spacing_mm), precision=_EXACT)
    where = [u / mm + 0.5 * (n - 1) for u, mm, n in zip(at, spacing_mm, image.shape, strict=True)]
    return jax.scipy.ndimage.map_coordinates(image, where, order=1, mode="nearest").reshape(image.shape)


def _reduced(image: jax.Array, factor: int) -> jax.Array:
    """Averages blocks of voxels in y and x, then smooths a little; odd remainders are cut off."""
    z, y, x = image.shape
    y, x = y // factor * factor, x // factor * factor
    image = image[:, :y, :x].reshape(z, y // factor, factor, x // factor, factor).mean(axis=(2, 4))
    for axis in (1, 2):
        before, after = jnp.roll(image, 1, axis), jnp.roll(image, -1, axis)
        image = 0.25 * before + 0.5 * image + 0.25 * after
    return image


def _slopes(image: jax.Array, spacing_mm: tuple[float, ...]) -> jax.Array:
    """Returns the image's change by rotation (z, y, x) and translation (z, y, x), `[6, z * y * x]`."""
    gz, gy, gx = (g.reshape(-1) / mm for g, mm in zip(jnp.gradient(image), spacing_mm, strict=True))
    z, y, x, _ = _places(image.shape, spacing_mm)
    return jnp.stack([gx * y - gy * x, gz * x - gx * z, gy * z - gz * y, gz, gy, gx])


def _step(
    matrix: jax.Array,
    moving: jax.Array,
    parts: tuple[jax.Array, ...],
    spacing_mm: tuple[float, ...],
) -> jax.Array:
    """Improves one frame's motion once; the parts are the reference's weight, image and slopes."""
    weight, target, slopes = parts
    goal, moved, weight = target.reshape(-1), _warp(moving, matrix, spacing_mm).reshape(-1), weight.reshape(-1)
    total = jnp.maximum(jnp.sum(weight), 1e-6)
    mean_moved, mean_goal = jnp.sum(weight * moved) / total, jnp.sum(weight * goal) / total
    spread = jnp.sum(weight * (moved - mean_moved) ** 2)
    gain = jnp.sum(weight * (moved - mean_moved) * (goal - mean_goal)) / jnp.maximum(spread, 1e-12)
    misfit = gain * (moved - mean_moved) - (goal - mean_goal)
    scale = jnp.sqrt(jnp.sum(weight * misfit**2) / total) + 1e-12
    trust = weight / (1.0 + (misfit / scale) ** 2) ** 2
    normal = jnp.matmul(slopes * trust.reshape(1, -1), slopes.T, precision=_EXACT)
    # Rotations are in radians, translations in mm: damp each by its own size.
    normal += jnp.diag(1e-6 * jnp.diagonal(normal) + 1e-12)
    change = jnp.linalg.solve(normal, jnp.matmul(slopes, trust * misfit, precision=_EXACT))
    return jnp.matmul(matrix, rigid(-change[:3], -change[3:]), precision=_EXACT)
