"""A simulated stroke patient: anatomy, haemodynamics, lesion, bolus, signal and noise, all from one seed.

Values and ranges are those of published stroke phantoms and of bolus MRI at 3 T. The target map is what classical
deconvolution with the true artery makes of the noise-free curves, which is what a commercial package would show; the
true delay is kept beside it.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tmax_jax.perfusion import anatomy
from tmax_jax.perfusion.aif import arterial_input
from tmax_jax.perfusion.anatomy import ARTERY, CSF, DEEP_GREY, GREY, SCALP, TISSUES, VEIN, WHITE, Head, smooth_field
from tmax_jax.perfusion.deconvolution import deconvolve
from tmax_jax.perfusion.parametric import ML_PER_GRAM, tmax_s
from tmax_jax.perfusion.residue import box, gamma, linear
from tmax_jax.perfusion.signal import approach_to_steady_state, concentration_to_signal, rician_noise

TMAX_LIMIT_S = 17.199  # where the commercial package's maps end, 17199 in its stored milliseconds
_BASELINE = {"scalp": 0.55, "skull": 0.06, "csf": 1.55, "grey": 1.0, "white": 0.84, "deep_grey": 0.9}
_BASELINE |= {"air": 0.0, "artery": 0.75, "vein": 0.6}  # signal without contrast agent, grey matter = 1
_CBF = {"scalp": 6.0, "grey": 60.0, "white": 24.0, "deep_grey": 55.0}  # ml/100 g/min
_CBV = {"scalp": 1.0, "grey": 4.0, "white": 2.0, "deep_grey": 3.6}  # ml/100 g
_VESSEL_VISIBLE = 0.12  # of the blood's concentration: the signal of a pure vessel saturates
_VEIN_DELAY_S, _VEIN_MTT_S, _ARTERY_MTT_S = 3.0, 3.0, 0.25
_TERRITORIES = {  # centre and radii in mm of brain coordinates (x, y, z) of one side
    "middle cerebral artery": ((46.0, -12.0, 14.0), (32.0, 48.0, 38.0)),
    "anterior cerebral artery": ((8.0, 34.0, 32.0), (17.0, 44.0, 36.0)),
    "posterior cerebral artery": ((20.0, -68.0, 8.0), (20.0, 34.0, 26.0)),
}
_TERRITORY_ODDS = (0.7, 0.12, 0.18)
_HEALTHY = 0.2  # of the patients have no lesion
_TABLE_MTT_S = np.geomspace(0.2, 40.0, 48)
_LEAKAGE_ECHO_S = 0.03
_OVERSAMPLING = 4  # of the frames, for the convolution with the residue function


class Lesion(NamedTuple):
    """Tissue that a blocked artery leaves short of blood."""

    present: float  # 0 or 1
    side: float  # -1 right, 1 left
    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    core_depth_mm: float  # from the lesion's edge to the core's; the smaller, the larger the core
    penumbra_delay_s: float
    core_delay_s: float
    penumbra_cbf: float  # as fractions of the healthy tissue
    core_cbf: float
    penumbra_cbv: float
    core_cbv: float


class Subject(NamedTuple):
    """All in which one patient and their scan differ from another."""

    head: Head
    lesion: Lesion
    frame_interval_s: float
    echo_time_s: float
    arrival_s: float  # of the bolus in the arteries
    rise_s: float
    aif_shape: float
    aif_peak: float  # dR2* of arterial blood, 1/s
    recirculation: float
    recirculation_delay_s: float
    residue_shape: float
    signal_scale: float  # of grey matter, in the scanner's units
    snr: float
    first_frame_excess: float
    residue_family: int = 0  # 0 gamma, 1 box, 2 linear
    dispersion_s: float = 0.0  # mean of the bolus' exponential spread on its way to the tissue
    leakage_per_s: float = 0.0  # K2 in the lesion, as one echo of 30 ms would read it


class Phantom(NamedTuple):
    """A simulated patient; the maps are float32 `[z, y, x]`, 0 outside the brain."""

    signal: jax.Array | np.ndarray  # float32 [z, y, x, time], in the scanner's units, noisy, not negative
    tmax_s: jax.Array | np.ndarray  # classical and noise-free
    delay_s: jax.Array | np.ndarray  # the true arterial delay
    cbf: jax.Array | np.ndarray  # ml/100 g/min
    cbv: jax.Array | np.ndarray  # ml/100 g
    mtt_s: jax.Array | np.ndarray
    lesion: jax.Array | np.ndarray  # 0 healthy, 1 penumbra, 2 core
    brain: jax.Array | np.ndarray  # bool


def draw_subject(seed: int, number: int) -> Subject:
    """Draws a patient.

    Args:
      seed: of the cohort.
      number: of the patient in it.

    Returns:
      The patient, the same for the same arguments.

    Example:
      >>> draw_subject(0, 1) == draw_subject(0, 1), draw_subject(0, 1) == draw_subject(0, 2)
      (True, False)
    """
    rng = np.random.default_rng((seed, number))
    uniform = rng.uniform
    name = rng.choice(list(_TERRITORIES), p=_TERRITORY_ODDS)
    centre, radii = _TERRITORIES[name]
    side, grown = float(rng.choice([-1.0, 1.0])), float(uniform(0.65, 1.0))
    lesion = Lesion(
        present=float(uniform() > _HEALTHY),
        side=side,
        centre_mm=(centre[0], centre[1] + float(uniform(-8, 8)), centre[2] + float(uniform(-6, 6))),
        radii_mm=(radii[0] * grown, radii[1] * grown, radii[2] * grown),
        core_depth_mm=float(uniform(4, 20)),
        penumbra_delay_s=float(uniform(4, 7)),
        core_delay_s=float(uniform(7.5, 10)),
        penumbra_cbf=float(uniform(0.25, 0.4)),
        core_cbf=float(uniform(0.1, 0.18)),
        penumbra_cbv=float(uniform(0.9, 1.15)),
        core_cbv=float(uniform(0.3, 0.5)),
    )
    return Subject(
        head=Head(*map(float, (uniform(0.93, 1.03), uniform(-0.08, 0.08), uniform(0.7, 1.5), uniform(0.5, 1.8)))),
        lesion=lesion,
        frame_interval_s=round(float(uniform(1.4, 1.6)), 3),
        echo_time_s=round(float(uniform(0.028, 0.032)), 4),
        arrival_s=float(uniform(15, 17)),
        rise_s=float(uniform(4.0, 5.5)),
        aif_shape=float(uniform(2.5, 3.5)),
        aif_peak=float(uniform(280, 400)),
        recirculation=float(uniform(0.13, 0.3)),
        recirculation_delay_s=float(uniform(9, 13)),
        residue_shape=float(uniform(1.0, 3.0)),
        signal_scale=float(uniform(500, 900)),
        snr=float(uniform(30, 90)),
        first_frame_excess=float(uniform(0.15, 0.3)),
    )


@functools.partial(  # a lower level compiles in two thirds of the time and runs as fast
    jax.jit, static_argnames=("size", "frames"), compiler_options={"xla_backend_optimization_level": 1}
)
def simulate_patient(
    key: jax.Array, subject: Subject, *, size: tuple[int, int, int], frames: int, echo: int | jax.Array = 0
) -> Phantom:
    """Simulates one patient's scan.

    Args:
      key: of anatomy, texture and noise.
      subject: of `draw_subject`.
      size: `(z, y, x)`; the field of view is the same at every size.
      frames: number of time points.
      echo: number of the echo; each has noise of its own. The echo time is the subject's, so a second echo is the same
        patient with `subject._replace(echo_time_s=...)` and `echo=1`.

    Returns:
      The phantom.

    Example:
      `simulate_patient(jax.random.key(0), draw_subject(0, 0), size=(24, 128, 128), frames=60).signal`

    References:
      Calamante et al., Stroke 2010;41:1169 (what Tmax is). Wu et al., Magn Reson Med 2003;50:164 (simulation).
    """
    key_anatomy, key_tissue, key_lesion, key_coil, key_noise = jax.random.split(key, 5)
    fractions = anatomy.tissue_fractions(key_anatomy, size, subject.head)
    penumbra, core = _lesion(key_lesion, anatomy.head_space(key_anatomy, size, subject.head), subject.lesion)
    delay_s, cbf, cbv = _haemodynamics(key_tissue, fractions, penumbra, core, subject.lesion)
    mtt_s = jnp.where(cbf > 0, 60 * cbv / jnp.where(cbf > 0, cbf, 1), 0)
    brain = jnp.sum(fractions[jnp.array([CSF, GREY, WHITE, DEEP_GREY, ARTERY, VEIN])], axis=0) > 0.5
    perfused = brain & (cbv > 0.3)
    time_s = jnp.arange(frames) * subject.frame_interval_s
    aif, table = _curves(subject, frames)
    levels = jnp.array([_BASELINE[name] for name in TISSUES], jnp.float32) * subject.signal_scale
    baseline = jnp.einsum("nzyx,n->zyx", fractions, levels) * jnp.exp(0.1 * smooth_field(key_coil, size, 90.0))

    def one_slice(z: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        delay_s, mtt_s, cbv, artery, vein, baseline, leaky = z
        tissue = cbv[..., None] / (100 * ML_PER_GRAM) * _look_up(table, subject, time_s, delay_s, mtt_s)
        arterial = _look_up(table, subject, time_s, 0.6 * delay_s, jnp.full_like(mtt_s, _ARTERY_MTT_S))
        venous = _look_up(
            table, subject, time_s, jnp.full_like(mtt_s, _VEIN_DELAY_S), jnp.full_like(mtt_s, _VEIN_MTT_S)
        )
        blood = _VESSEL_VISIBLE * (artery[..., None] * arterial + vein[..., None] * venous)
        concentration = tissue + blood
        classical_s = tmax_s(deconvolve(concentration, aif, dt=subject.frame_interval_s), dt=subject.frame_interval_s)
        signal = concentration_to_signal(concentration, baseline, echo_time_s=subject.echo_time_s)
        leaked = leaky[..., None] * jnp.cumsum(tissue, axis=-1) * subject.frame_interval_s
        brighter = jnp.exp(_LEAKAGE_ECHO_S * subject.leakage_per_s * leaked)  # T1 is shorter, at every echo alike
        return signal * brighter, classical_s

    by_slice = (delay_s, mtt_s, cbv, fractions[ARTERY], fractions[VEIN], baseline, penumbra)
    signal, classical_s = jax.lax.map(one_slice, by_slice)
    steady = approach_to_steady_state(frames, excess=subject.first_frame_excess)
    key_noise = jnp.where(echo == 0, key_noise, jax.random.fold_in(key_noise, echo))
    noisy = rician_noise(key_noise, signal * steady.reshape(1, 1, 1, -1), subject.signal_scale / subject.snr)
    lesion = jnp.where(core > 0.5, 2.0, jnp.where(penumbra > 0.5, 1.0, 0.0))

    def inside(values: jax.Array) -> jax.Array:
        return jnp.where(perfused, values, 0).astype(jnp.float32)

    return Phantom(
        signal=noisy,
        tmax_s=inside(jnp.clip(classical_s, 0.0, TMAX_LIMIT_S)),
        delay_s=inside(delay_s),
        cbf=inside(cbf),
        cbv=inside(cbv),
        mtt_s=inside(mtt_s),
        lesion=inside(lesion),
        brain=brain,
    )


def _lesion(key: jax.Array, at: anatomy.Space, lesion: Lesion) -> tuple[jax.Array, jax.Array]:
    """Returns how much of each voxel is penumbra or core, and how much is core, `[z, y, x]` in 0..1."""
    ragged = smooth_field(key, at.x.shape, 16.0)
    depth = anatomy.ellipsoid_depth(at._replace(x=lesion.side * at.x), lesion.centre_mm, lesion.radii_mm) + 3.5 * ragged
    same_side = jax.nn.sigmoid(lesion.side * at.x / 1.5)
    penumbra = lesion.present * same_side * jax.nn.sigmoid(depth / 1.5)
    return penumbra, penumbra * jax.nn.sigmoid((depth - lesion.core_depth_mm) / 1.5)


def _haemodynamics(
    key: jax.Array, fractions: jax.Array, penumbra: jax.Array, core: jax.Array, lesion: Lesion
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns arterial delay (s), CBF (ml/100 g/min) and CBV (ml/100 g) of the tissue, each `[z, y, x]`."""
    keys = jax.random.split(key, 3)
    size = fractions.shape[1:]
    flow, volume = (jnp.array([table.get(name, 0.0) for name in TISSUES], jnp.float32) for table in (_CBF, _CBV))
    cbf = jnp.einsum("nzyx,n->zyx", fractions, flow) * jnp.exp(0.10 * smooth_field(keys[0], size, 12.0))
    cbv = jnp.einsum("nzyx,n->zyx", fractions, volume) * jnp.exp(0.08 * smooth_field(keys[1], size, 12.0))
    delay_s = jnp.clip(0.9 + 0.35 * smooth_field(keys[2], size, 30.0), 0.0, 2.0) + 0.5 * fractions[WHITE]
    delay_s = jnp.where(fractions[SCALP] > 0.5, 2.5, delay_s)
    only_penumbra = penumbra - core
    cbf *= 1 - only_penumbra * (1 - lesion.penumbra_cbf) - core * (1 - lesion.core_cbf)
    cbv *= 1 - only_penumbra * (1 - lesion.penumbra_cbv) - core * (1 - lesion.core_cbv)
    return delay_s + only_penumbra * lesion.penumbra_delay_s + core * lesion.core_delay_s, cbf, cbv


def _curves(subject: Subject, frames: int) -> tuple[jax.Array, jax.Array]:
    """Returns the AIF at the frames, and the curves of tissue of unit volume, `[mtt, fine time]`, at no delay."""
    dt = subject.frame_interval_s / _OVERSAMPLING
    fine_s = jnp.arange(frames * _OVERSAMPLING) * dt
    artery = subject.aif_peak * arterial_input(
        fine_s,
        arrival_s=subject.arrival_s,
        rise_s=subject.rise_s,
        shape=subject.aif_shape,
        recirculation=subject.recirculation,
        recirculation_delay_s=subject.recirculation_delay_s,
    )
    since_s = fine_s + 0.5 * dt
    mtt_s = jnp.asarray(_TABLE_MTT_S, jnp.float32)
    at = (since_s.reshape(1, -1), mtt_s.reshape(-1, 1))
    kernel = gamma(*at, shape=subject.residue_shape)
    kernel = jnp.select([subject.residue_family == 1, subject.residue_family == 2], [box(*at), linear(*at)], kernel)
    kernel = kernel / mtt_s.reshape(-1, 1) * dt
    kernel = kernel / jnp.maximum(jnp.cumsum(kernel, axis=-1)[:, -1:], 1.0)  # short ones: a step is longer than the MTT
    length = 2 * fine_s.shape[0]
    edge = jnp.concatenate([jnp.zeros(1), fine_s + 0.5 * dt])
    spread = jnp.diff(1.0 - jnp.exp(-edge / jnp.maximum(subject.dispersion_s, 1e-3 * dt)))  # all at once without any
    arrived = jnp.fft.rfft(artery, length) * jnp.fft.rfft(spread, length)
    product = arrived.reshape(1, -1) * jnp.fft.rfft(kernel, length)
    return artery[::_OVERSAMPLING], jnp.fft.irfft(product, length)[:, : fine_s.shape[0]]


def _look_up(table: jax.Array, subject: Subject, time_s: jax.Array, delay_s: jax.Array, mtt_s: jax.Array) -> jax.Array:
    """Interpolates curves `[..., time]` for delays and transit times `[...]`."""
    span = jnp.log(_TABLE_MTT_S[-1] / _TABLE_MTT_S[0])
    row = jnp.log(jnp.clip(mtt_s, _TABLE_MTT_S[0], _TABLE_MTT_S[-1]) / _TABLE_MTT_S[0]) / span * (len(_TABLE_MTT_S) - 1)
    since_s = time_s.reshape(*[1] * delay_s.ndim, -1) - delay_s[..., None]
    place = jnp.clip(since_s / (subject.frame_interval_s / _OVERSAMPLING), 0.0, table.shape[1] - 1.0)
    rows = jnp.broadcast_to(row[..., None], place.shape)
    return jax.scipy.ndimage.map_coordinates(table, [rows, place], order=1, mode="nearest")
