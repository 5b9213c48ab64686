"""The losses in a network of your own: ten lines of flax NNX, trained twice, once with each of two losses.

    python examples/use_losses.py

Nothing of the project but `tmax_jax.losses` is used, which needs jax and numpy alone. The maps are made up: smooth Tmax
in seconds with a late region, seen through noise. The second loss makes "too high" cost four times "too low" and adds
structural similarity; compare the two rows of errors.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from tmax_jax import losses

STEPS = 100
LOSSES = {
    "squared error": losses.squared_error,
    "asymmetric + SSIM": functools.partial(
        losses.weighted_sum,
        terms=[
            (1.0, functools.partial(losses.asymmetric_squared_error, over=4.0)),
            (5.0, functools.partial(losses.ssim, data_range=20.0)),
        ],
    ),
}


class Denoiser(nnx.Module):
    """Three convolutions of each slice: noisy Tmax in seconds `[case, z, y, x]` to Tmax."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(1, 8, (1, 3, 3), rngs=rngs)
        self.second = nnx.Conv(8, 8, (1, 3, 3), rngs=rngs)
        self.head = nnx.Conv(8, 1, (1, 3, 3), rngs=rngs)

    def __call__(self, tmax_s: jax.Array) -> jax.Array:
        """Returns Tmax in seconds."""
        return self.head(nnx.relu(self.second(nnx.relu(self.first(tmax_s[..., None] / 20))))).squeeze(-1) * 20


@functools.partial(jax.jit, static_argnums=0)
def made_up_maps(cases: int, seed: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns noisy and true Tmax in seconds and a mask, `[case, z, y, x]`; both maps are NaN outside it."""
    place, noise = jax.random.split(jax.random.key(seed))
    y, x = jnp.mgrid[-1:1:24j, -1:1:24j]
    middle = jax.random.uniform(place, (2, cases, 2, 1, 1), minval=-0.5, maxval=0.5)
    true = 1.5 + 10 * jnp.exp(-8 * ((y[None, None] - middle[0]) ** 2 + (x[None, None] - middle[1]) ** 2))
    noisy = true + 3 * jax.random.normal(noise, true.shape)
    mask = jnp.broadcast_to(y**2 + x**2 < 0.9, true.shape)
    return jnp.where(mask, noisy, jnp.nan), jnp.where(mask, true, jnp.nan), mask


def train(loss: Callable[..., jax.Array], steps: int) -> tuple[float, float, float]:
    """Trains a network with a loss; returns the absolute error and bias in s, and the SSIM, of maps it has not seen."""
    model = Denoiser(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
    noisy, true, mask = made_up_maps(4, 0)

    @nnx.jit
    def step(model: Denoiser, optimizer: nnx.Optimizer) -> None:
        def objective(model: Denoiser) -> jax.Array:
            return jnp.mean(loss(model(jnp.where(mask, noisy, 0)), true, where=mask))

        optimizer.update(model, nnx.grad(objective)(model))

    for _ in range(steps):
        step(model, optimizer)
    noisy, true, mask = made_up_maps(8, 1)
    predicted = model(jnp.where(mask, noisy, 0))
    error = jnp.mean(losses.absolute_error(predicted, true, where=mask))
    bias = jnp.mean(predicted - true, where=mask)
    similarity = 1 - jnp.mean(losses.ssim(predicted, true, data_range=20.0, where=mask))
    return float(error), float(bias), float(similarity)


def main(steps: int = STEPS) -> dict[str, tuple[float, float, float]]:
    """Trains with each of the losses and prints what became of it."""
    results = {name: train(loss, steps) for name, loss in LOSSES.items()}
    for name, (error, bias, similarity) in results.items():
        print(f"{name:18s} MAE {error:.2f} s   bias {bias:+.2f} s   SSIM {similarity:.3f}")
    return results


if __name__ == "__main__":
    main()
