"""What a finished run leaves: its table, its summary for other programs, and its figures."""

from pathlib import Path

from rich.console import Console

from tmax_jax.results.figures import save_figures
from tmax_jax.results.records import read_run, write_json, write_text
from tmax_jax.results.summary import results_csv, summarise, summary_json
from tmax_jax.results.tables import results_table


def finish(workdir: Path, console: Console) -> None:
    """Makes `results.csv`, `summary.json` and the figures from a run's records, and prints the table.

    Args:
      workdir: folder of a run whose folds and final fit are done. Made again from the same records, the files are
        the same.
      console: for the table and the paths.

    Raises:
      RecordError: the run is not finished.
    """
    run = read_run(workdir)
    summaries = summarise(run.cases)
    write_text(workdir / "results.csv", results_csv(summaries))
    write_json(workdir / "summary.json", summary_json(summaries, run.holdout, data=run.data))
    figures = save_figures(workdir)
    console.print(results_table(summaries, title=f"{workdir.name}: cross-validation", data=run.data))
    paths = [workdir / "results.csv", workdir / "summary.json", *figures]
    console.print("\n".join(f"  {path}" for path in paths), markup=False, highlight=False, soft_wrap=True)
