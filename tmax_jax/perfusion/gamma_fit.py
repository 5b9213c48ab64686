"""Gamma variates fitted to many curves at once: the first pass without noise, tail and recirculation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tmax_jax.perfusion.arrival import NON_STEADY_FRAMES

_ITERATIONS = 25
_FIRST_PASS_END = 0.35  # of the peak: below it, behind the peak, blood comes round again
_SHAPES = (0.6, 20.0)  # between which shapes make sense


class GammaVariate(NamedTuple):
    """Parameters of `height * phase**shape * exp(shape * (1 - phase))`, phase = (t - arrival) / rise; each `[...]`."""

    height: jax.Array
    arrival_s: jax.Array
    rise_s: jax.Array  # from arrival to peak
    shape: jax.Array
    residual: jax.Array  # root mean square over the first pass, as a fraction of the height

    def area(self) -> jax.Array:
        """Returns the area under the whole first pass, in the unit of the height times seconds."""
        log_area = jax.scipy.special.gammaln(self.shape + 1.0) + self.shape - (self.shape + 1.0) * jnp.log(self.shape)
        return self.height * self.rise_s * jnp.exp(log_area)


@jax.jit
def fit_gamma_variate(curves: jax.Array, *, dt: float | jax.Array) -> GammaVariate:
    """Fits the first pass of each curve by Levenberg-Marquardt, all curves at once.

    A frame counts up to where the curve has fallen to 35 % of its peak. The number of steps is fixed, so that the
    function can be differentiated and takes the same time for every curve.

    Args:
      curves: `[..., time]`, concentration.
      dt: seconds between frames.

    Returns:
      The parameters. A curve that never rises has height 0.

    Example:
      >>> from tmax_jax.perfusion.aif import gamma_variate
      >>> curve = 7.0 * gamma_variate(1.5 * jnp.arange(40.0), arrival_s=15.0, rise_s=4.5, shape=3.0)
      >>> fit = fit_gamma_variate(curve, dt=1.5)
      >>> [round(float(value), 2) for value in fit[:4]]
      [7.0, 15.0, 4.5, 3.0]

    Reference:
      Madsen, Phys Med Biol 1992;37:1597 (the form whose parameters are nearly independent).
    """
    frames = curves.shape[-1]
    time = jnp.arange(frames, dtype=jnp.float32).reshape((1,) * (curves.ndim - 1) + (-1,))  # in frames
    settled = time >= NON_STEADY_FRAMES
    peak = jnp.argmax(jnp.where(settled, curves, -jnp.inf), axis=-1)[..., None]
    height = jnp.maximum(jnp.take_along_axis(curves, peak, axis=-1), 0.0)
    scale = jnp.where(height > 0, height, 1.0)
    y = curves / scale
    fallen = (time > peak) & (y < _FIRST_PASS_END)
    weight = (settled & (jnp.cumsum(fallen, axis=-1) == 0)).astype(curves.dtype)
    rising = (time <= peak) & (y < 0.5)
    half = jnp.max(jnp.where(rising, time, 0.0), axis=-1, keepdims=True)  # last frame below half of the peak
    rise = jnp.maximum(1.8 * (peak - half), 1.0)
    start = (jnp.ones_like(rise), peak - rise, jnp.log(rise), jnp.full_like(rise, jnp.log(3.0)))

    def residual(parameters: tuple[jax.Array, ...]) -> jax.Array:
        return weight * (_model(parameters, time)[0] - y)

    def step(_: jax.Array, state: tuple[tuple[jax.Array, ...], jax.Array, jax.Array]) -> tuple:
        parameters, damping, error = state
        value, columns = _model(parameters, time)
        columns = [weight * column for column in columns]
        columns, difference = jax.lax.optimization_barrier(
            (columns, weight * (value - y))
        )  # computed once, not 14 times
        normal = [[jnp.sum(a * b, axis=-1, keepdims=True) for b in columns] for a in columns]
        for i in range(4):
            normal[i][i] = normal[i][i] * (1.0 + damping) + 1e-6
        change = _solve(normal, [-jnp.sum(a * difference, axis=-1, keepdims=True) for a in columns])
        tried = _bounded(tuple(p + c for p, c in zip(parameters, change, strict=True)), peak, frames)
        tried_error = jnp.sum(residual(tried) ** 2, axis=-1, keepdims=True)
        better = tried_error < error
        parameters = tuple(jnp.where(better, new, old) for new, old in zip(tried, parameters, strict=True))
        damping = jnp.clip(jnp.where(better, 0.3 * damping, 5.0 * damping), 1e-6, 1e4)
        return parameters, damping, jnp.where(better, tried_error, error)

    error = jnp.sum(residual(start) ** 2, axis=-1, keepdims=True)
    state = (start, jnp.full_like(rise, 0.01), error)
    parameters, _, error = jax.lax.fori_loop(0, _ITERATIONS, step, state)
    top, arrival, log_rise, log_shape = (parameter[..., 0] for parameter in parameters)
    count = jnp.maximum(jnp.sum(weight, axis=-1), 1.0)
    return GammaVariate(
        height=jnp.where(height[..., 0] > 0, top * scale[..., 0], 0.0),
        arrival_s=arrival * dt,
        rise_s=jnp.exp(log_rise) * dt,
        shape=jnp.exp(log_shape),
        residual=jnp.sqrt(jnp.maximum(error[..., 0], 1e-20) / count) / jnp.maximum(top, 1e-6),
    )


def _model(parameters: tuple[jax.Array, ...], time: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
    """Returns the curve and its derivatives by height, arrival, log rise and log shape."""
    top, arrival, log_rise, log_shape = parameters
    rise, shape = jnp.exp(log_rise), jnp.exp(log_shape)
    after = time > arrival
    phase = jnp.where(after, (time - arrival) / rise, 1.0)
    log_form = jnp.log(phase) + 1.0 - phase
    unit = jnp.where(after, jnp.exp(shape * log_form), 0.0)
    value = top * unit
    slope = value * shape * (1.0 / phase - 1.0)  # by phase
    return value, [unit, -slope / rise, -slope * phase, value * shape * log_form]


def _bounded(parameters: tuple[jax.Array, ...], peak: jax.Array, frames: int) -> tuple[jax.Array, ...]:
    top, arrival, log_rise, log_shape = parameters
    low, high = _SHAPES
    return (
        jnp.clip(top, 0.1, 10.0),
        jnp.clip(arrival, -1.0 * frames, peak - 0.25),
        jnp.clip(log_rise, jnp.log(0.3), jnp.log(1.0 * frames)),
        jnp.clip(log_shape, jnp.log(low), jnp.log(high)),
    )


def _solve(matrix: list[list[jax.Array]], right: list[jax.Array]) -> list[jax.Array]:
    """Solves small positive-definite systems by elimination, element by element: no library call a curve."""
    size = len(right)
    matrix, right = [list(row) for row in matrix], list(right)
    for i in range(size):
        for j in range(i + 1, size):
            factor = matrix[j][i] / matrix[i][i]
            matrix[j] = [b - factor * a for a, b in zip(matrix[i], matrix[j], strict=True)]
            right[j] = right[j] - factor * right[i]
    for i in reversed(range(size)):
        known = sum(matrix[i][j] * right[j] for j in range(i + 1, size))
        right[i] = (right[i] - known) / matrix[i][i]
    return right
