"""What a person sees while a network trains."""

from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LINES = 5  # of a fit, where there is no terminal


class FitProgress:
    """A bar of one fit's steps with epoch, loss and time left; a few lines a fit where there is no terminal."""

    def __init__(self, console: Console, name: str, first_epoch: int, epochs: int, steps_an_epoch: int) -> None:
        self._console = console
        self._title = name if name == "final" else f"fold {name}"
        self._epochs = epochs
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(
            self._describe(first_epoch, ""), total=epochs * steps_an_epoch, completed=first_epoch * steps_an_epoch
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def step(self) -> None:
        """Counts one step."""
        self._progress.advance(self._task)

    def epoch(self, record: dict[str, Any]) -> None:
        """Shows the scores of an epoch."""
        scores = f"loss {record['train_loss']:.4g}"
        if "mse_brain_s2" in record:
            scores += f" · validation MSE {record['mse_brain_s2']:.3g} s²"
        text = self._describe(record["epoch"], scores)
        self._progress.update(self._task, description=text)
        every = max(1, self._epochs // _LINES)
        if not self._console.is_terminal and (record["epoch"] % every == 0 or record["epoch"] == self._epochs):
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _describe(self, epoch: int, scores: str) -> str:
        return f"{self._title} · epoch {epoch}/{self._epochs}" + (f" · {scores}" if scores else "")
