"""Times oSVD of a whole scan against numpy, alternated in one run, with the machine's bounds beside it.

  python benchmarks/deconvolution.py

The scan is a simulated patient of 24 x 128 x 128 voxels and 60 frames, noise in the air included. Three numpy versions:
`plain` is the method as one writes it down, all voxels at once in numpy's own float64; `blocks` does the same in
float32 and in blocks that fit the cache; `early exit` also drops voxels once they are solved. That deconvolve gives the
same residue functions is checked.
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


def numpy_osvd(
    curves: np.ndarray, aif: np.ndarray, dt: float, *, block: int = _BLOCK, early_exit: bool = False
) -> np.ndarray:
    """Returns residue functions `[voxel, 2 * time]`, vectorised over blocks of voxels, in the type of the curves."""
    length = 2 * curves.shape[1]
    artery = (np.fft.rfft(aif, length) * dt).astype(np.result_type(curves, np.complex64))
    magnitude = np.abs(artery)
    masks = [magnitude >= magnitude.dtype.type(threshold) * magnitude.max() for threshold in OSVD_THRESHOLDS]
    found = np.empty((len(curves), length), curves.dtype)
    for start in range(0, len(curves), block):
        quotient = np.fft.rfft(curves[start : start + block], length) / artery
        result = found[start : start + block]
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


def timed(function: Callable[[], object]) -> tuple[float, float]:
    """Returns seconds on the clock, and of all cores together, which other programs disturb less."""
    start, busy = time.perf_counter(), time.process_time()
    jax.block_until_ready(function())
    return time.perf_counter() - start, time.process_time() - busy


def bounds(curves: jax.Array) -> tuple[float, float]:
    """Returns the machine's measured rates: GB/s of a copy, GFLOP/s of the product that oSVD consists of."""
    matrix = jnp.ones((curves.shape[1], 2 * curves.shape[1]))
    copy = jax.jit(lambda x: x + 1.0)
    product = jax.jit(lambda x: jnp.sum(jnp.matmul(x, matrix)))
    for function in (copy, product):
        jax.block_until_ready(function(curves))
    copied, multiplied = (min(timed(lambda f=f: f(curves))[0] for _ in range(5)) for f in (copy, product))
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
        double = host.astype(np.float64)
        functions: dict[str, Callable[[], object]] = {
            "numpy, plain": lambda: numpy_osvd(double, artery, dt, block=len(double)),  # noqa: B023
            "numpy, blocks": lambda: numpy_osvd(host, artery, dt),  # noqa: B023
            "numpy, early exit": lambda: numpy_osvd(host, artery, dt, early_exit=True),  # noqa: B023
            "deconvolve": lambda: compiled(curves, aif),  # noqa: B023
            "maps": lambda: mapped(curves, aif),  # noqa: B023
        }
        expected = numpy_osvd(host, artery, dt)
        error = np.abs(np.asarray(compiled(curves, aif)) - expected).max(axis=1) / np.abs(expected).max(axis=1)
        times: dict[str, list[tuple[float, float]]] = {side: [] for side in functions}
        jax.block_until_ready(mapped(curves, aif))  # compiles
        for _round in range(_ROUNDS.value):
            for side, function in functions.items():
                times[side].append(timed(function))
        print(f"\n{name}: {len(curves)} curves; equal to 1e-5 in {np.mean(error < 1e-5):.4%} of voxels")
        print(f"{'':22s}clock   all cores   times faster than numpy plain, blocks, early exit: median (range)")
        for label, found in times.items():
            seconds, busy = np.array(found).T
            text = "  ".join(
                f"{np.median(r):5.1f} ({r.min():.1f} to {r.max():.1f})"
                for r in (np.array(times[side])[:, 0] / seconds for side in functions if side.startswith("numpy"))
            )
            print(f"  {label:18s} {np.median(seconds):6.2f} s {np.median(busy):8.2f} s    {text}")
        moved = (curves.nbytes + expected.nbytes) / gigabytes / 1e9
        one = 2 * curves.shape[0] * frames * 2 * frames / gigaflops / 1e9
        print(f"  bounds: reading and writing once {moved:.3f} s, one product a curve {one:.3f} s")
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB, numpy's included")


if __name__ == "__main__":
    app.run(main)
