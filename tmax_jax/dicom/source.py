"""Files, and the members of archives, opened one after the other and never unpacked to disk.

An archive is read as it lies: its members are streamed in order, each into memory up to a limit, and their names are
only names. What is not a regular file is never opened.
"""

import bz2
import dataclasses
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

MAX_MEMBERS = 200_000  # of an archive
MAX_MEMBER_BYTES = 2**28  # of one member, unpacked
MAX_TOTAL_BYTES = 2**37  # of all members
MAX_RATIO = 1100  # unpacked to packed: what deflate can reach, so that only lying headers go beyond
_MAX_TAR_HEADER = 2**20  # of a member's name and attributes
_MAX_XZ_BYTES = 2**27  # of memory that unpacking may take; `xz -9` needs half of it
_CHUNK = 2**16  # packed bytes read at a time
_TAR_MAGIC = slice(257, 262)
_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
)


class Source(NamedTuple):
    """Where the bytes of a DICOM object are."""

    path: str
    member: str = ""  # of the archive at `path`; empty for a file of its own


@dataclasses.dataclass(frozen=True)
class Opened:
    """A source at its start, or why it was not opened."""

    source: Source
    size: int
    file: BinaryIO | None
    problem: str = ""


def open_sources(path: str | Path, wanted: Collection[str] | None = None) -> Iterator[Opened]:
    """Opens a file, or the members of an archive one after the other.

    Args:
      path: of a file of any kind.
      wanted: names of the members to open; all by default.

    Yields:
      What was opened; each is closed when the next is asked for.

    Example:
      `[opened.source.member for opened in open_sources(Path("export.zip"))]`
    """
    path = os.fspath(path)
    found, source = os.lstat(path), Source(path)
    if not stat.S_ISREG(found.st_mode):
        yield Opened(source, 0, None, "not a regular file, not opened")
        return
    with open(path, "rb", buffering=0) as file:
        magic = file.read(512)
        file.seek(0)
        members = _members(file, magic, wanted)
        if members is None:
            yield Opened(source, found.st_size, file)
            return
        total = 0
        try:
            for number, (name, size, read, problem) in enumerate(members):
                total += size
                if number >= MAX_MEMBERS or total > MAX_TOTAL_BYTES:
                    yield Opened(
                        source, 0, None, f"an archive of more than {MAX_MEMBERS} members or {MAX_TOTAL_BYTES} bytes"
                    )
                    return
                if wanted is not None and name not in wanted:
                    continue
                yield _open_member(Source(path, name), size, read, problem)
        except _DAMAGED as error:
            why = "it asks for too much memory" if "Memory usage limit" in str(error) else type(error).__name__
            yield Opened(source, 0, None, f"a damaged archive ({why})")


Member = tuple[str, int, Callable[[], BinaryIO | None], str]  # name, size, how to open, why not to


def _open_member(source: Source, size: int, read: Callable[[], BinaryIO | None], problem: str) -> Opened:
    if not problem and size > MAX_MEMBER_BYTES:
        problem = f"a member of {size} bytes; up to {MAX_MEMBER_BYTES} are read"
    if problem:
        return Opened(source, 0, None, problem)
    try:
        stream = read()
        data = stream.read(size + 1) if stream else b""
    except _DAMAGED as error:
        return Opened(source, 0, None, f"a damaged member of an archive ({type(error).__name__})")
    return Opened(source, len(data), io.BytesIO(data))


def _members(file: BinaryIO, magic: bytes, wanted: Collection[str] | None) -> Iterator[Member] | None:
    if magic[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _zip_members(file, wanted)
    for start, opener in _COMPRESSED.items():
        if magic.startswith(start):
            return _unpacked_members(opener(file, "rb"))
    if magic[_TAR_MAGIC] == b"ustar":
        return _tar_members(_Bounded(file))
    return None


def _zip_members(file: BinaryIO, wanted: Collection[str] | None) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            problem = ""
            if info.flag_bits & 1:
                problem = "encrypted"
            elif info.file_size > MAX_RATIO * max(info.compress_size, 1):
                problem = f"{info.compress_size} bytes said to hold {info.file_size}"
            if wanted is None or info.filename in wanted:
                yield info.filename, info.file_size, lambda info=info: archive.open(info), problem  # pyright: ignore[reportReturnType] (readable)


def _unpacked_members(file: BinaryIO) -> Iterator[Member]:
    """Reads what a compressed file holds: an archive, or a file of its own."""
    start = file.read(512)
    file.seek(0)
    if start[_TAR_MAGIC] == b"ustar":
        yield from _tar_members(_Bounded(file))
    else:
        yield "unpacked", MAX_MEMBER_BYTES, lambda: file, ""


def _tar_members(file: "_Bounded") -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode="r:") as archive:  # pyright: ignore[reportCallIssue, reportArgumentType] (read, seek and tell are all it needs)
        for info in archive:
            if info.isdir():
                continue
            problem = "" if info.isreg() and info.sparse is None else "not a regular file, not opened"
            yield info.name, info.size, lambda info=info: archive.extractfile(info), problem  # pyright: ignore[reportReturnType] (readable)
            archive.members = []  # pyright: ignore[reportAttributeAccessIssue] (the list grows without end)


class _Bounded:
    """A stream that refuses to read more at a time than a member may have.

    tarfile reads a member's long name or attributes whole, whatever length the archive claims for them.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_MEMBER_BYTES:
            raise tarfile.ReadError(f"a member of {size} bytes")
        return self.file.read(size)


class _Xz:
    """An xz file as it was before; unlike Python's own reader it refuses what would take too much memory to unpack.

    A file of a few bytes may claim a dictionary of gigabytes, in any of its streams and blocks.
    """

    def __init__(self, file: BinaryIO, mode: str) -> None:
        del mode  # always read, and bytes
        self.file, self.close = file, file.close
        self._begin(b"")

    def _begin(self, packed: bytes) -> None:
        self.unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_BYTES)
        self.packed = packed
        self.place = 0

    def tell(self) -> int:
        return self.place

    def seek(self, place: int) -> int:
        if place < self.place:
            self.file.seek(0)
            self._begin(b"")
        while self.place < place and self.read(min(place - self.place, _CHUNK)):
            pass
        return self.place

    def read(self, size: int) -> bytes:
        parts = []
        while size > 0 and (part := self._some(size)):
            parts.append(part)
            size -= len(part)
            self.place += len(part)
        return b"".join(parts)

    def _some(self, size: int) -> bytes:
        """Unpacks at most so many bytes; none at the end."""
        while True:
            if self.unpacker.eof:  # zeros, and then perhaps another stream
                packed = self.unpacker.unused_data or self.file.read(_CHUNK)
                while packed and not (packed := packed.lstrip(b"\0")):
                    packed = self.file.read(_CHUNK)
                if not packed:
                    return b""
                place = self.place
                self._begin(packed)
                self.place = place
            elif self.unpacker.needs_input and not self.packed:
                self.packed = self.file.read(_CHUNK)
                if not self.packed:
                    raise EOFError
            part, self.packed = self.unpacker.decompress(self.packed, size), b""
            if part:
                return part


_COMPRESSED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": _Xz}
