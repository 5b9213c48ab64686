"""The elements of a DICOM header: found, skipped or kept, without building an object for each.

A perfusion series has thousands of files and a header hundreds of elements, of which some fifty are wanted. Reading
them into general objects costs more than everything else of a conversion; this parser keeps the bytes of the wanted
ones and decodes them when they are asked for.
"""

import dataclasses
import functools
import math
import struct
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes

from tmax_jax.dicom.tags import WANTED

PIXEL_TAGS = {0x7FE00008: "float", 0x7FE00009: "double", 0x7FE00010: "integer"}
UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD  # these have no value representation
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_VRS = _LONG_VRS | frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()  # those with a length of two bytes
)
_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_NUMERIC = frozenset((*_BINARY, "DS", "IS"))
_MAX_REMEMBERED = 256  # bytes of a value
_MAX_DEPTH = 32  # of sequences in sequences; functional groups need four
_MAX_ITEMS = 100_000  # of one sequence

_KEEP: dict[int, str] = dict(WANTED.values())
_SEQUENCES = frozenset(tag for tag, vr in _KEEP.items() if vr == "SQ")


@dataclasses.dataclass(frozen=True)
class _Coding:
    """How elements are told apart in one byte order, by the numbers that their first eight bytes are read as."""

    explicit: struct.Struct  # tag, value representation, length
    implicit: struct.Struct  # tag, length
    length: struct.Struct
    item: int  # the tag that begins an item, as it is read
    item_end: int
    sequence_end: int
    wanted: dict[int, int]  # tags as they are read: of elements to keep, and of those that end a data set
    nested: dict[int, int]  # the same of an item, where pixel data may be an icon's
    long_vrs: frozenset[int]  # value representations with a length of four bytes
    sequence_vrs: frozenset[int]  # those that may hold a sequence
    names: dict[int, str]  # of value representations
    unknown: int  # of these, the one whose items are implicit


def _coding(endian: str) -> _Coding:
    def number(vr: bytes) -> int:
        return int.from_bytes(vr, "little" if endian == "<" else "big")

    def as_read(tag: int) -> int:
        return (tag & 0xFFFF) << 16 | tag >> 16 if endian == "<" else tag

    return _Coding(
        explicit=struct.Struct(f"{endian}IHH"),
        implicit=struct.Struct(f"{endian}II"),
        length=struct.Struct(f"{endian}I"),
        item=as_read(_ITEM),
        item_end=as_read(_ITEM_END),
        sequence_end=as_read(_SEQUENCE_END),
        wanted={as_read(tag): tag for tag in (*_KEEP, *PIXEL_TAGS)},
        nested={as_read(tag): tag for tag in (*_KEEP, _ITEM_END)},
        long_vrs=frozenset(map(number, _LONG_VRS)),
        sequence_vrs=frozenset({number(b"SQ"), number(b"UN")}),
        names={number(vr): vr.decode() for vr in _VRS},
        unknown=number(b"UN"),
    )


_CODINGS = {endian: _coding(endian) for endian in "<>"}


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
        tag, vr = WANTED[keyword]
        found = self.elements.get(tag)
        return bool(found) and (isinstance(found, list) or bool(found[1] if vr in _BINARY else found[1].strip(b" \0")))

    def raw(self, keyword: str) -> bytes:
        """The bytes of an element's value."""
        found = self.elements.get(WANTED[keyword][0])
        return found[1] if isinstance(found, tuple) else b""

    def text(self, keyword: str) -> str:
        """An element as text, several values with backslashes between; empty where it is not there."""
        found = self.elements.get(WANTED[keyword][0])
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
        tag, vr = WANTED[keyword]
        found = self.elements.get(tag)
        if not isinstance(found, tuple) or not found[1]:
            return ()
        code = _BINARY.get(found[0] if found[0] in _NUMERIC else vr, "")
        if len(found[1]) > _MAX_REMEMBERED:
            return _numbers.__wrapped__(code, self.endian, found[1])
        return _numbers(code, self.endian, found[1])

    def number(self, keyword: str) -> float | None:
        """The first value of an element, None where it is absent, empty or no number."""
        values = self.numbers(keyword)
        return values[0] if values else None

    def items(self, keyword: str) -> list["Header"]:
        """The items of a sequence."""
        found = self.elements.get(WANTED[keyword][0])
        return [Header(item, self.endian) for item in found] if isinstance(found, list) else []

    def tags(self, keyword: str) -> tuple[int, ...]:
        """The values of an element of attribute tags."""
        value = self.raw(keyword)
        halves = struct.unpack_from(f"{self.endian}{len(value) // 4 * 2}H", value)
        return tuple(group << 16 | element for group, element in zip(halves[::2], halves[1::2], strict=True))


@functools.lru_cache(1 << 14)  # most values of a series are in all its headers
def _numbers(code: str, endian: str, value: bytes) -> tuple[float, ...]:
    try:
        if code:
            count = len(value) // struct.calcsize(code)
            values = tuple(map(float, struct.unpack_from(f"{endian}{count}{code}", value)))
        else:
            values = tuple(map(float, value.decode("ascii").strip(" \0").split("\\")))
    except ValueError:
        return ()
    return values if all(map(math.isfinite, values)) else ()


def is_explicit(data: bytes, pos: int) -> bool:
    """Whether the element at a place names its value representation: the declared syntax is sometimes wrong."""
    return data[pos + 4 : pos + 6] in _VRS


@dataclasses.dataclass(frozen=True)
class Mark:
    """The element at which a parse ended; tag 0 where the data ended."""

    tag: int
    value: int  # of what it holds
    length: int


def parse_elements(data: bytes, pos: int, endian: str, elements: Elements) -> Mark:
    """Parses a data set up to its pixel data.

    Args:
      data: bytes of the file from its start.
      pos: where the data set begins.
      endian: "<" or ">".
      elements: gets the wanted ones; those before a cut are in it.

    Returns:
      The element of the pixel data.

    Raises:
      CutError: the data end within an element.
      BrokenError: no DICOM.
    """
    return _parse(data, pos, len(data), is_explicit(data, pos), endian, elements, 0)


def parse_meta(data: bytes, pos: int, elements: Elements) -> int:
    """Parses the meta information of a file, which has a byte order of its own; returns where it ends.

    Raises:
      CutError: the data end within it.
    """
    read = struct.Struct("<HHHH").unpack_from
    long_vrs = _CODINGS["<"].long_vrs
    while pos + 8 <= len(data):
        group, element, vr, length = read(data, pos)
        if group != 2:
            return pos
        value = pos + 8
        if vr in long_vrs:
            if pos + 12 > len(data):
                raise CutError
            length, value = int.from_bytes(data[pos + 8 : pos + 12], "little"), pos + 12
        pos = value + length
        elements[group << 16 | element] = (vr.to_bytes(2, "little").decode("latin-1"), data[value:pos])
    if pos != len(data):
        raise CutError
    return pos


def _parse(data: bytes, pos: int, end: int, explicit: bool, endian: str, elements: Elements, depth: int) -> Mark:
    """Parses elements until the data end, or up to pixel data or the end of an item."""
    coding = _CODINGS[endian]
    wanted, long_vrs = coding.nested if depth else coding.wanted, coding.long_vrs
    read, read_length = (coding.explicit if explicit else coding.implicit).unpack_from, coding.length.unpack_from
    vr, last = 0, end - 8
    while pos <= last:
        if explicit:
            key, vr, length = read(data, pos)
            pos += 8
            if vr in long_vrs:
                if pos + 4 > end:
                    raise CutError
                length = read_length(data, pos)[0]
                pos += 4
        else:
            key, length = read(data, pos)
            pos += 8
        if key in wanted:
            tag = wanted[key]
            if tag not in _KEEP:
                return Mark(tag, pos, length)
            if tag in _SEQUENCES and (not explicit or vr in coding.sequence_vrs):
                nested = explicit and vr != coding.unknown
                elements[tag], pos = _parse_items(data, pos, length, nested, endian, depth)
                continue
            if length != UNDEFINED:
                if pos + length > end:
                    raise CutError
                elements[tag] = (coding.names.get(vr, ""), data[pos : pos + length])
        if length == UNDEFINED:
            _, pos = _parse_items(data, pos, length, explicit and vr != coding.unknown, endian, depth)
        else:
            pos += length
    if pos != end:
        raise CutError
    return Mark(0, pos, 0)


def _parse_items(
    data: bytes, pos: int, length: int, explicit: bool, endian: str, depth: int
) -> tuple[list[Elements], int]:
    """Parses a sequence; of an element of unknown type, the items are implicit by definition."""
    if depth > _MAX_DEPTH:
        raise BrokenError
    coding = _CODINGS[endian]
    read = coding.implicit.unpack_from
    end = len(data) if length == UNDEFINED else pos + length
    if end > len(data):
        raise CutError
    items: list[Elements] = []
    while pos + 8 <= end:
        key, item_length = read(data, pos)
        pos += 8
        if key == coding.sequence_end:
            return items, pos
        if key != coding.item or len(items) > _MAX_ITEMS:
            raise BrokenError
        item_end = end if item_length == UNDEFINED else pos + item_length
        if item_end > end:
            raise CutError
        item: Elements = {}
        delimited = data[pos : pos + 2] in (b"\xfe\xff", b"\xff\xfe")
        item_explicit = explicit and (delimited or is_explicit(data, pos))
        mark = _parse(data, pos, item_end, item_explicit, endian, item, depth + 1)
        pos = mark.value if item_length == UNDEFINED else item_end
        items.append(item)
    if pos != end or length == UNDEFINED:
        raise CutError
    return items, pos
