"""Compares the ratios that the benchmarks left with the committed ones; fails where one has fallen by a fifth.

  python -m benchmarks.pointwise && python -m benchmarks.unet && python -m benchmarks.table1
  python -m benchmarks.check
  python -m benchmarks.check --accept          commit what was measured: writes benchmarks/ratios.json

A ratio says how many times as fast as another side ours is, in one run; times depend on the machine and are not kept.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from benchmarks.alternate import RATIOS

_ACCEPT = flags.DEFINE_boolean("accept", False, "take the measured ratios for the committed ones")
COMMITTED = Path(__file__).with_name("ratios.json")
_LOSS = 0.2  # of a ratio, that is put down to the machine


def lost(committed: dict[str, float], measured: dict[str, float]) -> list[str]:
    """Returns a line for each ratio that fell too far.

    Example:
      >>> lost({"step: torch": 2.0, "step: keras": 3.0, "other": 1.0}, {"step: torch": 1.5, "step: keras": 2.5})
      ['step: torch: 1.50, committed 2.00']
    """
    return [
        f"{name}: {measured[name]:.2f}, committed {before:.2f}"
        for name, before in committed.items()
        if name in measured and measured[name] < (1 - _LOSS) * before
    ]


def compare(*, accept: bool) -> None:
    """Prints both and exits with 1 where one was lost; with `accept` takes what was measured for the committed."""
    measured: dict[str, float] = {}
    for path in sorted(RATIOS.glob("*.json")):
        measured |= json.loads(path.read_text())
    if not measured:
        sys.exit(f"error: {RATIOS} holds no ratios; run a benchmark first, e.g. python -m benchmarks.pointwise")
    committed = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {}
    if accept:
        COMMITTED.write_text(json.dumps(committed | measured, indent=1, sort_keys=True) + "\n")
    for name, ratio in sorted(measured.items()):
        print(f"{name:60s}{ratio:8.2f}   committed {committed.get(name, float('nan')):.2f}")
    not_run = sorted(set(committed) - set(measured))
    if not_run:
        print(f"not measured here: {', '.join(not_run)}")
    if not accept and (losses := lost(committed, measured)):
        sys.exit("error: lost more than a fifth\n  " + "\n  ".join(losses))


def main(_: Sequence[str]) -> None:
    """Reads the flag."""
    compare(accept=_ACCEPT.value)


if __name__ == "__main__":
    app.run(main)
