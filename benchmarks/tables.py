"""How benchmarks of time and memory end: with a table, and below it the command, the machine and the versions."""

import argparse
import contextlib
import importlib.metadata
import os
import platform
import re
import shlex
import sys
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
    table = f"{markdown_table(rows, columns)}\n{after}".strip("\n")
    text = "\n\n".join(filter(None, (before, table, f"`{command()}`", machine())))
    print(text)
    if save:
        save.write_text(f"{text}\n", "utf-8")


def command() -> str:
    """Returns the command of this benchmark, without what saves its table."""
    words = iter(sys.argv[1:])
    kept = [word for word in words if not (word.startswith("--save=") or (word == "--save" and next(words, None)))]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *kept])


def machine() -> str:
    """Returns processor, cores, device and versions in a line."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", cpuinfo.read_text() if cpuinfo.exists() else "", re.MULTILINE)
    parts = [f"{len(os.sched_getaffinity(0))} cores of {names[0] if names else platform.processor()}"]
    parts += [f"{name} {version}" for name, version in versions().items()]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        parts.append(f"torch {importlib.metadata.version('torch')}")
    return ", ".join(parts)
