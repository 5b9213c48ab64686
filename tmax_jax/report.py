"""Prints one table over one or more finished runs.

Each run gives a row for its model; the rows that need no training (predict zero, predict the training mean, time to
peak, the classical methods) follow once a cohort. Spreads are over folds and over patients. Where the patients are
simulated and their true delay is known, a second table scores the same maps against it.

  python -m tmax_jax.report runs/two_layer runs/unet
  python -m tmax_jax.report runs/two_layer runs/unet --out=report.csv
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tmax_jax import cli
from tmax_jax.results.records import RecordError, write_text
from tmax_jax.results.summary import results_csv, summarise_runs
from tmax_jax.results.tables import TRUE_DELAY_NOTE, results_table

_OUT = flags.DEFINE_string(
    "out", "", "CSV file to write the table to as well, with all spreads; none when empty.", allow_override=True
)


def main(arguments: Sequence[str]) -> None:
    """Prints the table of the run folders named after the program."""
    folders = [Path(argument) for argument in arguments[1:]]
    if not folders:
        raise RecordError("name one or more run folders: python -m tmax_jax.report runs/NAME ... [--out=report.csv]")
    comparison = summarise_runs(folders)
    title = "Cross-validation of " + ", ".join(dict.fromkeys(folder.name for folder in folders))
    table = results_table(comparison.summaries, title=title, data=comparison.data, notes=comparison.notes)
    console = cli.make_console()
    console.print(table)
    delayed = summarise_runs(folders, true_delay=True)
    if delayed.summaries:
        notes = [*delayed.notes, TRUE_DELAY_NOTE]
        title += ", against the true delay"
        console.print(results_table(delayed.summaries, title=title, data=delayed.data, notes=notes))
    if _OUT.value:
        out = Path(_OUT.value)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, results_csv(comparison.summaries))
        console.print(f"written: {out}", markup=False)


if __name__ == "__main__":
    cli.run(main, RecordError, positional=True)
