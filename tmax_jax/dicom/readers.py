"""The images in a file: which kind of object it holds, and one reader for each kind (`READERS`).

Every reader takes the object's header and returns frames; a new kind of object is a new entry.
"""

import functools
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from pydicom.uid import RE_VALID_UID, UID, ExplicitVRLittleEndian

from tmax_jax.dicom.elements import Header
from tmax_jax.dicom.enhanced import read_enhanced
from tmax_jax.dicom.frame import make_frame
from tmax_jax.dicom.header import DamagedError, DicomError, Frame, Object, SkippedError
from tmax_jax.dicom.mosaic import read_grid, read_mosaic
from tmax_jax.dicom.parser import (
    PIXEL_TAGS,
    UNDEFINED,
    BrokenError,
    CutError,
    Mark,
    is_explicit,
    parse_elements,
    parse_meta,
)
from tmax_jax.dicom.source import Opened, open_sources

MAX_HEADER_BYTES = 2**26
MAX_INFLATED_BYTES = 2**28  # of a deflated object
_FIRST_READ = 2**16  # bytes; most headers are shorter
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_NATIVE = ("1.2.840.10008.1.2", ExplicitVRLittleEndian, _BIG_ENDIAN, _DEFLATED)


def read_sources(path: str | Path, name: str) -> Iterator[Frame | DicomError]:
    """Reads the images of a file, or of every member of an archive.

    Args:
      path: of the file; a link, a pipe or a device is never opened.
      name: relative path for messages.

    Yields:
      Frames, and in the place of an object that cannot be read the error that says why.

    Example:
      `frames = [found for found in read_sources(Path("IM0001"), "IM0001") if isinstance(found, Frame)]`
    """
    try:
        for opened in open_sources(path):
            member = opened.source.member
            try:
                yield from read_frames(opened, f"{name}:{member}" if member else name)
            except DicomError as error:
                yield error
    except OSError as error:
        yield SkippedError(f"{name}: cannot be opened ({type(error).__name__})")


def read_frames(opened: Opened, name: str) -> list[Frame]:
    """Reads the images of one object. Their pixels are read by `pixels.read_pixels`.

    Args:
      opened: of `open_sources`.
      name: for messages.

    Returns:
      The frames; one, or many of an object that holds several.

    Raises:
      SkippedError: no image of a kind that is read here.
      DamagedError: an image whose header or pixels are incomplete.
      DicomError: an image with values that make its whole series unusable.
    """
    if opened.file is None:
        raise SkippedError(f"{name}: {opened.problem}")
    header = Header({}, "<")
    try:
        sop_class, found = _read_header(opened, opened.file, name, header)
        if sop_class not in READERS:
            raise SkippedError(f"{name}: {uid_name(sop_class)} is not read; export the series as MR images")
        if found.pixel_type not in PIXEL_TAGS.values():
            raise DamagedError(f"{name}: {_missing(header) or 'no pixel data'}")
        return READERS[sop_class](header, found)
    except DicomError as error:
        _describe(error, header)
        raise
    except (BrokenError, RecursionError) as error:
        raise _describe(DamagedError(f"{name}: its header is broken or nested beyond reason"), header) from error
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, ArithmeticError) as error:
        damaged = DamagedError(f"{name}: a value in its header cannot be read ({type(error).__name__})")
        raise _describe(damaged, header) from error


def _describe(error: DicomError, header: Header) -> DicomError:
    """Notes on an error whose file it was, for counting it where it belongs."""
    if not isinstance(error, SkippedError):
        error.patient_id, error.study_uid = header.text("PatientID"), header.text("StudyInstanceUID")
        error.series_uid, error.description = header.text("SeriesInstanceUID"), header.text("SeriesDescription")
    return error


def _missing(header: Header) -> str:
    for keyword in ("Rows", "Columns", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"):
        if not header.has(keyword) and not header.has("NumberOfFrames"):
            return f"no {keyword} in its header"
    return ""


def _classic(header: Header, found: Object) -> list[Frame]:
    """Reads an image of one frame, or one whose tiles are the frames."""
    if "MOSAIC" in header.texts("ImageType") or header.number("SiemensMosaicImages"):
        return read_mosaic(header, found)
    if header.has("UIHFrameSequence"):
        return read_grid(header, found)
    if (header.number("NumberOfFrames") or 1) > 1:
        raise DamagedError(f"{found.name}: NumberOfFrames {header.text('NumberOfFrames')} in an object of one image")
    return [make_frame(header, found)]


READERS: dict[str, Callable[[Header, Object], list[Frame]]] = {
    "1.2.840.10008.5.1.4.1.1.4": _classic,  # MR Image Storage
    "1.2.840.10008.5.1.4.1.1.4.1": read_enhanced,  # Enhanced MR Image Storage
    "1.2.840.10008.5.1.4.1.1.4.4": read_enhanced,  # Legacy Converted Enhanced MR Image Storage
    "1.2.840.10008.5.1.4.1.1.30": read_enhanced,  # Parametric Map Storage
}


def _read_header(opened: Opened, file: BinaryIO, name: str, header: Header) -> tuple[str, Object]:
    """Parses the elements into `header`; returns the SOP class and what is known of the object."""
    data = file.read(_FIRST_READ)
    start, syntax = _read_meta(data, name)
    deflated = syntax == _DEFLATED
    if deflated:
        data = deflated_data(data + file.read(MAX_INFLATED_BYTES), name)
        start = 0
    endian = ">" if syntax == _BIG_ENDIAN or (not syntax and data[start : start + 2] == b"\0\x08") else "<"
    header.endian = endian
    while True:
        try:
            mark = parse_elements(data, start, endian, header.elements)
            break
        except CutError:
            if deflated or len(data) >= opened.size:
                mark = Mark(0, len(data), 0)
                break
            if len(data) >= MAX_HEADER_BYTES:
                raise DamagedError(f"{name}: a header of more than {MAX_HEADER_BYTES} bytes") from None
            data += file.read(3 * len(data))
    sop_class = header.text("SOPClassUID")
    if not sop_class:
        raise SkippedError(f"{name}: not a DICOM image")
    known = _is_transfer_syntax(syntax)
    if sop_class in READERS and mark.tag and mark.length != UNDEFINED and syntax and not known:
        raise DicomError(f"{name}: no decoder knows the transfer syntax {uid_name(syntax)}; export it uncompressed")
    encapsulated = mark.length == UNDEFINED or (known and syntax not in _NATIVE)
    found = Object(
        source=opened.source,
        name=name,
        kind="classic",
        syntax=syntax,
        endian="<" if encapsulated else endian,
        encoding="encapsulated" if encapsulated else "deflated" if deflated else "native",
        pixel_type=PIXEL_TAGS.get(mark.tag, ""),
        offset=mark.value,
        available=(len(data) if deflated else opened.size) - mark.value,
    )
    return sop_class, found


@functools.lru_cache(64)
def _is_transfer_syntax(uid: str) -> bool:
    return bool(re.match(RE_VALID_UID, uid)) and UID(uid).type == "Transfer Syntax"


def _read_meta(data: bytes, name: str) -> tuple[int, str]:
    """Returns where the data set begins, and the transfer syntax where the file says one."""
    start = 132 if data[128:132] == b"DICM" else 0
    group = data[start : start + 2]
    if group not in (b"\2\0", b"\10\0", b"\0\10") or len(data) < start + 8:
        raise SkippedError(f"{name}: not a DICOM image")
    if group != b"\2\0":
        return start, ""
    if not is_explicit(data, start):
        raise SkippedError(f"{name}: not a DICOM image")
    try:
        return parse_meta(data, start)
    except CutError as error:
        raise SkippedError(f"{name}: its meta information is cut") from error


def uid_name(uid: str) -> str:
    """Returns what a UID stands for, or the UID where that is not known."""
    return UID(uid).name if re.match(RE_VALID_UID, uid) else repr(uid)


def deflated_data(data: bytes, name: str) -> bytes:
    """Unpacks the data set of a deflated object.

    Args:
      data: bytes of the file from its start.
      name: for messages.

    Returns:
      The data set as it was before deflation.

    Raises:
      DamagedError: no deflated data, or far more than an image has.
    """
    start, _ = _read_meta(data, name)
    data = data[start:]
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        unpacked = unpacker.decompress(data, MAX_INFLATED_BYTES)
    except zlib.error as error:
        raise DamagedError(f"{name}: its deflated data are broken") from error
    if unpacker.unconsumed_tail:
        raise DamagedError(f"{name}: inflates to more than {MAX_INFLATED_BYTES} bytes")
    return unpacked
