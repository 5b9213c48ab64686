"""The elements of a DICOM header: found, skipped or kept, without building an object for each.

A perfusion series has thousands of files and a header hundreds of elements, of which some fifty are wanted. Reading
them into general objects costs more than everything else of a conversion; this parser keeps the bytes of the wanted
ones and decodes them when they are asked for.
"""

import dataclasses
import math
import struct
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword

PIXEL_TAGS = {0x7FE00008: "float", 0x7FE00009: "double", 0x7FE00010: "integer"}
UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD  # these have no value representation
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_VRS = _LONG_VRS | frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()  # those with a length of two bytes
)
_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_MAX_DEPTH = 32  # of sequences in sequences; functional groups need four
_MAX_ITEMS = 100_000  # of one sequence

_PUBLIC = """
TransferSyntaxUID SpecificCharacterSet SOPClassUID PatientID StudyInstanceUID SeriesInstanceUID SOPInstanceUID
SeriesNumber SeriesDescription Manufacturer ManufacturerModelName Modality ImageType FrameType ContentLabel
RescaleType PhotometricInterpretation InstanceNumber TemporalPositionIdentifier TemporalPositionIndex
NumberOfTemporalPositions AcquisitionNumber FrameAcquisitionNumber TriggerTime TemporalResolution EchoTime
EffectiveEchoTime RepetitionTime FlipAngle MagneticFieldStrength SliceThickness SpacingBetweenSlices PixelPaddingValue
DiffusionBValue ComplexImageComponent ASLContext Rows Columns NumberOfFrames ImageOrientationPatient
ImagePositionPatient PixelSpacing SamplesPerPixel BitsAllocated BitsStored HighBit PixelRepresentation RescaleSlope
RescaleIntercept AcquisitionDate AcquisitionTime AcquisitionDateTime FrameAcquisitionDateTime FrameReferenceDateTime
RealWorldValueMappingSequence RealWorldValueSlope RealWorldValueIntercept MeasurementUnitsCodeSequence
QuantityDefinitionSequence ConceptCodeSequence ConceptNameCodeSequence CodeValue CodeMeaning LUTLabel
SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence FrameContentSequence PlanePositionSequence
PlaneOrientationSequence PixelMeasuresSequence PixelValueTransformationSequence MREchoSequence
MRTimingAndRelatedParametersSequence MRImageFrameTypeSequence ParametricMapFrameTypeSequence MRDiffusionSequence
MRArterialSpinLabelingSequence UnassignedSharedConvertedAttributesSequence
UnassignedPerFrameConvertedAttributesSequence StackID InStackPositionNumber DimensionIndexValues
DimensionIndexSequence DimensionIndexPointer NumberOfSlices
"""
_PRIVATE = {  # by names of this project; None of them is in every file of its vendor
    "GESlices": (0x0021104F, "SS"),  # how many locations the scanner planned
    "GEImageKind": (0x0043102F, "SS"),  # 0 magnitude, 1 phase, 2 real, 3 imaginary
    "PhilipsSlices": (0x20011018, "SL"),
    "PhilipsBValue": (0x20011003, "FL"),
    "PhilipsLabel": (0x20051429, "CS"),  # label or control image of arterial spin labelling
    "PhilipsFrameSequence": (0x2005140F, "SQ"),
    "SiemensMosaicImages": (0x0019100A, "US"),
    "SiemensBValue": (0x0019100C, "IS"),
    "SiemensCreator0": (0x00290010, "LO"),
    "SiemensCreator1": (0x00290011, "LO"),
    "SiemensCreator2": (0x00290012, "LO"),
    "SiemensHeader0": (0x00291010, "OB"),
    "SiemensHeader1": (0x00291110, "OB"),
    "SiemensHeader2": (0x00291210, "OB"),
    "UIHBValue": (0x00651009, "FD"),
    "UIHGridImages": (0x00651050, "DS"),
    "UIHFrameSequence": (0x00651051, "SQ"),
}


def _public_tags() -> dict[str, tuple[int, str]]:
    tags = {}
    for keyword in _PUBLIC.split():
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise KeyError(keyword)
        tags[keyword] = (int(tag), dictionary_VR(tag).split()[0])
    return tags


_WANTED: dict[str, tuple[int, str]] = {**_public_tags(), **_PRIVATE}
_KEEP: dict[int, str] = dict(_WANTED.values())
_SEQUENCES = frozenset(tag for tag, vr in _KEEP.items() if vr == "SQ")
KEYWORDS = {tag: keyword for keyword, (tag, _) in _WANTED.items()}


class CutError(Exception):
    """The bytes at hand end before the header does."""


class BrokenError(Exception):
    """The bytes are no DICOM elements, or nested beyond reason."""


Elements = dict[int, Any]  # by tag: (VR or "", bytes), or a list of Elements


class Header:
    """The wanted elements of one data set, decoded when they are asked for.

    Example:
      >>> header = Header({0x00280010: ("US", bytes([128, 0]))}, "<")
      >>> header.number("Rows")
      128.0
    """

    __slots__ = ("elements", "endian")

    def __init__(self, elements: Elements, endian: str) -> None:
        self.elements = elements
        self.endian = endian

    def has(self, keyword: str) -> bool:
        """Whether the element is there and not empty."""
        tag, vr = _WANTED[keyword]
        found = self.elements.get(tag)
        return bool(found) and (isinstance(found, list) or bool(found[1] if vr in _BINARY else found[1].strip(b" \0")))

    def raw(self, keyword: str) -> bytes:
        """The bytes of an element's value."""
        found = self.elements.get(_WANTED[keyword][0])
        return found[1] if isinstance(found, tuple) else b""

    def text(self, keyword: str) -> str:
        """An element as text, several values with backslashes between; empty where it is not there."""
        found = self.elements.get(_WANTED[keyword][0])
        if not isinstance(found, tuple):
            return ""
        value = found[1]
        if value.isascii():
            return value.decode("ascii").strip(" \0")
        encodings = self.elements.get(0x00080005, ("CS", b""))[1].decode("ascii", "ignore").strip(" \0").split("\\")
        try:
            return decode_bytes(value, convert_encodings(encodings), set()).strip(" \0")
        except Exception:  # the character set is as unsure as the rest of the header
            return value.decode("latin-1").strip(" \0")

    def texts(self, keyword: str) -> tuple[str, ...]:
        """The values of an element as text."""
        text = self.text(keyword)
        return tuple(part.strip() for part in text.split("\\")) if text else ()

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """The values of an element as finite numbers; empty where one of them is none."""
        tag, vr = _WANTED[keyword]
        found = self.elements.get(tag)
        if not isinstance(found, tuple) or not found[1]:
            return ()
        code = _BINARY.get(found[0] if found[0] in _BINARY or found[0] in ("DS", "IS") else vr)
        try:
            if code:
                count = len(found[1]) // struct.calcsize(code)
                values = struct.unpack_from(f"{self.endian}{count}{code}", found[1])
            else:
                values = tuple(map(float, found[1].decode("ascii").strip(" \0").split("\\")))
        except ValueError:
            return ()
        return tuple(map(float, values)) if all(map(math.isfinite, values)) else ()

    def number(self, keyword: str) -> float | None:
        """The first value of an element, None where it is absent, empty or no number."""
        values = self.numbers(keyword)
        return values[0] if values else None

    def items(self, keyword: str) -> list["Header"]:
        """The items of a sequence."""
        found = self.elements.get(_WANTED[keyword][0])
        return [Header(item, self.endian) for item in found] if isinstance(found, list) else []

    def tags(self, keyword: str) -> tuple[int, ...]:
        """The values of an element of attribute tags."""
        value = self.raw(keyword)
        halves = struct.unpack_from(f"{self.endian}{len(value) // 4 * 2}H", value)
        return tuple(group << 16 | element for group, element in zip(halves[::2], halves[1::2], strict=True))


def is_explicit(data: bytes, pos: int) -> bool:
    """Whether the element at a place names its value representation: the declared syntax is sometimes wrong."""
    return data[pos + 4 : pos + 6] in _VRS


@dataclasses.dataclass(frozen=True)
class Mark:
    """The element at which a parse ended; tag 0 where the data ended."""

    tag: int
    start: int  # of the element
    value: int  # of what it holds
    length: int


def parse_elements(
    data: bytes, pos: int, endian: str, elements: Elements, *, limit: int = min(PIXEL_TAGS), end: int | None = None
) -> Mark:
    """Parses a data set up to its pixel data.

    Args:
      data: bytes of the file from its start.
      pos: where the data set begins.
      endian: "<" or ">".
      elements: gets the wanted ones; those before a cut are in it.
      limit: the parse ends at the first tag from here on.
      end: of the data set, where it is known.

    Returns:
      The element that ended the parse.

    Raises:
      CutError: the data end within an element.
      BrokenError: no DICOM.
    """
    return _parse(data, pos, len(data) if end is None else end, is_explicit(data, pos), endian, elements, limit, 0)


def _parse(
    data: bytes, pos: int, end: int, explicit: bool, endian: str, elements: Elements, limit: int, depth: int
) -> Mark:
    short = struct.Struct(f"{endian}HH2sH" if explicit else f"{endian}HHI").unpack_from
    long = struct.Struct(f"{endian}I").unpack_from
    keep, sequences, long_vrs = _KEEP, _SEQUENCES, _LONG_VRS
    vr = b""
    while pos + 8 <= end:
        start = pos
        if explicit:
            group, element, vr, length = short(data, pos)
        else:
            group, element, length = short(data, pos)
        tag = group << 16 | element
        pos += 8
        if vr in long_vrs:
            if pos + 4 > end:
                raise CutError
            length = long(data, pos)[0]
            pos += 4
        if tag >= limit:
            return Mark(tag, start, pos, length)
        if length == UNDEFINED or (tag in sequences and vr in (b"", b"SQ", b"UN")):
            items, pos = _parse_items(data, pos, length, explicit and vr != b"UN", endian, depth)
            if tag in sequences:
                elements[tag] = items
            continue
        if tag in keep:
            if pos + length > end:
                raise CutError
            elements[tag] = (vr.decode("latin-1"), data[pos : pos + length])
        pos += length
    if pos != end:
        raise CutError
    return Mark(0, pos, pos, 0)


def _parse_items(
    data: bytes, pos: int, length: int, explicit: bool, endian: str, depth: int
) -> tuple[list[Elements], int]:
    """Parses a sequence; of an element of unknown type, the items are implicit by definition."""
    if depth > _MAX_DEPTH:
        raise BrokenError
    header = struct.Struct(f"{endian}HHI").unpack_from
    end = len(data) if length == UNDEFINED else pos + length
    if end > len(data):
        raise CutError
    items: list[Elements] = []
    while pos + 8 <= end:
        group, element, item_length = header(data, pos)
        tag = group << 16 | element
        pos += 8
        if tag == _SEQUENCE_END:
            return items, pos
        if tag != _ITEM or len(items) > _MAX_ITEMS:
            raise BrokenError
        item_end = end if item_length == UNDEFINED else pos + item_length
        if item_end > end:
            raise CutError
        item: Elements = {}
        delimited = data[pos : pos + 2] in (b"\xfe\xff", b"\xff\xfe")
        item_explicit = explicit and (delimited or is_explicit(data, pos))
        mark = _parse(data, pos, item_end, item_explicit, endian, item, _ITEM_END, depth + 1)
        pos = mark.value if item_length == UNDEFINED else item_end
        items.append(item)
    if pos != end or length == UNDEFINED:
        raise CutError
    return items, pos
