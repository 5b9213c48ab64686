"""A digital phantom of tiles, each with its own delay and transit time: where a method fails shows at a glance.

After Kudo et al., Radiology 2013;267:201: columns differ in transit time, rows in delay, slices in blood volume.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tmax_jax.perfusion.curves import FAMILIES, Bolus, Tissue, tissue_curves
from tmax_jax.perfusion.signal import concentration_to_signal, relaxation_change, rician_noise

TILE_MTT_S = (24.0, 12.0, 8.0, 6.0, 4.8, 4.0, 3.43)  # columns
TILE_DELAY_S = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)  # rows
TILE_CBV = (1.0, 2.0, 3.0, 4.0, 5.0)  # slices, ml/100 g
BORDER = 2  # voxels around each tile that are not scored
_BOLUS = Bolus(arrival_s=15.0, rise_s=4.5, shape=3.0, peak=300.0, recirculation=0.2, recirculation_delay_s=11.0)


class TilePhantom(NamedTuple):
    """Curves and truth of the tiles; maps are `[z, y, x]`."""

    concentration: jax.Array  # [z, y, x, time], dR2* in 1/s, noisy
    clean: jax.Array  # [z, y, x, time]
    aif: jax.Array  # [time]
    dt: float
    delay_s: jax.Array
    mtt_s: jax.Array
    cbv: jax.Array
    cbf: jax.Array
    scored: jax.Array  # bool, False at the borders of the tiles


def tile_phantom(
    key: jax.Array,
    *,
    residue: str = "exponential",
    snr: float = 50.0,
    dt: float = 1.5,
    frames: int = 60,
    echo_time_s: float = 0.03,
    tile: int = 32,
) -> TilePhantom:
    """Simulates the tiles.

    Args:
      key: of the noise.
      residue: one of `curves.FAMILIES`; "gamma" has shape 3.
      snr: of the signal without contrast agent.
      dt: seconds between frames.
      frames: number of time points.
      echo_time_s: in seconds.
      tile: voxels along a tile's side.

    Returns:
      The phantom.

    Raises:
      ValueError: the residue function is unknown.

    Example:
      >>> tile_phantom(jax.random.key(0), tile=8).concentration.shape
      (5, 56, 56, 60)
    """
    if residue not in FAMILIES:
        raise ValueError(f"unknown residue function {residue!r}; choose one of {', '.join(FAMILIES)}")
    combinations = np.array(list(itertools.product(TILE_CBV, TILE_DELAY_S, TILE_MTT_S)), np.float32)
    cbv, delay_s, mtt_s = jnp.asarray(combinations.T)
    tissue = Tissue(
        delay_s, mtt_s, cbv, jnp.full(cbv.shape, FAMILIES.index(residue)), jnp.full(cbv.shape, 3), jnp.zeros(cbv.shape)
    )
    curves = tissue_curves(_BOLUS, tissue, dt=dt, frames=frames)

    def spread(values: jax.Array) -> jax.Array:
        grid = values.reshape(len(TILE_CBV), len(TILE_DELAY_S), len(TILE_MTT_S), *values.shape[1:])
        return jnp.repeat(jnp.repeat(grid, tile, axis=1), tile, axis=2)

    clean = spread(curves)
    signal = rician_noise(
        key, concentration_to_signal(clean, jnp.ones(clean.shape[:-1]), echo_time_s=echo_time_s), 1 / snr
    )
    inside = (jnp.arange(tile) >= BORDER) & (jnp.arange(tile) < tile - BORDER)
    rows, columns = (jnp.tile(inside, n) for n in (len(TILE_DELAY_S), len(TILE_MTT_S)))
    scored = jnp.broadcast_to(rows[:, None] & columns.reshape(1, -1), clean.shape[:-1])
    return TilePhantom(
        concentration=relaxation_change(signal, jnp.ones(clean.shape[:-1]), echo_time_s=echo_time_s),
        clean=clean,
        aif=_BOLUS.curve(dt * jnp.arange(frames)),
        dt=dt,
        delay_s=spread(delay_s),
        mtt_s=spread(mtt_s),
        cbv=spread(cbv),
        cbf=spread(tissue.cbf),
        scored=scored,
    )


def pearson(predictions: jax.Array, targets: jax.Array, *, where: jax.Array) -> jax.Array:
    """Returns the correlation of two maps over the voxels that count; 0 where one of them is flat.

    Args:
      predictions: any shape.
      targets: of the same shape.
      where: bool of the same shape.

    Returns:
      A scalar in -1..1.
    """
    a, b = (values - jnp.mean(values, where=where) for values in (predictions, targets))
    a, b = jnp.where(where, a, 0.0), jnp.where(where, b, 0.0)
    spread = jnp.sqrt(jnp.sum(a**2) * jnp.sum(b**2))
    return jnp.where(spread > 0, jnp.sum(a * b) / jnp.where(spread > 0, spread, 1.0), 0.0)
