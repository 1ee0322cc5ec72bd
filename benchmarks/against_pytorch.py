"""Times the network here and in PyTorch, side by side, with the same weights.

    pip install -e '.[benchmarks]'     # PyTorch; on a GPU machine, what is installed there
    python benchmarks/against_pytorch.py
    python benchmarks/against_pytorch.py --scales 1 --repeat 5
    python benchmarks/against_pytorch.py --task train --height 128 --breadth 128
    python benchmarks/against_pytorch.py --height 1224 --breadth 817 --repeat 0     # an hour on two cores
    python benchmarks/against_pytorch.py --side 'JAX, bfloat16' --side 'PyTorch, compiled'   # these alone
    python benchmarks/against_pytorch.py --batch 8 --repeat 20                      # for a GPU
    python benchmarks/against_pytorch.py --batch 8 --repeat 20 --task train --in-a-row

Each side is a process of its own, so that its threads and its peak memory are its own, and computes alone: the sides
take turns.  With `--in-a-row` one ends before the next begins, for what does not fit into a GPU's memory side by side.
"Quick" is what the program takes by itself on a CPU, see `btbnet_jax/network/quick.py`, "direct" what XLA would.  Of a
side that fails, or is stopped after so many seconds, the table says so; what it said stands above.  On a GPU those of
bfloat16 take part instead of the quick one, and memory is that of the GPU.  All sides have to be on the same device.

"Times the fastest PyTorch of its type" compares those of float32 with each other, and those of bfloat16.  Rates count
the operations of direct convolutions for every side, three times in a training step; "of the peak" is the share of the
rate of a large matrix product in the same type, the best of five before the sides, on the same device.  The last column
is the largest difference of a side's map from that of direct float32 convolutions here, or of the first side where they
take no part; with `--task train`, that of the loss after the same number of steps.  The first call has in it all that a
side does before: its imports, its weights, and to compile its program or try which ways are fastest.  On a GPU float32
is computed in products of TF32 on both sides, and the peak of memory has in it what the libraries tried then.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.sides import SIDES, parser
from benchmarks.tables import reader, show

COLUMNS = (
    *("side", "first call, s", "median, s", "least, s", "times the fastest PyTorch of its type"),
    *("TFLOP/s", "of the peak", "peak memory, GiB", "differs"),
)
REFERENCE = "JAX, direct"
FAILED = "failed"
"""In the place of a figure that a side did not come to."""


def _environment() -> dict[str, str]:
    """That of the sides: they share a GPU, and JAX's CPU is there beside it, to count operations by."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    both = {"JAX_PLATFORMS": f"{platforms},cpu"} if platforms and "cpu" not in platforms else {}
    return os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} | both


def main() -> None:
    """Prints the table, and saves it where it is told to."""
    arguments = reader(__doc__, parser())
    arguments.add_argument("--in-a-row", action="store_true", help="one side after the other, instead of in turns")
    arguments.add_argument("--side", action="append", choices=SIDES, help="take these alone; may be repeated")
    arguments.add_argument(
        "--repeat", type=int, default=3, help="turns of each side after the first; 0 takes that one, which compiles (3)"
    )
    arguments.add_argument("--limit", type=float, help="seconds that a side may take for a call; none by default")
    arguments.add_argument("--first-limit", type=float, help="and for the first, which compiles; none by default")
    arguments.add_argument("--gpu", action="store_true", help="refuse to compute on anything but a GPU")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        facts = _prepared(options, Path(folder))
        if options.gpu and not facts["gpu"]:
            raise SystemExit("JAX finds no GPU: install it for one (pip install 'jax[cuda13]'), or leave out --gpu")
        left_out = ["quick"] * facts["gpu"] + ["bfloat16"] * (not facts["gpu"])
        chosen = options.side or [side for side in SIDES if not any(word in side for word in left_out)]
        rows = _measured(options, chosen, Path(folder), facts)
    show(rows, COLUMNS, options.save, before=_what(options))


def _prepared(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Writes the weights of both sides, and returns the operations of a call and the peak in each type.

    All of it in a process of its own, as this one has to leave the memory to the sides.
    """
    command = [sys.executable, str(Path(__file__).with_name("sides.py")), *_common(options), "--prepare", str(folder)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=_environment()).stdout)


def _common(options: argparse.Namespace) -> list[str]:
    known = {action.dest for action in parser()._actions}
    return [f"--{key}={value}" for key, value in vars(options).items() if key in known]


class _EndedError(Exception):
    """A side that ended before it should."""


class _Side:
    """A process that computes when it is told to."""

    def __init__(self, name: str, options: argparse.Namespace, folder: Path) -> None:
        script = str(Path(__file__).with_name("sides.py"))
        command = [sys.executable, script, *_common(options), f"--side={name}", str(folder)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=_environment(), start_new_session=True
        )
        self.name, self.times, self._limit = name, [], options.limit
        ready = self._read(options.first_limit)
        self.first, self.device = ready["first"], ready["device"]
        print(f"{name}: {self.first:.3f} s for the first call", file=sys.stderr)

    def turn(self) -> "_Side":
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # reading says then that it has ended
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        self.times.append(self._read(self._limit)["seconds"])
        return self

    def end(self) -> "_Side":
        """Waits until it has left its memory, whose peak in GiB it says before."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self.peak = self._read(self._limit)["peak"]
        self._process.wait()
        return self

    def _read(self, limit: float | None) -> dict[str, Any]:
        assert self._process.stdout is not None
        watch = threading.Timer(limit or threading.TIMEOUT_MAX, self._kill)
        watch.start()
        try:
            for line in self._process.stdout:
                if line.startswith("{"):
                    return json.loads(line)
        finally:
            watch.cancel()
        raise _EndedError(f"{self.name} ended without an answer; see above")

    def _kill(self) -> None:
        """With all that it has started, as PyTorch has its compilers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _measured(
    options: argparse.Namespace, chosen: list[str], folder: Path, facts: dict[str, Any]
) -> list[dict[str, Any]]:
    sides: list[_Side] = []
    for together in [[name] for name in chosen] if options.in_a_row else [chosen]:
        running = _those_left(together, lambda name: _Side(name, options, folder))
        for _ in range(options.repeat):
            running = _those_left(running, _Side.turn)
        sides += _those_left(running, _Side.end)
    if not sides:
        raise SystemExit("no side came to its end; see above")
    devices = {side.name: side.device for side in sides}
    if len(set(devices.values())) > 1:
        raise SystemExit(f"sides computed on different devices, which says nothing: {devices}; install both for one")
    results = {side.name: np.load(folder / f"{side.name}.npy") for side in sides}
    times = {side.name: side.times or [side.first] for side in sides}
    medians = {name: float(np.median(found)) for name, found in times.items()}
    theirs: dict[str, float] = {}
    for name, median in medians.items():
        if name.startswith("PyTorch"):
            theirs[_dtype(name)] = min(median, theirs.get(_dtype(name), median))
    rows = []
    for side in sides:
        rate, dtype = facts["flop"] / medians[side.name] / 1e12, _dtype(side.name)
        share, ratio = rate / facts[dtype], theirs.get(dtype, float("nan")) / medians[side.name]
        values = (side.name, side.first, medians[side.name], min(times[side.name]), ratio, rate, f"{share:.0%}")
        values += (side.peak, _difference(results, side.name))
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    rows += [{"side": name, COLUMNS[1]: FAILED} for name in chosen if name not in results]
    rows += [
        {"side": f"a matrix product, {dtype}", "TFLOP/s": facts[dtype], "of the peak": "100%"}
        for dtype in ("float32", "bfloat16")
        if dtype == "float32" or any(dtype in name for name in chosen)
    ]
    return rows


def _those_left(sides: Sequence[Any], does: Callable[[Any], _Side]) -> list[_Side]:
    """What `does` returns, without the sides that failed."""
    left = []
    for side in sides:
        try:
            left.append(does(side))
        except _EndedError as error:
            print(error, file=sys.stderr)
    return left


def _dtype(side: str) -> str:
    return "bfloat16" if "bfloat16" in side else "float32"


def _difference(results: dict[str, np.ndarray], name: str) -> str:
    reference = results.get(REFERENCE, next(iter(results.values())))
    return f"{np.abs(results[name] - reference).max():.1e}"


def _what(options: argparse.Namespace) -> str:
    size = f"{options.batch} × {options.height} × {options.breadth}"
    return f"{options.task}, {size}, scales {options.scales}, width {options.width:g}, turns {options.repeat}"


if __name__ == "__main__":
    main()
