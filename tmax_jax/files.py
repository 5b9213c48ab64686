"""Files that are there whole or not at all, whoever is killed and however many write them at once."""

import contextlib
import csv
import io
import os
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path


def write_whole(path: Path, content: str | bytes, *, private: bool = False) -> None:
    """Writes a file under a name of its own and gives it its name when all of it is there.

    Of several processes that write the same file at once, the last one's stays.

    Args:
      path: of the file; its folder exists.
      content: bytes, or text to be written as UTF-8.
      private: whether the owner alone may read it.

    Raises:
      OSError: it cannot be written; nothing is left behind, and what was there before still is.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp(), "folds.json")
      >>> write_whole(path, "{}")
      >>> path.read_text(), len(list(path.parent.iterdir()))
      ('{}', 1)
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        mode = 0o600 if private else 0o666  # less what the user's umask takes away
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    r"""Returns a table as CSV; a name with a comma is quoted.

    Example:
      >>> csv_text(["method", "mse"], [["one, two", 1.5]])
      'method,mse\n"one, two",1.5\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
