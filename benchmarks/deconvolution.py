"""Times oSVD of a whole scan against numpy, alternated in one run, with the machine's bounds beside it.

  python benchmarks/deconvolution.py

The scan is a simulated patient of 24 x 128 x 128 voxels and 60 frames, noise in the air included. Two numpy versions,
both float32 in blocks that fit the cache: `every threshold` transforms all 19 solutions of each voxel, as the method
is written down; `early exit` drops voxels once they are solved. All give the same residue functions, which is checked.
"""

import resource
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from tmax_jax.perfusion.circulant import OSVD_OSCILLATION, OSVD_THRESHOLDS
from tmax_jax.perfusion.deconvolution import deconvolve
from tmax_jax.perfusion.parametric import maps
from tmax_jax.perfusion.phantom import draw_subject, simulate_patient
from tmax_jax.perfusion.selection import select_aif
from tmax_jax.perfusion.signal import signal_to_concentration

_ROUNDS = flags.DEFINE_integer("rounds", 5, "each side is timed so often, in turn", 1)
_SIZE = flags.DEFINE_list("size", ["24", "128", "128", "60"], "z,y,x,time")
_BLOCK = 4096


def numpy_osvd(curves: np.ndarray, aif: np.ndarray, dt: float, *, early_exit: bool) -> np.ndarray:
    """Returns residue functions `[voxel, 2 * time]`, vectorised over blocks of voxels."""
    length = 2 * curves.shape[1]
    artery = (np.fft.rfft(aif, length) * dt).astype(np.complex64)
    magnitude = np.abs(artery)
    masks = [magnitude >= np.float32(threshold) * magnitude.max() for threshold in OSVD_THRESHOLDS]
    found = np.empty((len(curves), length), np.float32)
    for start in range(0, len(curves), _BLOCK):
        quotient = np.fft.rfft(curves[start : start + _BLOCK], length) / artery
        result = found[start : start + _BLOCK]
        left = np.arange(len(quotient))
        open_ = np.ones(len(quotient), bool)
        for mask in masks:
            candidate = np.fft.irfft(np.where(mask, quotient[left] if early_exit else quotient, 0), length)
            bends = np.abs(candidate[:, 2:] - 2 * candidate[:, 1:-1] + candidate[:, :-2]).sum(axis=1)
            calm = bends <= OSVD_OSCILLATION * length * candidate.max(axis=1)
            if early_exit:
                result[left] = candidate
                left = left[~calm]
                if not len(left):
                    break
            else:
                result[open_] = candidate[open_]
                open_ &= ~calm
    return found


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def bounds(curves: jax.Array) -> tuple[float, float]:
    """Returns the machine's measured rates: GB/s of a copy, GFLOP/s of the product that oSVD consists of."""
    matrix = jnp.ones((curves.shape[1], 2 * curves.shape[1]))
    copy = jax.jit(lambda x: x + 1.0)
    product = jax.jit(lambda x: jnp.sum(jnp.matmul(x, matrix)))
    for function in (copy, product):
        jax.block_until_ready(function(curves))
    copied, multiplied = (min(timed(lambda f=f: f(curves)) for _ in range(5)) for f in (copy, product))
    return 2 * curves.nbytes / copied / 1e9, 2 * curves.shape[0] * matrix.size / multiplied / 1e9


def main(_: Sequence[str]) -> None:
    """Prints the table."""
    z, y, x, frames = map(int, _SIZE.value)
    subject = draw_subject(0, 1)
    patient = simulate_patient(jax.random.key(1), subject, size=(z, y, x), frames=frames)
    everywhere = jnp.ones((z, y, x), bool)
    scan = signal_to_concentration(patient.signal, echo_time_s=subject.echo_time_s, mask=patient.brain)
    dt = subject.frame_interval_s
    aif = select_aif(scan.curves, patient.brain, dt=dt, arrival_frame=scan.bolus.arrival).curve
    scan = signal_to_concentration(patient.signal, echo_time_s=subject.echo_time_s, mask=everywhere)
    whole = scan.curves.reshape(-1, frames)
    inside = jnp.asarray(np.asarray(whole)[np.asarray(patient.brain).ravel()])
    gigabytes, gigaflops = bounds(whole)
    print(f"copy {gigabytes:.1f} GB/s, product {gigaflops:.0f} GFLOP/s, {jax.devices()[0].device_kind}")
    compiled = jax.jit(lambda curves, aif: deconvolve(curves, aif, dt=dt, method="osvd"))
    mapped = jax.jit(lambda curves, aif: maps(curves, aif, dt=dt, method="osvd"))
    for name, curves in (("all voxels", whole), ("brain alone", inside)):
        host, artery = np.asarray(curves), np.asarray(aif)
        functions: dict[str, Callable[[], object]] = {
            "numpy, every threshold": lambda: numpy_osvd(host, artery, dt, early_exit=False),  # noqa: B023
            "numpy, early exit": lambda: numpy_osvd(host, artery, dt, early_exit=True),  # noqa: B023
            "deconvolve": lambda: compiled(curves, aif),  # noqa: B023
            "maps (nothing but maps is written)": lambda: mapped(curves, aif),  # noqa: B023
        }
        expected = numpy_osvd(host, artery, dt, early_exit=False)
        error = np.abs(np.asarray(compiled(curves, aif)) - expected).max(axis=1) / np.abs(expected).max(axis=1)
        times: dict[str, list[float]] = {side: [] for side in functions}
        for function in functions.values():
            jax.block_until_ready(function())
        for _round in range(_ROUNDS.value):
            for side, function in functions.items():
                times[side].append(timed(function))
        print(
            f"\n{name}: {len(curves)} curves of {frames} frames; equal to 1e-5 in {np.mean(error < 1e-5):.4%} of voxels"
        )
        for label, seconds in times.items():
            ratios = [np.divide(times[f"numpy, {kind}"], seconds) for kind in ("every threshold", "early exit")]
            text = " ".join(f"{np.median(r):5.1f} x ({r.min():.1f} to {r.max():.1f})" for r in ratios)
            print(f"  {label:36s} {np.median(seconds):6.2f} s   faster than numpy's two: {text}")
        moved = (curves.nbytes + expected.nbytes) / gigabytes / 1e9
        one = 2 * curves.shape[0] * frames * 2 * frames / gigaflops / 1e9
        print(f"  bounds: reading and writing once {moved:.3f} s, one product a curve {one:.3f} s")
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB, numpy's included")


if __name__ == "__main__":
    app.run(main)
