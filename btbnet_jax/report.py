"""Tables for people, and the same figures for other programs.  A file appears whole or not at all."""

import csv
import io
import json
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from btbnet_jax import __version__
from btbnet_jax.metrics import Curve
from btbnet_jax.writing import write_whole

Value = str | int | float
Row = Mapping[str, Value]


def markdown_table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Returns a table in Markdown: numbers with three digits, flush right; nothing where a row lacks a column."""
    numeric = _numeric(rows, columns)
    lines = [columns, ["---:" if name in numeric else "---" for name in columns]]
    lines += [[_text(row.get(name, "")).replace("|", "\\|") for name in columns] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def print_table(rows: Sequence[Row], columns: Sequence[str], *, title: str = "") -> None:
    """Prints the same table as `markdown_table` to the terminal."""
    numeric = _numeric(rows, columns)
    table = Table(box=SIMPLE)
    for name in columns:
        table.add_column(name, justify="right" if name in numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(_text(row.get(name, ""))) for name in columns))
    # What is no terminal, a file or a pipe, has no width to keep to.
    console = Console(width=None if sys.stdout.isatty() else 1000)
    if title:
        console.print(title, markup=False, highlight=False)
    console.print(table)


def _numeric(rows: Sequence[Row], columns: Sequence[str]) -> set[str]:
    return {name for name in columns if not any(isinstance(row.get(name), str) for row in rows)}


def _text(value: Value) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def write_csv(path: Path, rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Writes a table with all digits of its numbers, its columns named in the first line."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_whole(path, text.getvalue().encode("utf-8", "surrogateescape"))


def write_curve_csv(path: Path, curves: Mapping[str, Curve]) -> None:
    """Writes the points of `plots.precision_recall_plot`, a line for each method and threshold."""
    rows = (
        {"method": name} | {field: float(value) for field, value in zip(Curve._fields, point, strict=True)}
        for name, curve in curves.items()
        for point in zip(*curve, strict=True)
    )
    write_csv(path, rows, ("method", *Curve._fields))


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes nested dictionaries of strings, numbers, booleans, lists and None.

    Raises:
      ValueError: NaN or infinity, which JSON does not have.
    """
    text = json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_whole(path, text.encode("utf-8", "surrogateescape"))  # names of files need not be UTF-8


def versions() -> dict[str, str]:
    """Returns the versions of the software that a figure depends on, the platform and the device."""
    devices = jax.devices()
    return {
        "btbnet_jax": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "numpy", "pillow")},
        "platform": f"{platform.system()} {platform.machine()}",
        "device": f"{len(devices)} x {devices[0].device_kind}",
    }
