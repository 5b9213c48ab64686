"""Deconvolution: from a tissue curve and the artery's curve to the flow-scaled residue function."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp

from tmax_jax.perfusion.circulant import csvd, osvd, tikhonov
from tmax_jax.perfusion.toeplitz import ssvd

METHODS = {"ssvd": ssvd, "csvd": csvd, "osvd": osvd, "tikhonov": tikhonov}


def deconvolve(
    concentration: jax.Array,
    aif: jax.Array,
    *,
    dt: float | jax.Array,
    method: str = "csvd",
    **parameters: Any,
) -> jax.Array:
    """Solves `concentration = dt * sum(aif(t - u) * f(u))` for the flow-scaled residue function f.

    Args:
      concentration: `[..., time]`, tissue curves.
      aif: arterial curve in the same unit: `[time]`, or `[..., time]` with an artery a voxel or axes of size 1.
      dt: seconds between frames, which must be equal: see `resample_evenly`.
      method: one of `METHODS`.
      **parameters: of the method. `threshold` (ssvd, csvd): fraction of the largest singular value below which one is
        dropped. `oscillation`, `thresholds` (osvd): largest oscillation index accepted, and what to try. `strength`
        (tikhonov): of the damping.

    Returns:
      f in 1/s, `[..., 2 * time]`: CBF times the residue function, without the haematocrit's and density's factor. The
      second half holds the negative times, tissue that is fed before the artery measured, in wrap-around order.

    Raises:
      ValueError: the method or a parameter is unknown, or the curves do not fit together.

    Example:
      >>> aif = jnp.array([0.0, 1.0, 4.0, 2.0, 1.0, 0.0, 0.0, 0.0])
      >>> deconvolve(0.02 * aif, aif, dt=1.0, method="csvd").argmax().item()
      0

    References:
      Ostergaard et al., Magn Reson Med 1996;36:715 (ssvd). Wu et al., Magn Reson Med 2003;50:164 (csvd, osvd).
      Calamante et al., Magn Reson Med 2003;50:1237 (tikhonov).
    """
    if method not in METHODS:
        raise ValueError(f"unknown deconvolution {method!r}; choose one of {', '.join(METHODS)}")
    known = set(inspect.signature(METHODS[method]).parameters) - {"concentration", "aif", "dt"}
    if unknown := sorted(set(parameters) - known):
        raise ValueError(f"{method} has no parameter {unknown[0]!r}; it has {', '.join(sorted(known))}")
    concentration, aif = jnp.asarray(concentration), jnp.asarray(aif)
    time = concentration.shape[-1]
    if aif.shape[-1] != time:
        raise ValueError(
            f"the arterial curve has {aif.shape[-1]} frames, the tissue {time}; they must be sampled alike"
        )
    fits = aif.ndim == concentration.ndim and all(
        n in (1, m) for n, m in zip(aif.shape[:-1], concentration.shape[:-1], strict=True)
    )
    if aif.ndim > 1 and not fits:
        raise ValueError(
            f"the arterial curves are {aif.shape}, the tissue's {concentration.shape}; give one curve, or one a voxel"
        )
    return METHODS[method](concentration, aif, dt=dt, **parameters)
