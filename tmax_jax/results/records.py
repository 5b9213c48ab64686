"""The files of a run folder. Whole files are written under another name and renamed, so none is ever half there."""

import csv
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from tmax_jax.files import csv_text, write_whole
from tmax_jax.metrics import METRICS

COLUMNS = ("method", "fold", "case", *METRICS)  # of cases.csv
TRUE_DELAY = "cases_true_delay.csv"  # the same, scored against the true delay: of simulated patients alone


class RecordError(ValueError):
    """A run folder without the records that were asked for."""


class CaseRow(NamedTuple):
    """One method's scores on one patient."""

    method: str  # the model's name, or a trivial row such as "predict zero"
    fold: int
    case: str
    scores: Mapping[str, float]  # by the names of `METRICS`; NaN where a metric is undefined


@dataclasses.dataclass(frozen=True)
class Run:
    """What a finished run folder says about its model."""

    folder: Path
    data: str  # "phantom", "real" or "mixed"
    folds_sha256: str
    cases: list[CaseRow]  # of the validation patients of all folds
    holdout: list[CaseRow]
    cases_true_delay: list[CaseRow]  # the validation patients against the true delay; none where it is not known


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all; of a job of several processes, the first alone does."""
    if not _is_writer():
        return
    write_whole(path, text)


def _is_writer() -> bool:
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def write_json(path: Path, value: Any) -> None:
    """Writes a value as indented JSON."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Adds one line of JSON; of a job of several processes, the first alone does."""
    if not _is_writer():
        return
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def read_json(path: Path) -> Any:
    """Reads what `write_json` wrote.

    Raises:
      RecordError: there is no such file, or it is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise RecordError(f"{path} is not there: not a run folder, or one that has not started") from error
    except json.JSONDecodeError as error:
        raise RecordError(f"{path} is damaged ({error}); restore it or start in another --workdir") from error


def read_records(path: Path) -> list[dict[str, Any]]:
    """Reads lines of JSON; none where there is no file. A last line that a kill cut off is left out.

    Raises:
      RecordError: a line before the last is damaged.
    """
    records = []
    lines = path.read_text().splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise RecordError(f"{path}, line {number} of {len(lines)} is damaged; delete that line") from error
    return records


def keep_records(path: Path, last_epoch: int) -> None:
    """Drops the records after an epoch: those whose checkpoint was never written."""
    if path.exists():
        kept = [record for record in read_records(path) if record["epoch"] <= last_epoch]
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))


def write_cases(path: Path, rows: list[CaseRow]) -> None:
    """Writes one row a method and patient, with a column for each of `METRICS`."""
    lines = [[row.method, row.fold, row.case, *(row.scores[name] for name in METRICS)] for row in rows]
    write_text(path, csv_text(COLUMNS, lines))


def read_cases(path: Path) -> list[CaseRow]:
    """Reads what `write_cases` wrote.

    Raises:
      RecordError: there is no such file, or it has other columns.
    """
    if not path.exists():
        raise RecordError(f"{path} is not there: this fold has not finished; run the same command again to go on")
    with path.open(newline="") as file:
        header, *rows = [*csv.reader(file)] or [[]]
    if tuple(header) != COLUMNS:
        lacking = ", ".join(name for name in COLUMNS if name not in header) or "none"
        unknown = ", ".join(name for name in header if name not in COLUMNS) or "none"
        raise RecordError(
            f"{path} was written by another version: missing columns: {lacking}; unknown columns: {unknown}."
            " Delete it and run the command again: it is made anew from the checkpoint"
        )
    return [
        CaseRow(method, int(fold), case, dict(zip(METRICS, map(float, scores), strict=True)))
        for method, fold, case, *scores in rows
    ]


def read_failures(folder: Path) -> dict[str, str]:
    """Returns why parts of a run of a sweep have no scores, by the part's folder; empty where none failed."""
    return {path.parent.name: read_json(path)["reason"] for path in sorted(folder.glob("*/failure.json"))}


def read_run(folder: Path) -> Run:
    """Reads the rows of a finished run and checks that each method was scored on each patient of each fold.

    Args:
      folder: of one run.

    Returns:
      Its rows and where they come from.

    Raises:
      RecordError: not a run folder, not finished, or rows that do not belong to its folds.
    """
    folds_file = folder / "folds.json"
    if not folds_file.exists():
        raise RecordError(f"{folder} is not a run folder (no folds.json); name one that tmax_jax.main wrote")
    folds = read_json(folds_file)
    expected = [*folds["validation"], [folds["holdout"]]]
    names = [f"fold-{index}" for index in range(len(folds["validation"]))] + ["final"]
    missing = [f"{name}/cases.csv" for name in names if not (folder / name / "cases.csv").exists()]
    if missing:
        raise RecordError(f"{folder} is not finished (no {', '.join(missing)}); run its command again to go on")
    *fold_parts, holdout = _read_parts(folder, names, expected, "cases.csv")
    known = all((folder / name / TRUE_DELAY).exists() for name in names)
    delay_parts = _read_parts(folder, names, expected, TRUE_DELAY)[:-1] if known else []
    data = read_json(folder / "environment.json")["data"]
    cases, cases_true_delay = ([row for part in parts for row in part] for parts in (fold_parts, delay_parts))
    return Run(folder, data, folds["sha256"], cases, holdout, cases_true_delay)


def _read_parts(
    folder: Path, names: Sequence[str], expected: Sequence[Sequence[str]], file: str
) -> list[list[CaseRow]]:
    """Reads one file of each fold and of the final fit, and checks whose rows it holds."""
    parts = [read_cases(folder / name / file) for name in names]
    for index, (name, wanted, rows) in enumerate(zip(names, expected, parts, strict=True)):
        keys = sorted((row.method, row.fold, row.case) for row in rows)
        if not rows or keys != sorted(
            (method, index, case) for method in {row.method for row in rows} for case in wanted
        ):
            raise RecordError(
                f"{folder}/{name}/{file} does not hold one row a method for each of the {len(wanted)} patients"
                f" that folds.json gives it; delete {name} and run the command again"
            )
    return parts
