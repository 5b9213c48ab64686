"""Small pictures: what they show is what was measured."""

import base64
import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
from matplotlib.image import imread

from tmax_jax.cohort.thumbnails import curve_svg, histogram_svg, slice_png


def pixels(uri: str) -> np.ndarray:
    return imread(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))


def test_a_slice_keeps_its_shape_in_mm_and_shows_the_masks_edge():
    mask = np.zeros((32, 48), bool)
    mask[8:24, 12:36] = True
    image = pixels(slice_png(np.where(mask, 100.0, 0.0), mask, (4.0, 2.0), top=100.0))
    assert image.shape[:2] == (96, 72)  # 128 mm by 96 mm
    orange = (image[..., 0] > 0.9) & (image[..., 2] < 0.3)
    assert orange[48].sum() == 2  # left and right of the head
    assert image[48, 36, :3].min() == 1
    assert image[2, 2, :3].max() == 0


def test_a_map_is_coloured_within_the_mask_alone():
    mask = np.zeros((16, 16), bool)
    mask[4:12, 4:12] = True
    image = pixels(slice_png(np.full((16, 16), 12.0), mask, (1.0, 1.0), top=12.0, colours="turbo", outline=False))
    assert image[48, 48, 0] > 0.4
    assert image[48, 48, 2] < 0.1
    assert image[3, 3, :3].max() == 0


def test_a_curve_is_marked_at_the_arrival_and_where_images_are_missing():
    times_s = 1.5 * np.arange(60)
    missing = np.zeros(60)
    missing[[5, 40]] = 0.05, 1.0
    drawing = curve_svg(1 - 0.2 * np.exp(-((times_s - 20) ** 2) / 20), times_s, missing, 16.25)
    tree = ElementTree.fromstring(drawing)
    gaps = [part.attrib["d"] for part in tree if part.get("class") == "gap"]
    assert len(gaps) == 2
    assert re.fullmatch(r"M[\d.]+ \d+v-6\.0", gaps[0])
    assert gaps[1].endswith("v-66.0")
    assert "16.2 s" in drawing
    assert "80%" in drawing
    assert len(next(part for part in tree if part.get("class") == "curve").attrib["points"].split()) == 60
    assert 'class="arrival"' not in curve_svg(np.ones(60), times_s, missing, np.nan)


def test_a_histogram_names_the_late_volume_and_keeps_what_is_beyond_its_end():
    drawing = histogram_svg(np.array([0.0] * 900 + [7.0] * 60 + [40.0] * 40), 0.05)
    tree = ElementTree.fromstring(drawing)
    assert "> 6 s: 5 ml" in "".join(tree.itertext())
    heights = [float(part.attrib["height"]) for part in tree if part.tag == "rect"]
    np.testing.assert_allclose(np.square(heights) / max(heights) ** 2, [1, 60 / 900, 40 / 900], rtol=0.02)
    assert ElementTree.fromstring(histogram_svg(np.zeros(0), 1.0)) is not None
