"""Variation of the training cases, on the device and inside the jitted step; everything is off by default.

Each function takes one case as the scanner stored it, before it is normalised, so that what it does to the input is
what another scan would have done.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

Batch = dict[str, jax.Array]

_MAPS = ("mask", "tmax_s")  # entries of a batch, [case, z, y, x], that move with the images
_FURTHER = "map_"  # and those that begin so


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How strongly training cases vary; 0 everywhere changes nothing and costs nothing."""

    flip_probability: float = 0.0  # left and right exchanged
    rotation_degrees: float = 0.0  # greatest angle in the plane of the slices, either way
    bolus_shift_frames: int = 0  # greatest shift of the whole series in time, either way
    intensity_scale_percent: float = 0.0  # greatest change of all intensities by one factor, either way
    noise_percent: float = 0.0  # sd of the noise in both channels of the receiver, of the greatest intensity
    dropped_images_percent: float = 0.0  # share of the images (one slice at one time) that are lost


OFF = Augmentation()


def augment(key: jax.Array, batch: Batch, augmentation: Augmentation) -> Batch:
    """Varies each case of a batch by itself.

    The order is that of a scan: how the head lies, when the bolus comes, how bright the images are, their noise, and
    which of them are lost.

    Args:
      key: of this step.
      batch: `perfusion [case, z, y, x, time]` in any stored type, `mask` and `tmax_s [case, z, y, x]`,
        `intensity_max [case]`, and `inserted [case, z, time]` where it matters; other entries pass through.
      augmentation: the strengths.

    Returns:
      The batch with new images, and with mask, target and marks of missing images moved along with them. The scale of
      normalisation stays that of the original series, so that a change of intensity or a lost image reaches the network
      as it is.
    """
    if augmentation == OFF:
        return batch
    case = {name: batch[name] for name in ("perfusion", "intensity_max", "inserted", *_MAPS) if name in batch}
    case |= {name: values for name, values in batch.items() if name.startswith(_FURTHER)}
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(batch["perfusion"].shape[0]))
    return batch | jax.vmap(functools.partial(_vary, augmentation=augmentation))(keys, case)


def _vary(key: jax.Array, case: Batch, *, augmentation: Augmentation) -> Batch:
    """Varies one case. Each kind has a key of its own, so that turning one on leaves the others' draws as they are."""
    flip, turn, shift, scale, noise, drop = jax.random.split(key, 6)
    perfusion, maps = case["perfusion"].astype(jnp.float32), _maps_of(case)
    marks = {name: case[name] for name in ("inserted",) if name in case}
    if augmentation.flip_probability:
        flipped = jax.random.bernoulli(flip, augmentation.flip_probability)
        perfusion, maps = jax.tree.map(lambda a: jnp.where(flipped, a[:, :, ::-1], a), (perfusion, maps))
    if augmentation.rotation_degrees:
        limit = jnp.deg2rad(augmentation.rotation_degrees)
        angle = jax.random.uniform(turn, minval=-limit, maxval=limit)
        perfusion = rotate(perfusion, angle)
        # Nearest, since a mean of brain and background, or of healthy and late tissue, is no one's Tmax.
        maps = {name: rotate(values[..., None], angle, nearest=True)[..., 0] for name, values in maps.items()}
    if augmentation.bolus_shift_frames:
        limit = augmentation.bolus_shift_frames
        frames = jax.random.randint(shift, (), -limit, limit + 1)
        perfusion, marks = jax.tree.map(lambda series: shift_frames(series, frames), (perfusion, marks))
    if augmentation.intensity_scale_percent:
        limit = augmentation.intensity_scale_percent / 100
        perfusion = perfusion * jax.random.uniform(scale, minval=1 - limit, maxval=1 + limit)
    if augmentation.noise_percent:
        perfusion = add_rician_noise(noise, perfusion, case["intensity_max"] * (augmentation.noise_percent / 100))
    if augmentation.dropped_images_percent:
        share = augmentation.dropped_images_percent / 100
        lost = jax.random.bernoulli(drop, share, (perfusion.shape[0], 1, 1, perfusion.shape[-1]))
        perfusion = jnp.where(lost, 0, perfusion)  # as conversion fills an image that is missing
        marks = {name: inserted | lost[:, 0, 0] for name, inserted in marks.items()}
    return {"perfusion": perfusion, **maps, **marks}


def _maps_of(case: Batch) -> Batch:
    return {name: values for name, values in case.items() if name in _MAPS or name.startswith(_FURTHER)}


def rotate(volume: jax.Array, angle_radians: jax.Array, *, nearest: bool = False) -> jax.Array:
    """Turns every slice about its centre, from y towards x.

    Args:
      volume: `[z, y, x, channel]`.
      angle_radians: scalar.
      nearest: take the nearest voxel's value instead of interpolating between four.

    Returns:
      The turned volume, in the type of the volume; beyond its edges it is 0.

    Example:
      >>> rotate(jnp.arange(4).reshape(1, 2, 2, 1), jnp.pi / 2, nearest=True)[0, :, :, 0]
      Array([[1, 3],
             [0, 2]], dtype=int32)
    """
    centre_y, centre_x = (side / 2 - 0.5 for side in volume.shape[1:3])
    y, x = jnp.meshgrid(jnp.arange(volume.shape[1]) - centre_y, jnp.arange(volume.shape[2]) - centre_x, indexing="ij")
    cosine, sine = jnp.cos(angle_radians), jnp.sin(angle_radians)
    source = [cosine * y + sine * x + centre_y, cosine * x - sine * y + centre_x]
    turn = functools.partial(map_coordinates, coordinates=source, order=0 if nearest else 1)
    return jax.vmap(jax.vmap(turn), in_axes=-1, out_axes=-1)(volume)


def shift_frames(perfusion: jax.Array, frames: jax.Array) -> jax.Array:
    """Moves a series in time; the first or the last frame is held where none is left.

    Args:
      perfusion: `[..., time]`.
      frames: int scalar; positive: the bolus comes later. Tmax, which is counted from the bolus in the artery, stays.

    Returns:
      The moved series.

    Example:
      >>> shift_frames(jnp.array([[[[5.0, 6.0, 7.0]]]]), 1)[0, 0, 0]
      Array([5., 5., 6.], dtype=float32)
    """
    last = perfusion.shape[-1] - 1
    return jnp.take(perfusion, jnp.clip(jnp.arange(last + 1) - frames, 0, last), axis=-1)


def add_rician_noise(key: jax.Array, perfusion: jax.Array, sd: jax.Array) -> jax.Array:
    """Adds the noise of a magnitude image: Gaussian in the real and in the imaginary channel, then the modulus.

    Args:
      key: of the draw.
      perfusion: float32 `[z, y, x, time]`, magnitudes.
      sd: scalar, of each channel, in the unit of the perfusion.

    Returns:
      The noisy magnitudes. What is exactly 0 stays 0: it was not scanned, but blanked or filled in.

    Reference:
      Gudbjartsson and Patz 1995, doi:10.1002/mrm.1910340618.
    """
    real, imaginary = sd * jax.random.normal(key, (2, *perfusion.shape))
    return jnp.where(perfusion == 0, 0, jnp.hypot(perfusion + real, imaginary))
