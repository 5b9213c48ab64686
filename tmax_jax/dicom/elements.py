"""The wanted elements of a DICOM header, decoded when they are asked for.

A perfusion series has thousands of files, their headers hundreds of elements each, of which some fifty are wanted.
`parser.py` finds their bytes; building an object for each would cost more than everything else of a conversion.
"""

import functools
import math
import struct
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes

from tmax_jax.dicom.tags import WANTED

_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_NUMERIC = frozenset((*_BINARY, "DS", "IS"))
_MAX_REMEMBERED = 256  # bytes of a value

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
