"""The physics of bolus MRI in JAX: from signal to maps, and simulated patients made of the same equations.

The chain: `signal_to_concentration`, `select_aif`, `maps` (which calls `deconvolve`), `clinical_summary`. Optional
stages before it are in `motion`, `leakage`, `smoothing` and `masks`.
"""

from tmax_jax.perfusion.arrival import PerfusionError, bolus_arrival, find_bolus, piecewise_arrival, require_bolus
from tmax_jax.perfusion.brain import brain_mask
from tmax_jax.perfusion.clinical import clinical_summary
from tmax_jax.perfusion.curves import draw_scan
from tmax_jax.perfusion.deconvolution import METHODS, deconvolve
from tmax_jax.perfusion.gamma_fit import fit_gamma_variate
from tmax_jax.perfusion.leakage import leakage_correction
from tmax_jax.perfusion.parametric import Maps, maps
from tmax_jax.perfusion.sampling import fill_missing, resample_evenly
from tmax_jax.perfusion.selection import function_of_voxels, require_aif, scale_to_vein, select_aif, select_vof
from tmax_jax.perfusion.signal import signal_to_concentration

__all__ = [
    "METHODS",
    "Maps",
    "PerfusionError",
    "bolus_arrival",
    "brain_mask",
    "clinical_summary",
    "deconvolve",
    "draw_scan",
    "fill_missing",
    "find_bolus",
    "fit_gamma_variate",
    "function_of_voxels",
    "leakage_correction",
    "maps",
    "piecewise_arrival",
    "require_aif",
    "require_bolus",
    "resample_evenly",
    "scale_to_vein",
    "select_aif",
    "select_vof",
    "signal_to_concentration",
]
