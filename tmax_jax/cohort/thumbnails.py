"""Small pictures of a case for a page: slices as PNG data, curves and histograms as SVG, which stays sharp."""

import base64
import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.image import imsave
from scipy import ndimage

LATEST_TMAX_S = 12.0  # the end of the colour scale; beyond 10 s tissue is as late as it gets in clinical use
LATE_TMAX_S = 6.0  # tissue that is critically late
_HEIGHT = 96  # pixels of a thumbnail
_OUTLINE = (1.0, 0.55, 0.1)
_CURVE = (190, 84)  # width and height of a drawing
_MARGIN = (30, 6, 4, 14)  # of its frame: left, right, top, bottom
_BIN_S = 0.5


def slice_png(
    image: np.ndarray,
    mask: np.ndarray,
    spacing_mm: Sequence[float],
    *,
    top: float,
    colours: str = "gray",
    outline: bool = True,
) -> str:
    """Draws one slice.

    Args:
      image: `[y, x]`.
      mask: bool `[y, x]`; drawn as an outline, or, without one, as what is shown at all.
      spacing_mm: of y and x.
      top: value of the brightest colour; 0 is the darkest.
      colours: name of a colour map.
      outline: whether to draw the mask's edge.

    Returns:
      A data URI.
    """
    size = np.array(image.shape) * np.array(spacing_mm)
    factors = _HEIGHT / size[0] * np.array(spacing_mm)
    shown = image.astype(np.float64) if outline else np.where(mask, image, 0.0)
    scaled = np.asarray(ndimage.zoom(shown, factors, order=1, grid_mode=True, mode="nearest"))
    inside = np.asarray(ndimage.zoom(mask * 1.0, factors, order=1, grid_mode=True, mode="nearest")) > 0.5
    pixels = matplotlib.colormaps[colours](np.clip(scaled / (top or 1.0), 0, 1))[..., :3]
    if outline:
        pixels[inside & np.logical_not(ndimage.binary_erosion(inside))] = _OUTLINE
    else:
        pixels[~inside] = 0.0
    file = io.BytesIO()
    imsave(file, np.round(pixels * 255).astype(np.uint8), format="png", pil_kwargs={"optimize": True})
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def curve_svg(curve: np.ndarray, times_s: np.ndarray, missing: np.ndarray, arrival_s: float) -> str:
    """Draws the mean signal over time.

    Args:
      curve: `[time]`, over its baseline.
      times_s: `[time]`.
      missing: `[time]`, fraction of the slices whose image is missing.
      arrival_s: of the bolus, marked by a line; NaN marks nothing.

    Returns:
      An SVG element. Frames with missing images have a bar at the foot, as high as their fraction. The first two
      frames, which may be far brighter than the rest, are cut at the top.
    """
    low, high = float(min(curve.min(), 0.95)), float(max(curve[2:].max(initial=0.0), 1.04))
    left, right, top, bottom = _MARGIN
    width, height = _CURVE[0] - left - right, _CURVE[1] - top - bottom
    span_s = float(np.ptp(times_s)) or 1.0

    def x(time_s: float) -> float:
        return left + width * (time_s - times_s[0]) / span_s

    def y(value: float) -> float:
        return top + height * (high - min(max(value, low), high)) / (high - low)

    parts = [f'<path class="level" d="M{left} {y(1):.1f}H{left + width}"/>']
    foot = top + height
    for time_s, fraction in zip(times_s, missing, strict=True):
        if fraction > 0:
            parts.append(f'<path class="gap" d="M{x(time_s):.1f} {foot}v{-max(6.0, height * fraction):.1f}"/>')
    points = " ".join(f"{x(time):.1f},{y(value):.1f}" for time, value in zip(times_s, curve, strict=True))
    parts.append(f'<polyline class="curve" points="{points}"/>')
    if np.isfinite(arrival_s):
        at = x(arrival_s)
        parts.append(f'<path class="arrival" d="M{at:.1f} {top}V{foot}"/>')
        parts.append(f'<text class="arrival" x="{at + 3:.1f}" y="{top + 8}">{arrival_s:.1f} s</text>')
    for value in (1.0, low):
        parts.append(f'<text x="{left - 3}" y="{y(value) + 3:.1f}" text-anchor="end">{value:.0%}</text>')
    parts.append(_time_axis(left, width, f"{times_s[0]:.0f}", f"{times_s[-1]:.0f} s"))
    return _svg(parts, "mean signal of the mask over time")


def histogram_svg(tmax_s: np.ndarray, voxel_ml: float) -> str:
    """Draws how much of a head has which Tmax.

    Args:
      tmax_s: `[voxel]`, of the mask, in seconds.
      voxel_ml: volume of a voxel.

    Returns:
      An SVG element: heights are square roots, so that a small late lesion is seen beside the rest; the last bar
      holds all that is later.
    """
    edges = np.arange(0.0, LATEST_TMAX_S + _BIN_S / 2, _BIN_S)
    counts, _ = np.histogram(np.clip(tmax_s, 0.0, LATEST_TMAX_S - 1e-6), edges)
    heights = np.sqrt(counts / max(counts.max(), 1))
    left, right, top, bottom = 4, 6, _MARGIN[2], _MARGIN[3]
    width, height = _CURVE[0] - left - right, _CURVE[1] - top - bottom
    step = width / len(counts)
    foot = top + height
    parts = []
    for index, tall in enumerate(heights):
        if tall:
            colour = to_hex(matplotlib.colormaps["turbo"]((index + 0.5) / len(counts)))
            place = f'x="{left + index * step + 0.5:.1f}" y="{foot - height * tall:.1f}"'
            parts.append(f'<rect {place} width="{step - 1:.1f}" height="{height * tall:.1f}" fill="{colour}"/>')
    at = left + width * LATE_TMAX_S / LATEST_TMAX_S
    late_ml = float((tmax_s > LATE_TMAX_S).sum() * voxel_ml)
    parts.append(f'<path class="level" d="M{at:.1f} {top}V{foot}"/>')
    parts.append(f'<text class="strong" x="{at + 4:.1f}" y="{top + 9}">&gt; {LATE_TMAX_S:g} s: {late_ml:.0f} ml</text>')
    parts.append(_time_axis(left, width, "0", f"{LATEST_TMAX_S:g} s and more"))
    return _svg(parts, "histogram of Tmax")


def _time_axis(left: float, width: float, start: str, end: str) -> str:
    foot = _CURVE[1] - 3
    line = f'<path class="axis" d="M{left} {_CURVE[1] - _MARGIN[3]}H{left + width}"/>'
    ends = (f'<text x="{left}" y="{foot}">{start}', f'<text x="{left + width}" y="{foot}" text-anchor="end">{end}')
    return line + "".join(f"{text}</text>" for text in ends)


def _svg(parts: Sequence[str], label: str) -> str:
    width, height = _CURVE
    frame = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{label}"'
    return f"<svg {frame}>{''.join(parts)}</svg>"
