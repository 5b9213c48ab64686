"""Stored pixels and real values of frames."""

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from tmax_jax.dicom.decode import DecodeError, decode_frame
from tmax_jax.dicom.header import DamagedError, DicomError, Frame
from tmax_jax.dicom.readers import MAX_INFLATED_BYTES, deflated_data, uid_name
from tmax_jax.dicom.source import open_sources

_PACKAGES = {  # by what the transfer syntax compresses with
    "RLE": "pydicom",
    "JPEG-LS": "pyjpegls",
    "JPEG 2000": "pylibjpeg-openjpeg",
    "High-Throughput": "pylibjpeg-openjpeg",
    "JPEG": "python-gdcm",
}


def read_pixels(frame: Frame) -> np.ndarray:
    """Reads the values of one frame as they are stored, before rescale.

    Args:
      frame: of `readers.read_frames`.

    Returns:
      `[row, column]` in native byte order.

    Raises:
      DamagedError: the pixel data is shorter than the image, or cannot be decoded.
      DicomError: no decoder for its compression is installed.
    """
    [(_, values)] = read_all_pixels([frame])
    if isinstance(values, DicomError):
        raise values
    return values


def read_all_pixels(frames: Sequence[Frame]) -> Iterator[tuple[int, np.ndarray | DicomError]]:
    """Reads the stored values of many frames, opening each file once.

    Args:
      frames: of any files; those are opened in the order of their first frames.

    Yields:
      The frame's place in `frames`, and its values `[row, column]` or why there are none.
    """
    files: dict[str, list[int]] = {}
    for i, frame in enumerate(frames):
        files.setdefault(frame.source.path, []).append(i)
    for path, places in files.items():
        read_file = _read_archive if frames[places[0]].source.member else _read_file
        yield from read_file(path, frames, places)


def _read_file(path: str, frames: Sequence[Frame], places: list[int]) -> Iterator[tuple[int, np.ndarray | DicomError]]:
    try:
        file = open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", buffering=0)  # noqa: SIM115 (closed below)
    except OSError as error:
        yield from _failed(frames, places, type(error).__name__)
        return
    with file:
        yield from _read_object(file, frames, places)


def _read_archive(
    path: str, frames: Sequence[Frame], places: list[int]
) -> Iterator[tuple[int, np.ndarray | DicomError]]:
    members: dict[str, list[int]] = {}
    for i in places:
        members.setdefault(frames[i].source.member, []).append(i)
    try:
        for opened in open_sources(path, members.keys()):
            for_file = members.pop(opened.source.member, [])
            if opened.file is not None:
                yield from _read_object(opened.file, frames, for_file)
            else:
                yield from _failed(frames, for_file, opened.problem)
    except OSError as error:
        yield from _failed(frames, [i for rest in members.values() for i in rest], type(error).__name__)
        return
    yield from _failed(frames, [i for rest in members.values() for i in rest], "gone")


def _failed(frames: Sequence[Frame], places: list[int], problem: str) -> Iterator[tuple[int, DicomError]]:
    for i in places:
        yield i, DamagedError(f"{frames[i].name}: its pixel data cannot be read ({problem})")


def _read_object(
    file: BinaryIO, frames: Sequence[Frame], places: list[int]
) -> Iterator[tuple[int, np.ndarray | DicomError]]:
    if frames[places[0]].pixels.encoding == "encapsulated":
        read: Any = _Decoder(file, frames[places[0]])
    elif frames[places[0]].pixels.encoding == "deflated":
        data = deflated_data(file.read(MAX_INFLATED_BYTES), frames[places[0]].name)
        read = lambda frame: _native(memoryview(data)[frame.pixels.offset :], frame)  # noqa: E731
    else:
        read = _NativeFile(file)
    for i in places:
        try:
            yield i, _clean(read(frames[i]), frames[i])
        except DicomError as error:
            yield i, error
        except OSError as error:  # a pipe in the place of the file, a disk that fails
            yield from _failed(frames, [i], type(error).__name__)


class _NativeFile:
    """Reads uncompressed frames of an open file; the tiles of one image are cut from one reading."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.last: tuple[int, np.ndarray] | None = None

    def __call__(self, frame: Frame) -> np.ndarray:
        pixels = frame.pixels
        if self.last is None or self.last[0] != pixels.offset:
            self.file.seek(pixels.offset)
            data = self.file.read(math.prod(pixels.matrix) * np.dtype(pixels.dtype).itemsize)
            self.last = pixels.offset, _native(data, frame)
        return self.last[1]


def _native(data: bytes | memoryview, frame: Frame) -> np.ndarray:
    dtype, count = np.dtype(frame.pixels.dtype), math.prod(frame.pixels.matrix)
    if len(data) < count * dtype.itemsize:
        raise DamagedError(f"{frame.name}: {len(data)} bytes of pixel data, {count * dtype.itemsize} wanted")
    values = np.frombuffer(data, dtype, count).reshape(frame.pixels.matrix)
    return values.astype(dtype.newbyteorder("="), copy=False)


class _Decoder:
    """Decodes compressed frames of an open file; the tiles of one image are cut from one decoding."""

    def __init__(self, file: BinaryIO, frame: Frame) -> None:
        self.data = file.read() if frame.source.member else frame.source.path
        self.last: tuple[int, np.ndarray] | None = None

    def __call__(self, frame: Frame) -> np.ndarray:
        index = frame.pixels.frame_index
        if self.last is None or self.last[0] != index:
            self.last = index, self._decode(frame, index)
        return self.last[1]

    def _decode(self, frame: Frame, index: int) -> np.ndarray:
        syntax = uid_name(frame.pixels.syntax)
        try:
            values = decode_frame(self.data, index, isolated=not syntax.startswith("RLE"))
        except DecodeError as error:
            if error.kind == "unknown":
                raise DicomError(
                    f"{frame.name}: no decoder knows the transfer syntax {syntax}; export it uncompressed"
                ) from error
            if error.kind == "missing":
                package = next((name for text, name in _PACKAGES.items() if text in syntax), "a plugin of pydicom")
                raise DicomError(
                    f"{frame.name}: no decoder for {syntax}; install one with: pip install {package}"
                ) from error
            what = "the decoder died on it" if error.kind == "died" else f"it cannot be decoded as {syntax}"
            raise DamagedError(f"{frame.name}: damaged pixel data, {what}") from error
        if values.shape != frame.pixels.matrix:
            raise DamagedError(f"{frame.name}: decodes to {values.shape}, its header says {frame.pixels.matrix}")
        return values


def _clean(values: np.ndarray, frame: Frame) -> np.ndarray:
    """Cuts a tile, and clears bits that are no part of the value, or repeats the sign into them."""
    pixels = frame.pixels
    if frame.shape != pixels.matrix:
        (row, column), (rows, columns) = pixels.corner, frame.shape
        values = values[row : row + rows, column : column + columns]
    if values.dtype.kind == "f":
        return values
    width = 8 * values.dtype.itemsize
    above, unused = width - 1 - pixels.high_bit, width - pixels.bits
    if unused <= 0 or (pixels.encoding == "encapsulated" and values.dtype.kind == "u"):
        return values
    if values.dtype.kind == "u" and above == unused:
        return values & ((1 << pixels.bits) - 1)
    return (values << above) >> unused
