"""Times the network here and in PyTorch, side by side, with the same weights.

    pip install -e '.[benchmarks]'     # PyTorch; on a GPU machine, what is installed there
    python benchmarks/against_pytorch.py
    python benchmarks/against_pytorch.py --scales 1 --repeat 5
    python benchmarks/against_pytorch.py --task train --height 128 --breadth 128

Each side is a process of its own, so that its threads and its peak memory are its own, and computes alone: the sides
take turns.  The last column is the largest difference of its map from that of direct float32 convolutions here; with
`--task train`, that of the loss after the same number of steps.
"""

import argparse
import contextlib
import importlib.metadata
import json
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.sides import SIDES, network_config, parser
from btbnet_jax.report import markdown_table, versions

COLUMNS = ("side", "first call, s", "median, s", "least, s", "times the fastest PyTorch", "peak memory, GiB", "differs")
REFERENCE = "JAX, direct"


def main() -> None:
    """Prints the table, and saves it where it is told to."""
    arguments = argparse.ArgumentParser(
        parents=[parser()], description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--side", action="append", choices=SIDES, help="take these alone; may be repeated")
    arguments.add_argument("--repeat", type=int, default=3, help="turns of each side, after the first (3)")
    arguments.add_argument("--save", type=Path, help="file for the table, .md")
    options = arguments.parse_args()
    chosen = options.side or [side for side in SIDES if "bfloat16" not in side]
    with tempfile.TemporaryDirectory() as folder:
        _write_params(options, Path(folder))
        rows = _measured(options, chosen, Path(folder))
    table = f"{_what(options)}\n\n{markdown_table(rows, COLUMNS)}\n{_machine()}\n"
    print(table)
    if options.save:
        options.save.write_text(table)


def _write_params(options: argparse.Namespace, folder: Path) -> None:
    """The weights of both sides; in a process of its own, as this one has to leave the memory to the sides."""
    code = """
import json, sys, jax, numpy
from btbnet_jax.config import NetworkConfig
from btbnet_jax.network import init_params
from btbnet_jax.weights import flat
params = init_params(jax.random.key(0), NetworkConfig.from_json(json.loads(sys.argv[1])))
numpy.savez(sys.argv[2], **{name: numpy.asarray(leaf) for name, leaf in flat(params).items()})
"""
    config = json.dumps(network_config(options).to_json())
    subprocess.run([sys.executable, "-c", code, config, str(folder / "params.npz")], check=True)


class _Side:
    """A process that computes when it is told to."""

    def __init__(self, name: str, options: argparse.Namespace, folder: Path) -> None:
        known = {action.dest for action in parser()._actions}
        values = [f"--{key}={value}" for key, value in vars(options).items() if key in known]
        command = [sys.executable, str(Path(__file__).with_name("sides.py")), *values, name, str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.name, self.times = name, []
        self.first = self._read()["first"]

    def turn(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.times.append(self._read()["seconds"])

    def end(self) -> float:
        """Returns the peak of its memory in GiB."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._read()["peak"]

    def _read(self) -> dict[str, float]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"{self.name} ended without an answer; see above")


def _measured(options: argparse.Namespace, chosen: list[str], folder: Path) -> list[dict[str, Any]]:
    sides = [_Side(name, options, folder) for name in chosen]
    for _ in range(options.repeat):
        for side in sides:
            side.turn()
    peaks = {side.name: side.end() for side in sides}
    results = {name: np.load(folder / "{}_{}.npy".format(*SIDES[name])) for name in chosen}
    medians = {side.name: float(np.median(side.times)) for side in sides}
    theirs = [seconds for name, seconds in medians.items() if name.startswith("PyTorch") and "bfloat16" not in name]
    return [
        dict(
            zip(
                COLUMNS,
                (
                    side.name,
                    side.first,
                    medians[side.name],
                    min(side.times),
                    min(theirs, default=float("nan")) / medians[side.name],
                    peaks[side.name],
                    _difference(results, side.name),
                ),
                strict=True,
            )
        )
        for side in sides
    ]


def _difference(results: dict[str, np.ndarray], name: str) -> str:
    if REFERENCE not in results:
        return "–"
    return f"{np.abs(results[name] - results[REFERENCE]).max():.1e}"


def _what(options: argparse.Namespace) -> str:
    size = f"{options.batch} × {options.height} × {options.breadth}"
    return f"{options.task}, {size}, scales {options.scales}, width {options.width:g}, turns {options.repeat}"


def _machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", cpuinfo.read_text() if cpuinfo.exists() else "", re.MULTILINE)
    parts = [f"{len(names)} × {names[0]}" if names else platform.processor()]
    parts += [f"{name} {version}" for name, version in versions().items()]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        parts.append(f"torch {importlib.metadata.version('torch')}")
    return ", ".join(parts)


if __name__ == "__main__":
    main()
