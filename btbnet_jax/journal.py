"""The figures of a run as it goes: CSV tables, and event files for TensorBoard."""

import csv
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tensorboardX import SummaryWriter


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
                _write(path, [columns, *(row for row in rows if int(row[0]) <= step)])
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


def _write(path: Path, rows: list[list[str]]) -> None:
    """Replaces the table in one step, so that whoever is interrupted here loses none of it."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    unfinished.replace(path)
