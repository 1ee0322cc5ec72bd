"""Many photographs: found in files, folders and lists, each with the name of its result; read ahead, written behind."""

import csv
import glob
import io
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import NamedTuple, TypeVar

from btbnet_jax.images import PHOTOGRAPH_SUFFIXES, RAW_SUFFIXES
from btbnet_jax.writing import write_whole

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


def paths_in(file: Path) -> list[str]:
    """Returns the paths in a list, one a line; of standard input where the file is called "-".

    Raises:
      ValueError: there are none.
    """
    text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8-sig", "surrogateescape")
    if not (lines := [line for line in text.splitlines() if line.strip()]):
        raise ValueError(f"{file} names no picture: a list has one path a line")
    return lines


def find_pictures(inputs: Iterable[str], *, results: Path | None = None) -> tuple[list[Found], list[str], list[str]]:
    """Returns the pictures of files, folders and patterns, each once, what is wrong with the inputs, and notes.

    In folders, at any depth, files count by their suffix, but for hidden ones, of which macOS leaves many; a file that
    is named itself counts whatever it is called.  A folder that is reached again, by a symbolic link, is left out.

    Args:
      inputs: paths, or patterns with ``*``, ``?``, ``[]`` and ``**`` where no file has that name.
      results: folder for what is made of them, which is left out where it is within one that is named.

    Raises:
      ValueError: it is itself one that is named.
    """
    found: dict[str, Found] = {}
    problems, notes = [], []
    for text in inputs:
        matches = [text] if os.path.lexists(text) else sorted(glob.glob(text, recursive=True))  # noqa: PTH207
        paths = [Path(match) for match in matches]
        named, at_paths = set(paths), [one for path in paths for one in _pictures_at(path, results, problems)]
        pictures = [one for one in at_paths if one.path in named or one.path.suffix.lower() not in RAW_SUFFIXES]
        if not paths:
            problems.append(f"{text}: there is no such file or folder")
        elif not pictures:
            problems.append(f"{text}: no pictures in it; their names end in {', '.join(PHOTOGRAPH_SUFFIXES)}")
        if raw := len(at_paths) - len(pictures):
            what_to_do = "develop them first, and save them as TIFF or JPEG"
            notes.append(f"{text}: raw photographs left out, {raw} of them: {what_to_do}")
        for picture in pictures:
            found.setdefault(_key(picture.path), picture)
    return list(found.values()), problems, notes


def _pictures_at(path: Path, results: Path | None, problems: list[str]) -> list[Found]:
    """A file, or those in a folder that are called as pictures or raw photographs are; what cannot be searched."""
    if not path.is_dir():
        return [Found(path, Path(path.name))]
    if results and path.resolve() == results.resolve():
        raise ValueError(
            f"{path} is searched for photographs, and what is written there would be taken for some: give "
            "another folder for the results (--output)"
        )
    pictures, seen = [], {results.resolve()} if results else set[Path]()
    for folder, subfolders, files in os.walk(path, followlinks=True, onerror=lambda error: problems.append(str(error))):
        here = Path(folder)
        seen.add(here.resolve())
        subfolders[:] = sorted(
            name for name in subfolders if name != "__MACOSX" and (here / name).resolve() not in seen
        )
        pictures += [
            Found(here / name, (here / name).relative_to(path))
            for name in sorted(files)
            if name.lower().endswith((*PHOTOGRAPH_SUFFIXES, *RAW_SUFFIXES)) and not name.startswith(".")
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

    It knows pictures by their absolute paths.  Several threads may add to it.

    Args:
      path: of the CSV file, made if it is not there.
      settings: of the run; rows of other settings are kept and not taken for done.

    Raises:
      ValueError: there is another file of that name.
    """

    def __init__(self, path: Path, settings: str) -> None:
        self.path, self._settings, self._lock = path, settings, Lock()
        self._rows: dict[str, dict[str, str]] = {}
        self._made_of: dict[str, str] = {}  # pictures, by their result
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else ""
        header = ",".join(COLUMNS) + "\n"
        if not text.startswith(header) and not header.startswith(text):
            raise ValueError(f"{path} is no report of ours, and would be added to: move it away")
        whole = text[: text.rfind("\n") + 1] or header  # the last line may have been cut short
        if whole != text:
            write_whole(path, whole.encode("utf-8", "surrogateescape"))
        for row in csv.DictReader(io.StringIO(whole, newline="")):
            self._take(row)

    def done(self, picture: Path, result: Path | None) -> bool:
        """Whether a picture has been worked on with these settings, and its result is there."""
        row = self.row(picture)
        if row is None or row["error"]:
            return False
        return result is None or (result.exists() and self._made_of.get(_key(result)) == row["file"])

    def row(self, picture: Path) -> dict[str, str] | None:
        """Returns the row, of these settings, of a picture; None where it has none."""
        row = self._rows.get(_key(picture))
        return row if row is not None and row["settings"] == self._settings else None

    def add(self, picture: Path, *, result: Path | None = None, **values: object) -> None:
        """Adds a row, at once."""
        paths = {"file": _key(picture), "result": _key(result) if result else "", "settings": self._settings}
        row = dict.fromkeys(COLUMNS, "") | {name: str(value) for name, value in values.items()} | paths
        self._append(row)
        self._take(row)

    def _take(self, row: dict[str, str]) -> None:
        self._rows[row["file"]] = row
        if row["result"]:
            self._made_of[row["result"]] = row["file"]

    def _append(self, row: dict[str, str]) -> None:
        with self._lock, self.path.open("a", newline="", encoding="utf-8", errors="surrogateescape") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)


def _key(path: Path) -> str:
    """What the report calls a path, wherever the program is called from."""
    return os.path.abspath(path)  # noqa: PTH100 a link is a picture of its own
