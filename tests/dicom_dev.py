"""The real scans that tests read, where they are at hand: unpacked once a test session."""

import functools
import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest

ARCHIVE = Path(__file__).parents[2] / "shared" / "data" / "dicom-dev.tar.xz"


@functools.cache
def _unpacked() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder.name, filter="data")
    return folder


def scan(name: str) -> tuple[Path, dict[str, Any]]:
    """Returns the folder of a scan's files and its reference, or skips the test."""
    if not ARCHIVE.exists():
        pytest.skip(f"the real scans are not at {ARCHIVE.name}; this test needs them")
    folder = next(Path(_unpacked().name).glob(f"**/{name}"))
    return folder / "dicom", json.loads((folder / "REFERENCE.json").read_text())
