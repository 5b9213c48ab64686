"""Cross-validation by patient: folds that are drawn once, written, and verified at every read."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tmax_jax.files import write_whole


class FoldError(ValueError):
    """Folds that cannot be made or that do not belong to the cohort."""


@dataclasses.dataclass(frozen=True)
class Folds:
    """Which patient is validated in which fold, and who is held out of all of them."""

    seed: int
    holdout: str
    validation: tuple[tuple[str, ...], ...]  # one tuple of case ids a fold

    @property
    def training_cases(self) -> tuple[str, ...]:
        """All cases but the holdout, sorted."""
        return tuple(sorted(case for fold in self.validation for case in fold))

    def split(self, fold: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Returns (training, validation) case ids of one fold."""
        held = self.validation[fold]
        return tuple(case for case in self.training_cases if case not in held), held


def make_folds(case_ids: Sequence[str], *, folds: int, seed: int, holdout: str = "") -> Folds:
    """Draws a holdout and splits the other patients into folds of nearly equal size.

    Args:
      case_ids: one id a patient.
      folds: number of folds.
      seed: of the draw.
      holdout: the id to hold out; drawn when empty.

    Returns:
      The folds. With 45 patients and 6 folds: one holdout, and 8, 8, 7, 7, 7, 7 validated.

    Raises:
      FoldError: an id twice, an unknown holdout, fewer than 2 folds, or fewer patients than folds + 1.

    Example:
      >>> make_folds(["a", "b", "c", "d", "e"], folds=2, seed=0, holdout="c").training_cases
      ('a', 'b', 'd', 'e')
    """
    if len(set(case_ids)) != len(case_ids):
        twice = sorted({case for case in case_ids if list(case_ids).count(case) > 1})
        raise FoldError(f"the cohort names {', '.join(twice)} more than once; a patient must be one case")
    if folds < 2 or len(case_ids) < folds + 1:
        raise FoldError(
            f"{folds} folds and a holdout need at least {max(folds, 2) + 1} patients and 2 folds; the cohort has"
            f" {len(case_ids)}. Convert more patients or set --config.folds to {max(2, len(case_ids) - 1)} or fewer."
        )
    if holdout and holdout not in case_ids:
        raise FoldError(f"the holdout {holdout!r} is not in the cohort; choose one of {', '.join(sorted(case_ids))}")
    order = [str(case) for case in np.random.default_rng(seed).permutation(sorted(case_ids))]
    holdout = holdout or order[0]
    order.remove(holdout)
    parts = np.array_split(np.asarray(order), folds)
    return Folds(seed, holdout, tuple(tuple(sorted(map(str, part))) for part in parts))


def _digest(folds: Folds) -> str:
    return hashlib.sha256(json.dumps(dataclasses.asdict(folds), sort_keys=True).encode()).hexdigest()


def write_folds(path: Path, folds: Folds) -> None:
    """Writes the folds with their hash, atomically."""
    text = json.dumps(dataclasses.asdict(folds) | {"sha256": _digest(folds)}, indent=1)
    write_whole(path, text + "\n")


def read_folds(path: Path, case_ids: Sequence[str]) -> Folds:
    """Reads folds and checks that they are whole and belong to this cohort.

    Args:
      path: of the file that `write_folds` wrote.
      case_ids: the cohort's.

    Returns:
      The folds.

    Raises:
      FoldError: the file was edited or is damaged, a patient is in two folds, or the cohort has other patients.
    """
    try:
        record = json.loads(path.read_text())
        folds = Folds(record["seed"], record["holdout"], tuple(tuple(part) for part in record["validation"]))
        written = record["sha256"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise FoldError(f"{path} is not a folds file ({error}); start in another --workdir") from error
    everyone = [*folds.training_cases, folds.holdout]
    if _digest(folds) != written or len(set(everyone)) != len(everyone):
        raise FoldError(f"{path} was changed after it was written; restore it or start in another --workdir")
    if set(everyone) != set(case_ids):
        gone, new = sorted(set(everyone) - set(case_ids)), sorted(set(case_ids) - set(everyone))
        raise FoldError(
            f"the cohort is not the one that {path} was made for: {len(gone)} cases are gone ({', '.join(gone[:5])})"
            f" and {len(new)} are new ({', '.join(new[:5])}); start in another --workdir to use the new cohort"
        )
    return folds
