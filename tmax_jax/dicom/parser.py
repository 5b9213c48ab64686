"""Finds the wanted elements of a DICOM header and steps over the others.

The headers of a series mostly have one layout: the same elements of the same lengths at the same places. So the
layouts seen last are tried first: where every element's first bytes are as they were, the values lie where they lay.
"""

import collections
import dataclasses
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tmax_jax.dicom.elements import Elements
from tmax_jax.dicom.tags import WANTED

PIXEL_TAGS = {0x7FE00008: "float", 0x7FE00009: "double", 0x7FE00010: "integer"}
UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD  # these have no value representation
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_VRS = _LONG_VRS | frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()  # those with a length of two bytes
)
_MAX_DEPTH = 32  # of sequences in sequences; functional groups need four
_MAX_ITEMS = 1_000_000  # of all sequences of a header
_MAX_LAYOUT_BYTES = 2**18  # of a header whose layout is worth remembering
_KEEP: dict[int, str] = dict(WANTED.values())
_SEQUENCES = frozenset(tag for tag, vr in _KEEP.items() if vr == "SQ")
Spans = dict[int, Any]  # like Elements, with (VR, start, length) in the place of values
_META = struct.Struct("<HHHH")  # tag, value representation, length


class CutError(Exception):
    """The bytes at hand end before the header does."""


class BrokenError(Exception):
    """The bytes are no DICOM elements, or nested beyond reason."""


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
    start = pos, endian, len(data)
    for layout in _recent:
        if layout.start == start and layout.fits(data):
            elements |= layout.cut(data)
            return layout.mark
    parser, spans = _Parser(data, endian), {}
    try:
        mark = parser.parse(pos, len(data), is_explicit(data, pos), spans, 0)
    finally:
        elements |= _cut(spans, data)
    if mark.tag and mark.value < _MAX_LAYOUT_BYTES:
        _recent.appendleft(_layout(start, parser.begun, spans, mark, data))
    return mark


def parse_meta(data: bytes, pos: int) -> tuple[int, str]:
    """Parses the meta information of a file, which has a byte order of its own.

    Returns:
      Where it ends, and the transfer syntax; empty where it says none.

    Raises:
      CutError: the data end within it.
    """
    read, syntax = _META.unpack_from, b""
    long_vrs = _CODINGS["<"].long_vrs
    while pos + 8 <= len(data):
        group, element, vr, length = read(data, pos)
        if group != 2:
            return pos, syntax.decode("latin-1").strip(" \0")
        value = pos + 8
        if vr in long_vrs:
            if pos + 12 > len(data):
                raise CutError
            length, value = int.from_bytes(data[pos + 8 : pos + 12], "little"), pos + 12
        pos = value + length
        if element == 0x0010:
            syntax = data[value:pos]
    raise CutError


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Where the elements of a header lie, and the first bytes of each: tag, value representation and length."""

    start: tuple[int, str, int]  # where they begin, byte order, bytes at hand
    heads: np.ndarray  # bytes up to the pixel data, zeros but for these
    is_head: np.ndarray  # 255 where they are
    unpack: Callable[[bytes], tuple[bytes, ...]]  # the values of the wanted elements that hold no sequence, all at once
    tags: tuple[int, ...]  # of these
    vrs: tuple[str, ...]
    nested: Spans  # the wanted sequences
    mark: Mark

    def fits(self, data: bytes) -> bool:
        """Whether another header has all of these bytes at these places, and so the same layout."""
        return np.array_equal(np.frombuffer(data, np.uint8, len(self.heads)) & self.is_head, self.heads)

    def cut(self, data: bytes) -> Elements:
        """Cuts the values of the wanted elements from a header that fits."""
        elements: Elements = dict(zip(self.tags, zip(self.vrs, self.unpack(data), strict=True), strict=True))
        return elements | _cut(self.nested, data)


def _layout(
    start: tuple[int, str, int], begun: Sequence[tuple[int, int]], spans: Spans, mark: Mark, data: bytes
) -> _Layout:
    is_head = np.zeros(mark.value, np.uint8)
    for first, end in begun:
        is_head[first:end] = 255
    heads = np.frombuffer(data, np.uint8, mark.value) & is_head
    values = sorted(
        (first, length, tag, vr)
        for tag, span in spans.items()
        if isinstance(span, tuple)
        for vr, first, length in [span]
    )
    text, pos = "<", 0
    for first, length, _, _ in values:
        text, pos = f"{text}{first - pos}x{length}s", first + length
    _, _, tags, vrs = zip(*values, strict=True) if values else ((), (), (), ())
    nested = {tag: span for tag, span in spans.items() if isinstance(span, list)}
    return _Layout(start, heads, is_head, struct.Struct(text).unpack_from, tags, vrs, nested, mark)


_recent: collections.deque[_Layout] = collections.deque(maxlen=64)


def _cut(spans: Spans, data: bytes) -> Elements:
    elements: Elements = {}
    for tag, span in spans.items():
        if isinstance(span, list):
            elements[tag] = [_cut(item, data) for item in span]
        else:
            vr, start, length = span
            elements[tag] = (vr, data[start : start + length])
    return elements


class _Parser:
    """Walks through the elements of one header and notes where each begins."""

    def __init__(self, data: bytes, endian: str) -> None:
        self.data, self.coding = data, _CODINGS[endian]
        self.begun: list[tuple[int, int]] = []  # where each element's first bytes begin and end
        self.items = 0

    def parse(self, pos: int, end: int, explicit: bool, spans: Spans, depth: int) -> Mark:
        """Parses elements until the data end, or up to pixel data or the end of an item."""
        data, coding, begun = self.data, self.coding, self.begun
        wanted, long_vrs = coding.nested if depth else coding.wanted, coding.long_vrs
        read, read_length = (coding.explicit if explicit else coding.implicit).unpack_from, coding.length.unpack_from
        vr, last = 0, end - 8
        while pos <= last:
            start = pos
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
            if pos < _MAX_LAYOUT_BYTES:
                begun.append((start, pos))
            if key in wanted:
                tag = wanted[key]
                if tag not in _KEEP:
                    return Mark(tag, pos, length)
                if tag in _SEQUENCES and (not explicit or vr in coding.sequence_vrs):
                    nested = explicit and vr != coding.unknown
                    spans[tag], pos = self.parse_items(pos, length, nested, depth)
                    continue
                if length != UNDEFINED:
                    if pos + length > end:
                        raise CutError
                    spans[tag] = (coding.names.get(vr, ""), pos, length)
            if length == UNDEFINED:
                _, pos = self.parse_items(pos, length, explicit and vr != coding.unknown, depth)
            else:
                pos += length
        if pos != end:
            raise CutError
        return Mark(0, pos, 0)

    def parse_items(self, pos: int, length: int, explicit: bool, depth: int) -> tuple[list[Spans], int]:
        """Parses a sequence; of an element of unknown type, the items are implicit by definition."""
        if depth > _MAX_DEPTH:
            raise BrokenError
        data, coding = self.data, self.coding
        end = len(data) if length == UNDEFINED else pos + length
        if end > len(data):
            raise CutError
        items: list[Spans] = []
        while pos + 8 <= end:
            key, item_length = coding.implicit.unpack_from(data, pos)
            if pos < _MAX_LAYOUT_BYTES:
                self.begun.append((pos, pos + 8))
            self.items += 1
            pos += 8
            if key == coding.sequence_end:
                return items, pos
            if key != coding.item or self.items > _MAX_ITEMS:
                raise BrokenError
            item_end = end if item_length == UNDEFINED else pos + item_length
            if item_end > end:
                raise CutError
            item: Spans = {}
            delimited = data[pos : pos + 2] in (b"\xfe\xff", b"\xff\xfe")
            item_explicit = explicit and (delimited or is_explicit(data, pos))
            mark = self.parse(pos, item_end, item_explicit, item, depth + 1)
            pos = mark.value if item_length == UNDEFINED else item_end
            items.append(item)
        if pos != end or length == UNDEFINED:
            raise CutError
        return items, pos
