"""Compressed pixels, decoded in a process of their own.

Decoders are C and C++ libraries that a damaged image can abort, or make claim all memory. Here that ends a helper
process with a limit on its memory, and the image counts as damaged. RLE is decoded by pydicom in Python.
"""

import atexit
import contextlib
import io
import pickle
import resource
import select
import struct
import subprocess
import sys
import warnings
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.config import disable_value_validation
from pydicom.pixels.utils import pixel_array

_MEMORY_BYTES = 3 * 2**29  # address space of the helper, of which its libraries take about a third
_TIMEOUT_S = 60.0  # for one image
_TAGS: list[Any] = [
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "PixelData",
]


class DecodeError(Exception):
    """Why an image has no pixels: "missing" or "unknown" decoder, "died" or "broken"."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def decode_frame(data: str | bytes, index: int, *, isolated: bool = True) -> np.ndarray:
    """Decodes one frame of a compressed object.

    Args:
      data: path of a file, or its bytes.
      index: of the frame.
      isolated: in the helper process, which RLE does not need.

    Returns:
      Stored values `[row, column]`.

    Raises:
      DecodeError: the kind of problem.
    """
    if not isolated:
        return _decode(data, index)
    global _helper
    if _helper is None:
        _helper = _start()
    try:
        _send(_helper.stdin, (data, index))
        result = _receive(_helper.stdout, _TIMEOUT_S)
    except (OSError, EOFError):
        stop_helper()
        raise DecodeError("died") from None
    if isinstance(result, str):
        raise DecodeError(result)
    return result


_helper: subprocess.Popen[bytes] | None = None


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tmax_jax.dicom.decode"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def stop_helper() -> None:
    """Ends the helper process; the next image starts another."""
    global _helper
    if _helper is not None:
        _helper.kill()
        with contextlib.suppress(OSError):  # what could not be sent to the dead
            _helper.communicate()
    _helper = None


atexit.register(stop_helper)


def _decode(data: str | bytes, index: int) -> np.ndarray:
    try:
        with warnings.catch_warnings(), disable_value_validation():
            warnings.simplefilter("ignore")  # what is odd about the file is said by its reader
            file = data if isinstance(data, str) else io.BytesIO(data)
            dataset = pydicom.dcmread(file, force=True, specific_tags=_TAGS)
            return pixel_array(dataset, raw=True, index=index)
    except NotImplementedError:
        raise DecodeError("unknown") from None
    except RuntimeError as error:
        raise DecodeError("missing" if "missing dependencies" in str(error) else "broken") from error
    except Exception as error:  # decoders raise nearly anything on noise
        raise DecodeError("broken") from error


def _send(stream: Any, content: Any) -> None:
    text = pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(struct.pack("<Q", len(text)) + text)
    stream.flush()


def _receive(stream: Any, timeout_s: float | None = None) -> Any:
    if timeout_s is not None and not select.select([stream], [], [], timeout_s)[0]:
        raise EOFError
    length = stream.read(8)
    if len(length) < 8:
        raise EOFError
    text = stream.read(struct.unpack("<Q", length)[0])
    return pickle.loads(text)


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            data, index = _receive(requests)
        except EOFError:
            return
        try:
            answer = _decode(data, index)
        except DecodeError as error:
            answer = error.kind
        _send(answers, answer)


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
