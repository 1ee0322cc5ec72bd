"""The figures of a run as it goes: in the terminal, in CSV tables, and in event files for TensorBoard."""

import csv
import io
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import jax
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from tensorboardX import SummaryWriter

from btbnet_jax.writing import write_whole


class Journal:
    """Tables "<name>.csv" in a folder, a row for each step that something is written at.

    Args:
      folder: of the run.
      step: that the run goes on from; rows of later steps, which an interrupted run left, are dropped.  Tables
        of others, which have no steps, are left alone.
    """

    def __init__(self, folder: Path, *, step: int = 0) -> None:
        self._folder = folder
        for path in folder.glob("*.csv"):
            with path.open(newline="") as file:
                columns, *rows = list(csv.reader(file)) or [[]]
            if columns[:1] == ["step"]:
                whole = [row for row in rows if len(row) == len(columns) and row[0].isdecimal()]  # not cut short
                _write(path, [columns, *(row for row in whole if int(row[0]) <= step)])
        self._events = SummaryWriter(str(folder / "events"), purge_step=step + 1)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.close()

    def write(self, name: str, step: int, values: Mapping[str, float]) -> None:
        """Adds a row to a table, and its values to the event file as "<name>/<column>".

        Args:
          name: of the table; all its rows have the same columns.
          step: number of updates so far.
          values: by column.
        """
        path = self._folder / f"{name}.csv"
        row = {"step": step} | {column: f"{value:.6g}" for column, value in values.items()}
        new = not path.exists() or not path.stat().st_size
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)
        for column, value in values.items():
            self._events.add_scalar(f"{name}/{column}", value, step)
        self._events.flush()


class RunLog:
    """What a training run says of itself: a bar with rate and time left, lines, and a journal.

    Figures of single steps stay on their device until their means are written, so that no step waits for them.

    Args:
      folder: of the run.
      step: that it goes on from.
      num_steps: that it has in all.
      batch_size: images of a step.
      quiet: say and write nothing, as another process does it.
    """

    def __init__(self, folder: Path, *, step: int, num_steps: int, batch_size: int, quiet: bool = False) -> None:
        self._folder, self._batch_size = folder, batch_size
        self._journal = None if quiet else Journal(folder, step=step)
        self._progress = Progress(
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            "{task.fields[rate]:.2f} images/s, left",
            TimeRemainingColumn(),
            speed_estimate_period=600,
            disable=quiet,
        )
        self._task = self._progress.add_task("training", total=num_steps, completed=step, rate=0.0)
        self._pending: dict[int, Mapping[str, jax.Array]] = {}
        self._start_clock()

    def __enter__(self) -> "RunLog":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if self._journal is not None:
            self._journal.__exit__(kind, error, trace)

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        if self._journal is not None:
            self._progress.console.print(text, soft_wrap=True, markup=False, highlight=False)

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Counts the time within as waited for data."""
        start = time.perf_counter()
        yield
        self._waited += time.perf_counter() - start

    @contextmanager
    def off_the_clock(self) -> Iterator[None]:
        """Leaves the time within out of the rate of training."""
        start = time.perf_counter()
        yield
        self._started += time.perf_counter() - start

    def add(self, step: int, figures: Mapping[str, jax.Array]) -> None:
        """Takes the figures of a step that has been started."""
        self._pending[step] = figures
        self._progress.update(self._task, completed=step)

    def write_means(self) -> None:
        """Writes the means over the steps since the last call, if there are any, as a row of "training.csv".

        Raises:
          FloatingPointError: the loss or its gradient was not finite at some of these steps.
        """
        if not self._pending:
            return
        steps, figures = list(self._pending), jax.device_get(list(self._pending.values()))
        # A finite loss can have a gradient that is not, and the parameters of this step would be saved with it.
        finite = [np.isfinite([row["loss"], row["gradient_norm"]]).all() for row in figures]
        if bad := [str(step) for step, good in zip(steps, finite, strict=True) if not good]:
            raise FloatingPointError(
                f"the loss or its gradient is not finite at steps {', '.join(bad[:10])}; what {self._folder} saved "
                "before is still good. A lower learning rate, a longer warm-up or clipped gradients may help."
            )
        means = {name: float(np.mean([row[name] for row in figures])) for name in figures[0]}
        seconds = time.perf_counter() - self._started
        rate = len(steps) * self._batch_size / seconds
        self.write(
            "training", steps[-1], means | {"images_per_second": rate, "share_waiting_for_data": self._waited / seconds}
        )
        self.say(f"step {steps[-1]}: loss {means['loss']:.4f}, {rate:.2f} images/s")
        self._progress.update(self._task, rate=rate)
        self._pending = {}
        self._start_clock()

    def write(self, name: str, step: int, values: Mapping[str, float]) -> None:
        """Adds a row to the journal, see `Journal.write`."""
        if self._journal is not None:
            self._journal.write(name, step, values)

    def _start_clock(self) -> None:
        self._started, self._waited = time.perf_counter(), 0.0


def _write(path: Path, rows: list[list[str]]) -> None:
    """Replaces the table in one step, so that whoever is interrupted here loses none of it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_whole(path, text.getvalue().encode())
