"""What a finished run leaves: its table, its summary for other programs, and its figures."""

from pathlib import Path

from rich.console import Console

from tmax_jax.results.figures import save_figures
from tmax_jax.results.further import finish_maps
from tmax_jax.results.records import read_run, write_json, write_text
from tmax_jax.results.summary import results_csv, summarise, summary_json
from tmax_jax.results.tables import TRUE_DELAY_NOTE, results_table


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
    true_delay = summarise(run.cases_true_delay)
    summary = summary_json(summaries, run.holdout, data=run.data, true_delay=true_delay)
    write_json(workdir / "summary.json", summary)
    figures = save_figures(workdir)
    other_maps, files = finish_maps(workdir, summaries[0].folds, data=run.data)
    figures = [*figures, *files]
    console.print(results_table(summaries, title=f"{workdir.name}: cross-validation", data=run.data))
    if true_delay:
        write_text(workdir / "results_true_delay.csv", results_csv(true_delay))
        title = f"{workdir.name}: cross-validation, against the true delay"
        console.print(results_table(true_delay, title=title, data=run.data, notes=[TRUE_DELAY_NOTE]))
    if other_maps:
        console.print(other_maps)
    paths = [
        workdir / "results.csv",
        *([workdir / "results_true_delay.csv"] if true_delay else []),
        workdir / "summary.json",
        *figures,
    ]
    console.print("\n".join(f"  {path}" for path in paths), markup=False, highlight=False, soft_wrap=True)
