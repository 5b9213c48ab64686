"""Scores the classical methods on simulated curves whose truth is known, and on the OSIPI reference cases.

  python benchmarks/accuracy.py --osipi=dsc_data.csv
  python benchmarks/accuracy.py --run=runs/simulated-held_out --table=goals --table=volumes

Tables: Tmax on random curves against two truths (the true delay; the method's own reading without noise), its bias
by delay, the OSIPI cases, the phantom of tiles, what each optional stage is worth on a simulated patient, and, with a
run of configs/simulated.py, its goals: errors, agreement, bias, coverage and volumes beside the best classical ones.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

from tmax_jax.metrics.cohort import volume_agreement
from tmax_jax.models.inputs import read_patient
from tmax_jax.models.voxelwise import Estimate
from tmax_jax.perfusion.aif import simpson
from tmax_jax.perfusion.alignment import align
from tmax_jax.perfusion.anatomy import FIELD_OF_VIEW_MM
from tmax_jax.perfusion.curves import FAMILIES, Ranges, Scan, draw_scan
from tmax_jax.perfusion.deconvolution import deconvolve
from tmax_jax.perfusion.leakage import leakage_correction
from tmax_jax.perfusion.masks import ventricle_mask, vessel_mask
from tmax_jax.perfusion.motion import apply_motion, estimate_motion
from tmax_jax.perfusion.parametric import maps, tmax_s
from tmax_jax.perfusion.phantom import draw_subject, simulate_patient
from tmax_jax.perfusion.selection import select_aif
from tmax_jax.perfusion.signal import signal_to_concentration
from tmax_jax.perfusion.smoothing import smooth_similar
from tmax_jax.perfusion.tiles import pearson, tile_phantom
from tmax_jax.perfusion.variation import draw_motion
from tmax_jax.results.calibration import calibration_figure, covered
from tmax_jax.trained import load_estimator

_CURVES = flags.DEFINE_integer("curves", 20000, "random curves a table row", 100)
_OSIPI = flags.DEFINE_string("osipi", None, "the collection's dsc_data.csv; without it that table is left out")
_SEED = flags.DEFINE_integer("seed", 0, "of everything that is random")
_RUNS = flags.DEFINE_multi_string("run", [], "run folder of configs/simulated.py, as one more method and for the goals")
_FIGURE = flags.DEFINE_string("figure", None, "PNG of the network's calibration to write")
_TABLES = ("curves", "osipi", "tiles", "stages", "goals", "volumes")
_TABLE = flags.DEFINE_multi_enum("table", _TABLES, _TABLES, "which to print")
_PATIENTS = flags.DEFINE_integer("patients", 16, "simulated patients whose volumes are compared", 2)
_PER_SCAN = 250  # curves that share an artery
FINE = tuple(step / 200 for step in range(1, 200))
METHODS: dict[str, dict[str, Any]] = {
    "sSVD 20 %": {"method": "ssvd"},
    "cSVD 10 %": {"method": "csvd"},
    "oSVD .035": {"method": "osvd", "oscillation": 0.035},
    "oSVD .095": {"method": "osvd"},
    "Tikhonov (GCV)": {"method": "tikhonov"},
}
# Grey to critically hypoperfused tissue, one frame every 1.5 s, exponential residue functions.
TABLE = Ranges(
    dt_s=(1.5, 1.5),
    echo_time_s=(0.03, 0.03),
    delay_s=(0.0, 10.0),
    mtt_s=(3.0, 12.0),
    cbv=(2.0, 5.0),
    dispersed=0.0,
    families=(1.0, 0.0, 0.0, 0.0),
)


def draw(ranges: Ranges, frames: int = 60) -> Scan:
    keys = jax.random.split(jax.random.key(_SEED.value), _CURVES.value // _PER_SCAN)
    return jax.vmap(lambda key: draw_scan(key, curves=_PER_SCAN, frames=frames, ranges=ranges))(keys)


def readings(scan: Scan, parameters: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Returns Tmax with and without noise, seconds, `[scan, curve]`."""

    @jax.jit
    def read(curves: jax.Array, aif: jax.Array, dt: jax.Array) -> jax.Array:
        return jnp.maximum(tmax_s(deconvolve(curves, aif, dt=dt, **parameters), dt=dt), 0.0)

    pairs = ((scan.concentration, scan.aif), (scan.clean, scan.clean_aif))
    noisy, clean = (
        np.stack([np.asarray(read(c, a, dt)) for c, a, dt in zip(curves, aif, scan.dt, strict=True)])
        for curves, aif in pairs
    )
    return noisy, clean


def score(found: np.ndarray, truth: np.ndarray) -> str:
    return f"{np.abs(found - truth).mean():5.2f} {np.mean((found > 6) == (truth > 6)):5.2f}"


def rows() -> dict[str, tuple[Ranges, int]]:
    """Returns the rows of the table on random curves: what is drawn, and the number of frames."""
    rows = {f"SNR {snr}": (TABLE._replace(snr=(float(snr), float(snr))), 60) for snr in (20, 50, 100)}
    at = TABLE._replace(snr=(50.0, 50.0))
    rows |= {f"SNR 50, {name}": (at._replace(families=tuple(np.eye(4)[i])), 60) for i, name in enumerate(FAMILIES) if i}
    rows["SNR 50, dispersed"] = (at._replace(dispersed=1.0, dispersion_s=(1.5, 4.5)), 60)
    rows["SNR 50, TR 1.2 s"] = (at._replace(dt_s=(1.2, 1.2)), 80)
    rows["SNR 50, TR 2.5 s"] = (at._replace(dt_s=(2.5, 2.5)), 40)
    return rows


def monte_carlo() -> None:
    print("Tmax of random curves: MAE (s) and agreement of Tmax > 6 s, against the true delay | the noise-free reading")
    bias: dict[str, list[float]] = {}
    for row, (ranges, frames) in rows().items():
        scan = draw(ranges, frames)
        delay_s = np.asarray(scan.tissue.delay_s)
        print(f"  {row}")
        for name, parameters in METHODS.items():
            noisy, clean = readings(scan, parameters)
            print(f"    {name:16s} {score(noisy, delay_s)} | {score(noisy, clean)}")
            if row == "SNR 50":
                edges = [(low, low + 2) for low in range(0, 10, 2)]
                bias[name] = [float((noisy - delay_s)[(delay_s >= a) & (delay_s < b)].mean()) for a, b in edges]
    print("\nBias of Tmax (s) against the true delay at SNR 50, by delay: 0-2, 2-4, 4-6, 6-8, 8-10 s")
    for name, values in bias.items():
        print(f"    {name:16s} " + " ".join(f"{value:6.2f}" for value in values))


def osipi(path: Path) -> None:
    print("\nOSIPI's cases: mean absolute error of CBF (ml/100 ml/min), CBV (ml/100 ml), cases within tolerance")
    with path.open() as file:
        cases = list(csv.DictReader(file))
    variants: dict[str, tuple[Callable[[jax.Array], jax.Array], dict[str, Any]]] = {
        name: (lambda aif: aif, parameters) for name, parameters in METHODS.items()
    }
    variants |= {
        f"{name}, Simpson" + (", thresholds from 0.5 %" if "oSVD" in name else ""): (
            simpson,
            parameters | ({"thresholds": FINE} if "oSVD" in name else {}),
        )
        for name, parameters in METHODS.items()
    }
    for name, (prepare, parameters) in variants.items():
        flow, volume = [], []
        for case in cases:
            tissue, aif = (jnp.asarray([float(v) for v in case[key].split()]) for key in ("C_tis", "C_aif"))
            residue = deconvolve(tissue, prepare(aif), dt=float(case["tr"]), **parameters)
            flow.append((abs(6000 * float(residue.max()) - float(case["cbf"])), float(case["cbf"])))
            volume.append((abs(100 * float(tissue.sum() / aif.sum()) - float(case["cbv"])), float(case["cbv"])))
        inside = sum(
            f <= 15 + 0.1 * cbf and v <= 1 + 0.1 * cbv for (f, cbf), (v, cbv) in zip(flow, volume, strict=True)
        )
        cbf_error, cbv_error = (np.mean([error for error, _ in errors]) for errors in (flow, volume))
        print(f"    {name:42s} {cbf_error:5.2f} {cbv_error:5.2f} {inside}/{len(cases)}")


def tiles() -> None:
    print("\nPhantom of tiles, SNR 50: Pearson r of CBF, CBV, MTT, and of Tmax with the delay; borders left out")
    for residue in FAMILIES[:3]:
        phantom = tile_phantom(jax.random.key(_SEED.value), residue=residue)
        for name, parameters in METHODS.items():
            found = maps(phantom.concentration, phantom.aif, dt=phantom.dt, **parameters)
            pairs = ((found.cbf, phantom.cbf), (found.cbv, phantom.cbv), (found.mtt_s, phantom.mtt_s))
            pairs += ((found.tmax_s, phantom.delay_s),)
            r = " ".join(f"{float(pearson(a, b, where=phantom.scored)):5.2f}" for a, b in pairs)
            print(f"    {residue:12s} {name:16s} {r}")


def stages() -> None:
    """Prints each optional stage beside the chain without it, on a patient at SNR 20 with a lesion.

    All rows use the artery of the still patient, so that they differ by the stage alone: motion of this size leaves the
    automatic choice without an artery, which it says.
    """
    print("\nOptional stages, one patient (24 x 64 x 64, SNR 20), oSVD .095: Tmax MAE (s) and agreement > 6 s with the")
    print(
        "noise-free map of the true artery | volume > 6 s in mL, true and found | CBV of lesion over healthy, true = 1"
    )
    size = (24, 64, 64)
    spacing_mm = tuple(extent / n for extent, n in zip(FIELD_OF_VIEW_MM, size, strict=True))
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    subject = draw_subject(_SEED.value, 1)
    subject = subject._replace(snr=20.0, lesion=subject.lesion._replace(present=1.0))
    key = jax.random.fold_in(jax.random.key(_SEED.value), 1)
    dt = subject.frame_interval_s
    still = simulate_patient(key, subject, size=size, frames=60)
    mask = jnp.asarray(still.brain)
    first = jnp.mean(jnp.asarray(still.signal)[..., 2:6], axis=-1)
    head = first > 0.1 * jnp.max(first)
    scan = signal_to_concentration(jnp.asarray(still.signal), echo_time_s=subject.echo_time_s, mask=mask)
    aif = select_aif(scan.curves, mask, dt=dt, arrival_frame=scan.bolus.arrival).curve
    lesion, tissue = np.asarray(still.lesion) > 0, np.asarray(still.cbf) > 0

    def relative(cbv: np.ndarray) -> float:
        return float(np.median(cbv[lesion]) / np.median(cbv[tissue & ~lesion]))

    def chain(signal: jax.Array, *, corrected: str = "", masked: bool = False) -> str:
        if corrected == "motion":
            signal = apply_motion(signal, estimate_motion(signal, head, spacing_mm=spacing_mm), spacing_mm=spacing_mm)
        scan = signal_to_concentration(signal, echo_time_s=subject.echo_time_s, mask=mask)
        curves, arrival = scan.curves, scan.bolus.arrival
        if corrected == "leakage":
            curves = leakage_correction(curves, mask, dt=dt, arrival_frame=arrival).corrected
        if corrected == "noise":
            noise = jnp.std(curves[..., 2 : int(arrival)], axis=-1)
            curves = smooth_similar(curves, mask, noise=noise, spacing_mm=spacing_mm)
        found = maps(curves, aif, dt=dt, mask=mask)
        counted = tissue
        if masked:
            counted = tissue & ~np.asarray(vessel_mask(curves, mask) | ventricle_mask(curves, scan.baseline, mask))
        tmax, truth = np.asarray(found.tmax_s), np.asarray(still.tmax_s)
        volumes = [float((values > 6)[counted].sum()) * voxel_ml for values in (truth, tmax)]
        cbv = relative(np.asarray(found.cbv)) / relative(np.asarray(still.cbv))
        return f"{score(tmax[counted], truth[counted])} | {volumes[0]:5.0f} {volumes[1]:5.0f} | {cbv:5.2f}"

    moved = apply_motion(jnp.asarray(still.signal), draw_motion(jax.random.key(7), 60), spacing_mm=spacing_mm)
    leaky = simulate_patient(key, subject._replace(leakage_per_s=0.03), size=size, frames=60).signal
    signal = jnp.asarray(still.signal)
    print(f"    as it is                 {chain(signal)}")
    print(f"    smoothed by likeness     {chain(signal, corrected='noise')}")
    print(f"    without vessels, fluid   {chain(signal, masked=True)}")
    print(f"    still, motion corrected  {chain(signal, corrected='motion')}")
    print(f"    restless                 {chain(moved)}")
    print(f"    and motion corrected     {chain(moved, corrected='motion')}")
    print(f"    leaking lesion           {chain(jnp.asarray(leaky))}")
    print(f"    and leakage corrected    {chain(jnp.asarray(leaky), corrected='leakage')}")


Network = Callable[[jax.Array], Estimate]


def estimates(estimate: Network, scan: Scan) -> Estimate:
    """Returns what the network says of the curves, fields `[scan, curve]`."""
    align_scans = jax.jit(jax.vmap(lambda c, a, dt: align(c, a, dt=dt).channels()))
    found = estimate(align_scans(scan.concentration, scan.aif, scan.dt))
    return jax.tree.map(np.asarray, found)


def worst_bias(error_s: np.ndarray, delay_s: np.ndarray) -> float:
    """Returns the mean error, of the ten seconds of true delay, that is farthest from 0."""
    second = np.minimum(delay_s.astype(int), 9)
    return max((float(error_s[second == s].mean()) for s in range(10)), key=abs)


def judged(found: Estimate, truths: Sequence[np.ndarray], best: float) -> str:
    """Returns one network's line of a row of `goals`.

    Args:
      found: fields `[scan, curve]`.
      truths: of the first four fields, the true delay first.
      best: MAE of the best classical method, s.
    """
    delay_s = truths[0]
    error = np.asarray(found.delay_s) - delay_s
    bias = worst_bias(error, delay_s)
    away = [np.abs(f - t) / found.scales[..., i] for i, (f, t) in enumerate(zip(found[:4], truths, strict=True))]
    inside = " ".join(f"{np.mean(a < np.log(10)):.2f}" for a in away)
    mae, agreement = np.abs(error).mean(), np.mean((found.delay_s > 6) == (delay_s > 6))
    met = mae <= best / 2, agreement >= 0.9, abs(bias) <= 0.3
    flags_text = " ".join("met" if goal else "MISSED" for goal in met)
    return f"{best:9.2f} {mae:8.2f} {mae / best:5.2f} | {agreement:9.3f} | {bias:10.2f} | {inside}  {flags_text}"


def goals(networks: dict[str, Network]) -> None:
    """Prints networks beside the best classical method of each row, with the goals that they meet or miss."""
    print("\nGoals: MAE (s) against the true delay at most half of the best classical method's, agreement of > 6 s at")
    print("least .90, bias in every second of delay from 0 to 10 s at most 0.3 s; share of truths in the 90 % interval")
    print(f"    {'':24s} classical  network ratio | agreement | worst bias | in 90 %: delay, classical Tmax, CBF, MTT")
    shares = [round(0.1 * step, 1) for step in range(1, 10)]
    calibration: dict[str, dict[str, list[float]]] = {name: {} for name in networks}
    for row, (ranges, frames) in rows().items():
        scan = draw(ranges, frames)
        delay_s = np.asarray(scan.tissue.delay_s)
        read = {name: readings(scan, parameters) for name, parameters in METHODS.items()}
        best = min(float(np.abs(noisy - delay_s).mean()) for noisy, _ in read.values())
        truths = (delay_s, read["cSVD 10 %"][1], np.log(scan.tissue.cbf), np.log(scan.tissue.mtt_s))
        for name, estimate in networks.items():
            found = estimates(estimate, scan)
            label = row if len(networks) == 1 else f"{row}: {name}"
            print(f"    {label:24s} {judged(found, truths, best)}")
            error = np.asarray(found.delay_s) - delay_s
            calibration[name][row] = covered(error, np.asarray(found.scales[..., 0]), shares)
    for name, rows_of in calibration.items():
        print(f"\nCalibration of the delay, {name}: share of truths inside intervals of 10 ... 90 %")
        for row, values in rows_of.items():
            print(f"    {row:24s} " + " ".join(f"{value:.2f}" for value in values))
    if _FIGURE.value:
        first = next(iter(calibration.values()))
        calibration_figure(first, shares, title="Uncertainty of the delay, simulated curves").savefig(
            _FIGURE.value, dpi=150
        )


def volumes(networks: dict[str, Network]) -> None:
    """Prints how volumes > 6 s of simulated patients agree with the truth, over patients."""
    print(f"\nVolume > 6 s of {_PATIENTS.value} patients (24 x 64 x 64), artery found in the signal: CCC (bias in mL)")
    print("against the true delay | against classical Tmax without noise")
    size = (24, 64, 64)
    voxel_ml = float(np.prod(np.divide(FIELD_OF_VIEW_MM, size))) / 1000
    columns: dict[str, list[float]] = {}
    for number in range(_PATIENTS.value):
        subject = draw_subject(_SEED.value + 1, number)
        patient = simulate_patient(jax.random.key(number), subject, size=size, frames=60)
        mask = jnp.asarray(patient.brain)
        dt = jnp.float32(subject.frame_interval_s)
        whole = jnp.zeros((size[0], 60), bool)
        read = jax.jit(read_patient)(jnp.asarray(patient.signal), mask, whole, dt)
        maps_s = {"true delay": patient.delay_s, "true classical": patient.tmax_s}
        for name, estimate in networks.items():
            found = estimate(align(read.concentration, read.aif, dt=dt).channels())
            maps_s |= {f"{name}, delay": found.delay_s, f"{name}, classical": found.classical_s}
        for name, parameters in METHODS.items():
            maps_s[name] = maps(read.concentration, read.aif, dt=dt, mask=mask, **parameters).tmax_s
        for name, map_s in maps_s.items():
            columns.setdefault(name, []).append(float(((np.asarray(map_s) > 6) & patient.brain).sum()) * voxel_ml)
    for name, found_ml in columns.items():
        against = (volume_agreement(np.array(found_ml), np.array(columns[truth])) for truth in list(columns)[:2])
        print(f"    {name:32s} " + " | ".join(f"{a.ccc:5.2f} ({a.bias_ml:6.1f})" for a in against))


def main(_: Sequence[str]) -> None:
    """Prints the tables."""
    logging.set_verbosity(logging.WARNING)  # reading a checkpoint tells much
    wanted = _TABLE.value
    if "curves" in wanted:
        monte_carlo()
    if "osipi" in wanted and _OSIPI.value:
        osipi(Path(_OSIPI.value))
    if "tiles" in wanted:
        tiles()
    if "stages" in wanted:
        stages()
    networks = {Path(run).name: load_estimator(Path(run)) for run in _RUNS.value}
    if "goals" in wanted and networks:
        goals(networks)
    if "volumes" in wanted:
        volumes(networks)


if __name__ == "__main__":
    app.run(main)
