"""How well the delay of a curve can be known at all: the exact posterior under the prior of a network's training.

  python -m benchmarks.posterior                     of configs/simulated.py:held_out
  python -m benchmarks.posterior --families=2,0,0,1  under other weights of the families of residue functions

An ideal reader knows the artery and the level of noise exactly, and from which distribution tissue is drawn. It weighs
many drawn tissues by how likely each makes the measured signal; its estimate, the posterior's median, has the
smallest mean absolute error over that distribution. A network trained on the distribution comes near it, not past it,
and shares its bias. The rows are those of `accuracy.py --table=goals`, of one frame interval.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from rich.progress import track

from benchmarks.accuracy import rows, worst_bias
from configs import simulated
from tmax_jax.perfusion.arrival import NON_STEADY_FRAMES
from tmax_jax.perfusion.curves import Ranges, Scan, draw_scan, draw_tissue, tissue_curves
from tmax_jax.simulated import ranges_of

_SCANS = flags.DEFINE_integer("scans", 4, "each with an artery of its own", 1)
_TISSUES = flags.DEFINE_integer("tissues", 400_000, "drawn from the prior, for each scan", 10_000)
_FAMILIES = flags.DEFINE_list("families", None, "weights of exponential, box, linear, gamma instead of the config's")
_CURVES = 250  # measured, of a scan
_BLOCK = 10_000  # tissues whose curves are made at once


class Tissues(NamedTuple):
    """What may have made a curve, in order of delay."""

    signal: jax.Array  # [tissue, frame], without noise, the baseline 1
    delay_s: jax.Array  # [tissue]


class Reading(NamedTuple):
    """What an ideal reader says of curves, each `[curve]`."""

    delay_s: jax.Array | np.ndarray  # median
    low_s: jax.Array | np.ndarray  # 5 %
    high_s: jax.Array | np.ndarray  # 95 %
    tissues: jax.Array | np.ndarray  # how many explain the curve (effective sample size); with few the answer is rough


def possible_tissues(key: jax.Array, scan: Scan, prior: Ranges) -> Tissues:
    """Draws tissues from the prior and makes their curves, as the scan's artery feeds them."""
    frames = scan.signal.shape[-1]

    @jax.jit
    def block(key: jax.Array) -> Tissues:
        tissue = draw_tissue(iter(jax.random.split(key, 7)), curves=_BLOCK, ranges=prior)
        curves = tissue_curves(scan.bolus, tissue, dt=scan.dt, frames=frames, earliest_s=prior.delay_s[0])
        return Tissues(jnp.exp(-scan.echo_time_s * curves), tissue.delay_s)

    blocks = [block(key) for key in jax.random.split(key, _TISSUES.value // _BLOCK)]
    found = jax.tree.map(lambda *parts: jnp.concatenate(parts), *blocks)
    order = jnp.argsort(found.delay_s)
    return Tissues(found.signal[order], found.delay_s[order])


@jax.jit
def read(signal: jax.Array, snr: jax.Array, tissues: Tissues) -> Reading:
    """Reads the signals `[curve, frame]` of a scan by the posterior; frames before the steady state tell nothing."""
    made = tissues.signal[:, NON_STEADY_FRAMES:]
    made_squared = jnp.sum(made**2, axis=1)

    def one(measured: jax.Array) -> Reading:
        squares = made_squared - 2.0 * jnp.matmul(made, measured, precision="highest") + jnp.sum(measured**2)
        weight = jax.nn.softmax(-0.5 * snr**2 * squares)
        share = jnp.cumsum(weight)
        median, low, high = tissues.delay_s[jnp.searchsorted(share, jnp.array([0.5, 0.05, 0.95]) * share[-1])]
        return Reading(median, low, high, 1.0 / jnp.sum(weight**2))

    return jax.lax.map(one, signal[:, NON_STEADY_FRAMES:], batch_size=16)


def main(_: Sequence[str]) -> None:
    """Prints the table."""
    prior = ranges_of(simulated.get_config("held_out"))
    if _FAMILIES.value:
        prior = prior._replace(families=tuple(float(weight) for weight in _FAMILIES.value))
    wanted = {name: ranges for name, (ranges, _) in rows().items() if "TR" not in name}
    found: dict[str, list[tuple[Reading, np.ndarray]]] = {name: [] for name in wanted}
    for number in track(range(_SCANS.value), "arteries"):
        key = jax.random.fold_in(jax.random.key(0), number)
        scans = {n: draw_scan(key, curves=_CURVES, frames=60, ranges=ranges) for n, ranges in wanted.items()}
        tissues = possible_tissues(jax.random.fold_in(key, 1), next(iter(scans.values())), prior)  # one artery for all
        for name, scan in scans.items():
            reading = jax.tree.map(np.asarray, read(scan.signal, scan.snr, tissues))
            found[name].append((reading, np.asarray(scan.tissue.delay_s)))
    print(f"\nIdeal reader, families {prior.families}, {_SCANS.value} arteries, {_TISSUES.value} tissues each")
    print(
        f"    {'':20s}  MAE s | agreement | worst bias in 1 s of delay | in 90 % | tissues that explain a curve, median"
    )
    for name, parts in found.items():
        reading = Reading(*(np.concatenate(fields) for fields in zip(*(r for r, _ in parts), strict=True)))
        delay_s = np.concatenate([truth for _, truth in parts])
        error = np.asarray(reading.delay_s) - delay_s
        agreement = np.mean((np.asarray(reading.delay_s) > 6) == (delay_s > 6))
        inside = np.mean((delay_s >= reading.low_s) & (delay_s <= reading.high_s))
        print(
            f"    {name:20s} {np.abs(error).mean():6.2f} | {agreement:9.3f} | {worst_bias(error, delay_s):26.2f} |"
            f" {inside:7.2f} | {np.median(reading.tissues):8.0f}"
        )


if __name__ == "__main__":
    app.run(main)
