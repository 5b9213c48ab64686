"""Images whose tiles are the slices of a volume: Siemens mosaics and United Imaging grids."""

import dataclasses
import math
import struct

import numpy as np

from tmax_jax.dicom.elements import Header
from tmax_jax.dicom.frame import make_frame
from tmax_jax.dicom.header import DamagedError, DicomError, Frame, Object

_CSA_CREATOR = "SIEMENS CSA HEADER"
_ASSUMED = "no SliceNormalVector in the mosaic: its slices are taken to ascend along row x column"


def read_mosaic(header: Header, found: Object) -> list[Frame]:
    """Reads the slices of a Siemens mosaic.

    The position in its header is that of a slice as large as the whole mosaic, around the same centre. Where slices
    lead to is told by the private SliceNormalVector, never by the order of tiles: sets numbered from head to foot
    begin with the top slice.

    Args:
      header: of the object.
      found: the object.

    Returns:
      A frame a tile, in the order of tiles.

    Raises:
      DamagedError: the number of slices is not there, or does not fit the image.
    """
    csa = _read_csa(header)
    number = int(header.number("SiemensMosaicImages") or (csa.get("NumberOfImagesInMosaic") or [0])[0])
    whole = make_frame(header, dataclasses.replace(found, kind="mosaic"))
    if number < 1:
        raise DicomError(
            f"{found.name}: a Siemens mosaic without the private header that tells its slices; export the series from"
            " the scanner again, or as one image a slice"
        )
    corners, tile = _tiles(whole, number)
    row, column = np.array(whole.orientation[:3]), np.array(whole.orientation[3:])
    row_mm, column_mm = whole.pixel_spacing_mm
    shift = 0.5 * (np.array(whole.shape) - tile)
    origin = np.array(whole.position_mm) + shift[1] * column_mm * row + shift[0] * row_mm * column
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    direction = np.array(csa.get("SliceNormalVector") or normal)
    if direction.shape != (3,) or abs(abs(normal @ direction) - 1) > 1e-2:
        raise DicomError(f"{found.name}: the mosaic's SliceNormalVector {direction} is not normal to its slices")
    step = normal * np.sign(normal @ direction) * (whole.slice_spacing_mm or whole.slice_thickness_mm or 0)
    if number > 1 and not step.any():
        raise DamagedError(f"{found.name}: a mosaic with neither SpacingBetweenSlices nor SliceThickness")
    positions = [tuple(map(float, origin + index * step)) for index in range(number)]
    note = "" if csa.get("SliceNormalVector") else _ASSUMED
    return _cut(whole, corners, tile, positions, [whole.acquired_s] * number, note)


def read_grid(header: Header, found: Object) -> list[Frame]:
    """Reads the slices of a United Imaging grid, whose private sequence tells each tile's position.

    Args:
      header: of the object.
      found: the object.

    Returns:
      A frame a tile.

    Raises:
      DamagedError: a position is not there, or the tiles do not fit the image.
    """
    items = header.items("UIHFrameSequence")
    positions = [item.numbers("ImagePositionPatient") for item in items]
    if not all(len(position) == 3 for position in positions):
        raise DamagedError(f"{found.name}: a grid of {len(items)} slices whose positions are not all there")
    if not header.has("ImagePositionPatient"):
        header.elements |= {0x00200032: items[0].elements[0x00200032]}
    whole = make_frame(header, dataclasses.replace(found, kind="grid"))
    corners, tile = _tiles(whole, len(items))
    return _cut(whole, corners, tile, positions, [whole.acquired_s] * len(items), "")


def _tiles(whole: Frame, number: int) -> tuple[list[tuple[int, int]], np.ndarray]:
    across = math.isqrt(number - 1) + 1 if number > 0 else 1
    rows, columns = whole.shape
    if rows % across or columns % across or number > across * across:
        raise DamagedError(f"{whole.name}: {number} tiles do not fit an image of {rows} x {columns}")
    tile = np.array([rows // across, columns // across])
    corners = [(index // across * int(tile[0]), index % across * int(tile[1])) for index in range(number)]
    return corners, tile


def _cut(
    whole: Frame,
    corners: list[tuple[int, int]],
    tile: np.ndarray,
    positions: list[tuple[float, ...]],
    acquired_s: list[float | None],
    note: str,
) -> list[Frame]:
    return [
        whole._replace(
            shape=(int(tile[0]), int(tile[1])),
            position_mm=position,
            acquired_s=moment,
            pixels=whole.pixels._replace(corner=corner),
            frames_in_file=len(corners),
            note=note,
        )
        for corner, position, moment in zip(corners, positions, acquired_s, strict=True)
    ]


def _read_csa(header: Header) -> dict[str, list[float]]:
    """Reads the numbers of the private header that Siemens calls CSA image header.

    It is a table of named tags, each with items of text padded to four bytes; the older of its two forms has no magic.
    """
    for block in "012":
        if header.text(f"SiemensCreator{block}") == _CSA_CREATOR:
            try:
                return _parse_csa(header.raw(f"SiemensHeader{block}"))
            except (struct.error, UnicodeDecodeError):
                return {}
    return {}


def _parse_csa(data: bytes) -> dict[str, list[float]]:
    newer = data[:4] == b"SV10"
    pos = 8 if newer else 0
    count = struct.unpack_from("<I", data, pos)[0]
    pos += 8
    values: dict[str, list[float]] = {}
    first_items = 0  # the older form adds the first tag's number of items to every length
    for number in range(min(count, 1000)):
        name, _, _, _, items = struct.unpack_from("<64si4sii", data, pos)
        first_items = first_items if number else items
        pos += 84
        texts = []
        for _ in range(min(max(items, 0), 1000)):
            lengths = struct.unpack_from("<4i", data, pos)
            pos += 16
            length = lengths[1] if newer else lengths[0] - first_items
            if length < 0 or pos + length > len(data):
                return values
            texts.append(data[pos : pos + length].split(b"\0")[0].decode("ascii", "ignore").strip())
            pos += -(-length // 4) * 4
        numbers = []
        for text in texts:
            try:
                numbers.append(float(text))
            except ValueError:
                break
        values[name.split(b"\0")[0].decode("ascii", "ignore")] = numbers
    return values
