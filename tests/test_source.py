"""Archives are read where they lie, within limits, and nothing but regular files is opened."""

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from tmax_jax.dicom import source
from tmax_jax.dicom.source import open_sources

FILES = {"a/one": b"first" * 50, "b/../../two": b"second", "/abs": b"third"}


def contents(path: Path, wanted: set[str] | None = None) -> dict[str, bytes | str]:
    return {
        opened.source.member: opened.file.read() if opened.file else opened.problem
        for opened in open_sources(path, wanted)
    }


def tar(**links: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return buffer.getvalue()


def zipped(compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("folder/", b"")
        for name, data in FILES.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [zipped(), zipped(zipfile.ZIP_STORED), tar(), gzip.compress(tar()), bz2.compress(tar()), lzma.compress(tar())],
    ids=["zip", "zip stored", "tar", "tar.gz", "tar.bz2", "tar.xz"],
)
def test_every_archive_gives_its_members_and_writes_nothing(tmp_path, data):
    path = tmp_path / "any name"
    path.write_bytes(data)
    assert contents(path) == FILES
    assert contents(path, {"a/one"}) == {"a/one": FILES["a/one"]}
    assert list(tmp_path.iterdir()) == [path]


def test_a_plain_file_and_one_compressed_alone(tmp_path):
    (tmp_path / "plain").write_bytes(b"some bytes")
    assert contents(tmp_path / "plain") == {"": b"some bytes"}
    (tmp_path / "image.gz").write_bytes(gzip.compress(b"some bytes"))
    assert contents(tmp_path / "image.gz") == {"unpacked": b"some bytes"}


def test_links_pipes_and_links_in_archives_are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "t").write_bytes(tar(link="/etc/passwd"))
    for name in ("pipe", "link"):
        assert contents(tmp_path / name) == {"": "not a regular file, not opened"}
    assert contents(tmp_path / "t")["link"] == "not a regular file, not opened"


def test_limits_of_members_sizes_and_ratios_are_kept(tmp_path, monkeypatch):
    path = tmp_path / "z"
    path.write_bytes(zipped())
    monkeypatch.setattr(source, "MAX_MEMBER_BYTES", 10)
    assert contents(path)["a/one"] == "a member of 250 bytes; up to 10 are read"
    assert contents(path)["/abs"] == b"third"
    monkeypatch.setattr(source, "MAX_MEMBERS", 1)
    assert "an archive of more than 1 members" in str(contents(path)[""])
    monkeypatch.setattr(source, "MAX_RATIO", 0.5)
    assert "said to hold" in str(contents(path)["a/one"])


@pytest.mark.parametrize("opener", [gzip, bz2, lzma])
def test_a_damaged_archive_is_named_not_raised(tmp_path, opener):
    path = tmp_path / "cut"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in "abc":
            info = tarfile.TarInfo(name)
            info.size = 50_000
            archive.addfile(info, io.BytesIO(os.urandom(info.size)))
    compressed = opener.compress(buffer.getvalue())
    path.write_bytes(compressed[: len(compressed) // 2])
    assert any("damaged" in str(value) for value in contents(path).values())
    path.write_bytes(zipped()[:150])
    assert "damaged archive" in str(contents(path)[""])


def test_a_name_that_claims_a_gigabyte_takes_no_memory(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**30
    data = info.tobuf(format=tarfile.GNU_FORMAT)
    compressed = io.BytesIO()
    with gzip.open(compressed, "wb", compresslevel=1) as stream:
        stream.write(data)
        for _ in range(2**10):
            stream.write(b"\0" * 2**20)
    (tmp_path / "bomb").write_bytes(compressed.getvalue())
    assert "damaged archive" in str(contents(tmp_path / "bomb"))
    assert peak_memory(tmp_path / "bomb") < 200


@pytest.mark.parametrize("streams", [1, 2])
def test_row_05_an_xz_archive_that_claims_a_huge_dictionary_takes_no_memory(tmp_path, streams):
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**20}]
    small = lzma.compress(tar() if streams == 1 else tar()[:1000], filters=filters)
    at = small.index(bytes([0x21, 0x01, 16])) + 2  # LZMA2, one byte of properties, and in it the dictionary's size
    huge = bytearray(small if streams == 1 else lzma.compress(tar()[1000:], filters=filters))
    huge[at] = 40  # 4 GiB
    header_end = 12 + 4 * (huge[12] + 1)
    huge[header_end - 4 : header_end] = zlib.crc32(huge[12 : header_end - 4]).to_bytes(4, "little")
    path = tmp_path / "huge"
    path.write_bytes(bytes(huge) if streams == 1 else small + b"\0" * 8 + bytes(huge))
    assert "a damaged archive (it asks for too much memory)" in contents(path).values()
    assert peak_memory(path) < 200


def test_an_xz_archive_of_several_streams_is_read_to_its_end(tmp_path):
    data = tar()
    path = tmp_path / "two"
    path.write_bytes(lzma.compress(data[:3000]) + b"\0" * 4 + lzma.compress(data[3000:]))
    assert contents(path) == FILES


def peak_memory(path: Path) -> int:
    """MiB that a process of its own takes at most to read the images of a file."""
    code = (
        "import sys; from pathlib import Path; from tmax_jax.dicom.readers import read_sources;"
        "list(read_sources(Path(sys.argv[1]), 'x')); print(open('/proc/self/status').read())"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    [line] = [line for line in done.stdout.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024
