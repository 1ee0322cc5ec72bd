"""How benchmarks of time and memory end: with a table, and below it the machine and the versions that gave it."""

import argparse
import contextlib
import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from btbnet_jax.report import markdown_table, versions


def reader(description: str | None, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Returns what reads the arguments of a benchmark, with those of `parents` and ``--save``."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(parents=parents, description=description, formatter_class=kind)
    parser.add_argument("--save", type=Path, help="file for the table as well, .md")
    return parser


def show(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], save: Path | None, *, before: str = "", after: str = ""
) -> None:
    """Prints a table, and writes it into a file where there is to be one.

    Args:
      rows: cells by column.
      columns: in their order.
      save: the file.
      before: what was measured.
      after: what else was found.
    """
    text = "\n\n".join(filter(None, (before, f"{markdown_table(rows, columns)}\n{after}".strip("\n"), machine())))
    print(text)
    if save:
        save.write_text(f"{text}\n", "utf-8")


def machine() -> str:
    """Returns processor, cores, device and versions in a line."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", cpuinfo.read_text() if cpuinfo.exists() else "", re.MULTILINE)
    parts = [f"{len(os.sched_getaffinity(0))} cores of {names[0] if names else platform.processor()}"]
    parts += [f"{name} {version}" for name, version in versions().items()]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        parts.append(f"torch {importlib.metadata.version('torch')}")
    return ", ".join(parts)
