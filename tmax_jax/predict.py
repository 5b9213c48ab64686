"""Makes one patient's perfusion maps: classical ones, or a trained network's.

  python -m tmax_jax.predict --dicom_dir=PATIENT --model=osvd --out=maps
  python -m tmax_jax.predict --nifti=perfusion.nii.gz --model=runs/unet --out=maps
  python -m tmax_jax.predict --store=cohort.zarr --case=case-0001 --model=tikhonov --out=maps

A classical method makes CBF, CBV, MTT, TTP and Tmax. A network trained on a cohort makes Tmax and what it learnt beside
it; one trained on simulated curves (configs/simulated.py) makes CBF, CBV, MTT, Tmax with its uncertainty, and the delay
of the arterial blood.

Written are a NIfTI image a map with its unit in a sidecar, maps.png, aif.png and summary.json (volumes, artery,
quality, times). Nothing in them tells whose they are; the DICOM objects of --dicom_out do, as they must. Where no bolus
or no artery is found, that is said and nothing is written.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags

from tmax_jax import cli, prediction
from tmax_jax.chain import Options
from tmax_jax.cohort.select import Rules
from tmax_jax.cohort.store import CohortError
from tmax_jax.dicom.header import DicomError
from tmax_jax.models import ModelError
from tmax_jax.parts import ExperimentError
from tmax_jax.perfusion import PerfusionError
from tmax_jax.results.records import RecordError

_DICOM_DIR = flags.DEFINE_string("dicom_dir", None, "folder with one patient's DICOM files", allow_override=True)
_NIFTI = flags.DEFINE_string("nifti", None, "4-D NIfTI image with its BIDS sidecar, or a folder with one")
_STORE = flags.DEFINE_string("store", None, "store of a cohort, with --case")
_CASE = flags.DEFINE_string("case", None, "case of --store")
_MODEL = flags.DEFINE_string("model", "osvd", "ssvd, csvd, osvd, tikhonov, or the folder of a trained run (runs/unet)")
_OUT = flags.DEFINE_string("out", None, "folder to write to", allow_override=True)
_AIF = flags.DEFINE_string(
    "aif", "", "artery of your own: curve.csv (seconds, dR2* in 1/s), or voxels z,y,x;z,y,x counted from 0"
)
_MOTION = flags.DEFINE_boolean("correct_motion", False, "take the head's motion between frames out first")
_LEAKAGE = flags.DEFINE_boolean("correct_leakage", False, "take the effect of leaking contrast agent out first")
_SMOOTH = flags.DEFINE_boolean("smooth", False, "average curves with neighbours that look alike")
_DICOM_OUT = flags.DEFINE_boolean("dicom_out", False, "also write the maps as DICOM, which name the patient")
_TIMING = flags.DEFINE_boolean("timing", False, "print how long each stage took")
_SERIES = flags.DEFINE_string(
    "perfusion_series", "", "description, number or UID of the perfusion series", allow_override=True
)
_ECHO = flags.DEFINE_float("echo", 0.0, "echo time (ms) to take of several echoes", 0.0, allow_override=True)
_TIME_KEY = flags.DEFINE_string("time_key", "", "header value that orders images in time", allow_override=True)
_MAX_MISSING = flags.DEFINE_float(
    "max_missing", 0.05, "refuse a scan with more of its images missing", 0.0, 1.0, allow_override=True
)


def main(_: Sequence[str]) -> None:
    """Reads the flags and makes the one call."""
    given = [name for name in ("dicom_dir", "nifti", "store") if flags.FLAGS[name].value]
    if len(given) != 1 or bool(_STORE.value) != bool(_CASE.value) or not _OUT.value:
        raise prediction.PredictionError(
            "say whose maps and where: --dicom_dir=PATIENT, --nifti=IMAGE or --store=STORE --case=CASE; and --out=DIR"
        )
    out = Path(_OUT.value)
    out.parent.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(out.parent.absolute() / ".compilation_cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    rules = Rules(
        max_missing=_MAX_MISSING.value, perfusion_series=_SERIES.value, echo=_ECHO.value, time_key=_TIME_KEY.value
    )
    prediction.run(
        prediction.Source(given[0], str(flags.FLAGS[given[0]].value), _CASE.value or "", rules),
        _MODEL.value,
        out,
        artery=_AIF.value,
        options=Options(_MOTION.value, _LEAKAGE.value, _SMOOTH.value),
        dicom_out=_DICOM_OUT.value,
        timing_since=cli.STARTED_S if _TIMING.value else None,
        console=cli.make_console(),
    )


if __name__ == "__main__":
    errors = prediction.PredictionError, PerfusionError, CohortError, DicomError
    cli.run(main, *errors, RecordError, ExperimentError, ModelError)
