"""How every entry point starts and how it fails: with one sentence, never with a traceback for the user.

Flags that several entry points share (`--out`, `--workers`) are defined with `allow_override`, so that one process may
import them all.
"""

import sys
import time
from collections.abc import Callable, Sequence

from absl import app, flags, logging
from rich.console import Console

STARTED_S = time.perf_counter()  # of the program, but for what it imports before this


def run(main: Callable[[Sequence[str]], object], *errors: type[Exception], positional: bool = False) -> None:
    """Parses the flags, calls `main` and turns the project's own errors into one line and exit status 1.

    Args:
      main: the entry point's function of the arguments that are left after the flags.
      *errors: exception types whose message is written for the user. Any other exception is a defect of
        the program and keeps its traceback.
      positional: whether arguments without a flag are wanted, in `main`'s arguments from the second on.

    Example:
      `if __name__ == "__main__": cli.run(main, CohortError)`
    """

    def guarded(arguments: Sequence[str]) -> object:
        if len(arguments) > 1 and not positional:
            sys.exit(f"error: unexpected argument {arguments[1]!r}; every option is a flag, --name=value")
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # libraries tell every file that they write
        try:
            return main(arguments)
        except errors as error:
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            sys.exit("interrupted")

    app.run(guarded)


def make_console() -> Console:
    """Returns the console that a command prints to: as wide as the terminal; a file or a pipe gets 120 columns."""
    return Console(width=None if sys.stdout.isatty() else 120)
