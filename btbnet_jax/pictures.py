"""Many photographs: found in files, folders and lists, each with the name of its result; read ahead, written behind."""

import csv
import glob
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import NamedTuple, TypeVar

from btbnet_jax.images import PHOTOGRAPH_SUFFIXES, RAW_SUFFIXES

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Found(NamedTuple):
    """A picture to work on.

    Attributes:
      path: of the file.
      inside: its path within the folder that was named, or its file name alone.
    """

    path: Path
    inside: Path


def find_pictures(inputs: Iterable[str], *, results: Path | None = None) -> tuple[list[Found], list[str], list[str]]:
    """Returns the pictures of files, folders and patterns, each once, what is wrong with the inputs, and notes.

    In folders, at any depth, files count by their suffix; a file that is named itself counts whatever it is called.
    A folder that is reached again, by a symbolic link, is left out.

    Args:
      inputs: paths, or patterns with ``*``, ``?``, ``[]`` and ``**`` where no file has that name.
      results: folder for what is made of them, which is left out where it is within one that is named.

    Raises:
      ValueError: it is itself one that is named.
    """
    found: dict[Path, Found] = {}
    problems, notes = [], []
    for text in inputs:
        matches = [text] if os.path.lexists(text) else sorted(glob.glob(text, recursive=True))  # noqa: PTH207
        paths = [Path(match) for match in matches]
        named, at_paths = set(paths), [picture for path in paths for picture in _pictures_at(path, results)]
        pictures = [one for one in at_paths if one.path in named or one.path.suffix.lower() not in RAW_SUFFIXES]
        if not paths:
            problems.append(f"{text}: there is no such file or folder")
        elif not pictures:
            problems.append(f"{text}: no pictures in it; their names end in {', '.join(PHOTOGRAPH_SUFFIXES)}")
        if raw := len(at_paths) - len(pictures):
            what_to_do = "develop them first, and save them as TIFF or JPEG"
            notes.append(f"{text}: raw photographs left out, {raw} of them: {what_to_do}")
        for picture in pictures:
            found.setdefault(Path(os.path.abspath(picture.path)), picture)  # noqa: PTH100 a link is a picture of its own
    return list(found.values()), problems, notes


def _pictures_at(path: Path, results: Path | None) -> list[Found]:
    """A file, or those in a folder that are called as pictures or raw photographs are."""
    if not path.is_dir():
        return [Found(path, Path(path.name))]
    if results and path.resolve() == results.resolve():
        raise ValueError(
            f"{path} is searched for photographs, and what is written there would be taken for some: give "
            "another folder for the results (--output)"
        )
    pictures, seen = [], {results.resolve()} if results else set[Path]()
    for folder, subfolders, files in os.walk(path, followlinks=True):
        here = Path(folder)
        seen.add(here.resolve())
        subfolders[:] = sorted(name for name in subfolders if (here / name).resolve() not in seen)
        pictures += [
            Found(here / name, (here / name).relative_to(path))
            for name in sorted(files)
            if name.lower().endswith((*PHOTOGRAPH_SUFFIXES, *RAW_SUFFIXES))
        ]
    return pictures


def result_names(pictures: Sequence[Found], ending: str) -> list[Path]:
    """Returns a path for the result of each picture, no two alike, even where upper and lower case are the same.

    ``holiday/a.jpg`` becomes ``holiday/a`` + `ending`; where ``a.png`` lies beside it, ``holiday/a.jpg`` + `ending`;
    where several folders have the same names, a number is added.

    Args:
      pictures: as `find_pictures` returns them.
      ending: such as ``_focus.png``.
    """
    stems = Counter(_folded(picture.inside.with_suffix("")) for picture in pictures)
    names: list[Path] = []
    taken: set[str] = set()
    for picture in pictures:
        inside = picture.inside
        stem = str(inside.with_suffix("") if stems[_folded(inside.with_suffix(""))] == 1 else inside)
        name, number = f"{stem}{ending}", 1
        while _folded(Path(name)) in taken:
            number += 1
            name = f"{stem}-{number}{ending}"
        taken.add(_folded(Path(name)))
        names.append(Path(name))
    return names


def _folded(path: Path) -> str:
    return str(path).casefold()


def ahead(
    function: Callable[[_In], _Out], items: Iterable[_In], *, threads: int = 2
) -> Generator[tuple[_In, Future[_Out]]]:
    """Yields each item with what `function` makes of it, finished, in order; a few more are under way in other threads.

    Args:
      function: may raise; the future then holds the error.
      items: to work on.
      threads: how many.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[_In, Future[_Out]]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) > 2 * threads:
                    yield _finished(waiting.popleft())
            while waiting:
                yield _finished(waiting.popleft())
        finally:
            for _, future in waiting:
                future.cancel()


def _finished(pair: tuple[_In, Future[_Out]]) -> tuple[_In, Future[_Out]]:
    pair[1].exception()  # waits
    return pair


COLUMNS: Sequence[str] = (
    "file",
    "result",
    "settings",
    "height",
    "width",
    "focus",
    "top",
    "left",
    "bottom",
    "right",
    "notes",
    "error",
)


def as_numbers(row: Mapping[str, str]) -> dict[str, str | int | float | None]:
    """Returns a row of the report with numbers where it holds their digits, and None where it holds nothing."""
    kinds = {**dict.fromkeys(("height", "width", "top", "left", "bottom", "right"), int), "focus": float}
    return {name: kinds.get(name, str)(text) if text else None for name, text in row.items()}


class Report:
    """A table of what was found, in a file that grows with every picture, so that an interrupted run can go on.

    Several threads may add to it.

    Args:
      path: of the CSV file, made if it is not there.
      settings: of the run; rows of other settings are kept and not taken for done.

    Raises:
      ValueError: there is another file of that name.
    """

    def __init__(self, path: Path, settings: str) -> None:
        self.path, self._settings, self._lock = path, settings, Lock()
        self.rows: dict[str, dict[str, str]] = {}
        if path.exists():
            with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
                table = csv.DictReader(file)
                if tuple(table.fieldnames or ()) != tuple(COLUMNS):
                    raise ValueError(f"{path} is no report of ours, and would be added to: move it away")
                self.rows = {row["file"]: row for row in table if row["error"] is not None}  # not cut short
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._append(dict(zip(COLUMNS, COLUMNS, strict=True)))

    def done(self, file: str, result: Path | None) -> bool:
        """Whether a picture has been worked on with these settings, and its result is there."""
        row = self.rows.get(file)
        return (
            row is not None
            and not row["error"]
            and row["settings"] == self._settings
            and (result is None or result.exists())
        )

    def found(self, files: Iterable[str]) -> list[dict[str, str]]:
        """Returns the rows, of these settings, of some pictures; those without one are left out."""
        rows = (self.rows.get(file) for file in files)
        return [row for row in rows if row is not None and row["settings"] == self._settings]

    def add(self, file: str, **values: object) -> None:
        """Adds a row, at once."""
        row = dict.fromkeys(COLUMNS, "") | {name: str(value) for name, value in values.items()}
        self.rows[file] = row | {"file": file, "settings": self._settings}
        self._append(self.rows[file])

    def _append(self, row: dict[str, str]) -> None:
        with self._lock, self.path.open("a", newline="", encoding="utf-8", errors="surrogateescape") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
