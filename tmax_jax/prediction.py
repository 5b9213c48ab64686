"""One patient's maps: from files to NIfTI, a summary and figures."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from tmax_jax.artery import Artery, read_artery
from tmax_jax.chain import Curves, Options, classical_maps, find_curves
from tmax_jax.cohort.convert import read_patient
from tmax_jax.cohort.reading import Reading, TooFewError, make_case
from tmax_jax.cohort.scan import Patient, list_files, scan
from tmax_jax.cohort.select import Rules, choose, find_candidates
from tmax_jax.cohort.store import Case, in_real_values, read_case
from tmax_jax.perfusion import METHODS, PerfusionError

if TYPE_CHECKING:
    from tmax_jax.trained import Trained

CLASSICAL = ("cbf", "cbv", "mtt", "ttp", "tmax")  # maps of the classical methods
_ID = "input"  # no pseudonym is drawn for a patient who enters no cohort


class PredictionError(ValueError):
    """A patient or a model that cannot be used as it was asked for."""


class Source(NamedTuple):
    """Where a patient's scan is."""

    kind: str  # "dicom_dir", "nifti" or "store"
    place: str  # folder, file or store
    case_id: str  # of a store
    rules: Rules  # of conversion


class Maps(NamedTuple):
    """What was made of one patient."""

    maps: dict[str, np.ndarray]  # float32 [z, y, x] by name
    early: np.ndarray | None  # bool [z, y, x], tissue fed before the artery measured
    curves: Curves
    artery: Artery | None
    method: str  # as a reader sees it
    trained_on: str  # "phantom", "real" or "mixed"; empty where nothing was trained


class Clock:
    """Adds up how long each stage takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts what is done inside as one stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def run(
    source: Source,
    model: str,
    out: Path,
    *,
    artery: str,
    options: Options,
    dicom_out: bool,
    timing_since: float | None,
    console: Console,
) -> None:
    """Makes one patient's maps, writes them and prints what they say.

    Args:
      source: of the scan.
      model: a classical method's name, or a trained run's folder.
      out: folder to write to; nothing is written before all maps are made.
      artery: as `artery.read_artery` takes it; empty finds it automatically.
      options: of the classical chain.
      dicom_out: also write the maps as DICOM.
      timing_since: `time.perf_counter()` at the start, to print the stages' times; None prints none.
      console: to print to.

    Raises:
      PredictionError, PerfusionError, CohortError, DicomError: a patient of whom no map can be made.
      RecordError, ExperimentError: a run that cannot be used.
    """
    from tmax_jax import prediction_files  # here: matplotlib and nibabel are not wanted before there are maps

    clock = Clock()
    with clock.stage("reading"):
        case, patient = read_source(source)
    if dicom_out and patient is None:
        raise PredictionError("--dicom_out needs the patient's own DICOM files: give them with --dicom_dir")
    made = predict(case, model, artery=artery, options=options, clock=clock)
    if dicom_out and patient is not None:
        with clock.stage("writing DICOM"):
            prediction_files.write_dicom(out / "dicom", case, made, choose(patient, source.rules).perfusion)
    summary = prediction_files.write(out, case, made, clock)
    prediction_files.print_summary(summary, console)
    if timing_since is not None:
        prediction_files.print_timing(clock.seconds, time.perf_counter() - timing_since, console)
    console.print(f"written: {out}", markup=False, highlight=False)


def read_source(source: Source) -> tuple[Case, Patient | None]:
    """Reads a scan; errors as `run`.

    Returns:
      The case; and its DICOM files, None where it comes from others.
    """
    if source.kind == "dicom_dir":
        return read_dicom(Path(source.place), source.rules)
    if source.kind == "nifti":
        return read_nifti(Path(source.place), source.rules), None
    return read_case(source.place, source.case_id, maps=()), None


def read_dicom(folder: Path, rules: Rules) -> tuple[Case, Patient]:
    """Reads one patient's perfusion series from a folder of DICOM files; maps that lie beside it are left out.

    Args:
      folder: with the files of one patient, nested as they may be.
      rules: of conversion.

    Returns:
      The case; and the files, which a DICOM map refers to.

    Raises:
      PredictionError: none or several patients, or too many images missing.
      DicomError: files that cannot be read, or that do not say which series is meant.
    """
    files = list_files(folder)
    with ThreadPoolExecutor(1) as pool:  # one patient's headers take less time than starting processes
        found = scan(folder, files, pool, lambda _: None)
    if len(found.patients) != 1:
        seen = "no MR images" if not found.patients else f"{len(found.patients)} patients"
        first = f" ({found.skipped[0]})" if not found.patients and found.skipped else ""
        raise PredictionError(f"{seen} in the {len(files)} files of {folder}{first}; name the folder of one patient")
    [patient] = found.patients
    series = [series for series in find_candidates(patient.frames, rules) if series.role != "map"]
    frames = [frame for one in series for frame in one.frames]
    patient = Patient(patient.key, frames, patient.damaged, patient.unusable, patient.files)
    return _complete(lambda: read_patient(patient, rules), rules), patient


def read_nifti(path: Path, rules: Rules) -> Case:
    """Reads a 4-D NIfTI image with its sidecar, a file or the one perfusion image of a folder.

    Raises:
      PredictionError: none or several images, or too many missing.
      CohortError: an image or a sidecar that cannot be used.
    """
    from tmax_jax.cohort import nifti  # here: nibabel is not wanted for DICOM

    if not path.is_dir():
        return _complete(lambda: nifti.read_nifti(nifti.NiftiPatient(_ID, path.parent, [path], []), rules), rules)
    patients, _ = nifti.find_patients(path)
    if len(patients) != 1:
        raise PredictionError(f"{len(patients)} patients with a 4-D NIfTI image in {path}; name the image of one")
    return _complete(lambda: nifti.read_nifti(dataclasses.replace(patients[0], tmax=[]), rules), rules)


def _complete(read: Callable[[], Reading], rules: Rules) -> Case:
    try:
        return in_real_values(make_case(_ID, read(), rules))
    except TooFewError as error:
        raise PredictionError("; ".join(error.notes)) from error


def predict(case: Case, model: str, *, artery: str, options: Options, clock: Clock) -> Maps:
    """Makes the maps of a case.

    Args:
      case: with its perfusion.
      model: a classical method's name, or a trained run's folder.
      artery: as `artery.read_artery` takes it; empty finds it automatically.
      options: of the classical chain.
      clock: of the stages.

    Returns:
      The maps: the classical ones; Tmax, and what was learnt beside it, of a network trained on a cohort; flow, volume,
      transit time, Tmax with its uncertainty and the delay of one trained on simulated curves.

    Raises:
      PredictionError: neither a method nor a run; or an artery or a stage for a network that reads the signal itself.
      PerfusionError: no bolus, or no artery for what needs one.
    """
    if model not in METHODS and not (Path(model) / "config.json").exists():
        raise PredictionError(
            f"--model={model} is neither a classical method ({', '.join(METHODS)}) nor the folder of a trained run"
        )
    trained = None if model in METHODS else _load_network(Path(model), artery, options, clock)
    curves = find_curves(case, options, stage=clock.stage)
    found: Artery | None = None
    try:
        with clock.stage("artery"):
            found = read_artery(artery, curves, case)
    except PerfusionError:
        if trained is None or trained.voxelwise:
            raise
        curves.notes.append("no artery was found; the network needs none")
    if trained is None:
        assert found is not None
        with clock.stage(f"deconvolution and maps ({model})"):
            result = jax.block_until_ready(classical_maps(curves, jnp.asarray(found.curve), model))
        fields = result.cbf, result.cbv, result.mtt_s, result.ttp_s, result.tmax_s
        maps: dict[str, np.ndarray] = dict(zip(CLASSICAL, map(np.asarray, fields), strict=True))
        return Maps(maps, np.asarray(result.early), curves, found, model, "")
    with clock.stage("network"):
        return _network_maps(trained, case, curves, found)


def _load_network(run: Path, artery: str, options: Options, clock: Clock) -> "Trained":
    from tmax_jax import trained  # here: orbax is not wanted for a classical method

    with clock.stage("loading the network"):
        found = trained.load(run)
    if not found.voxelwise and (artery or any(options)):
        raise PredictionError(
            f"{found.name} reads the signal itself: --aif, --correct_motion, --correct_leakage and --smooth would not"
            " reach it; leave them out"
        )
    return found


def _network_maps(network: "Trained", case: Case, curves: Curves, artery: Artery | None) -> Maps:
    from tmax_jax import trained

    if not network.voxelwise:
        maps = trained.predict_maps(network, case)
        maps = {name: np.where(curves.tissue, values, 0.0) for name, values in maps.items()}
        return Maps(maps, None, curves, artery, network.name, network.data)
    assert artery is not None
    maps = trained.estimate_maps(network, curves.concentration, artery.curve, curves.tissue, dt=curves.dt)
    early = maps["delay"] < 0
    maps |= {name: np.maximum(maps[name], 0.0) for name in ("tmax", "delay")}
    return Maps(maps, early, curves, artery, network.name, network.data)
