"""Counts what compiled programs are made of: convolutions, copies of layout, operations that nothing was fused with.

    python benchmarks/operations.py --batch 8 --dtype bfloat16              # the paper's network, on the device at hand
    python benchmarks/operations.py --width 0.125 --scales 3/4,3/8,3/16

Every operation that is run by itself counts, with the bytes that it writes: those of the program's entry and of what it
calls, of both ways of a condition, and once those of a loop.  Within a fusion nothing is written.  What calls a library
has its name.  A copy or a transpose as large as the features of a layer is one too many.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.scaling import compiled, num_bytes
from benchmarks.tables import reader, show
from btbnet_jax.compiler import compiled as jitted
from btbnet_jax.config import DataConfig, NetworkConfig, TrainConfig
from btbnet_jax.network import BTBNet, for_inference, init_params

COLUMNS = ("program", "operation", "number", "MB written", "MB, the largest")
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "iota", "partition-id", "after-all"}
"""Operations that write nothing, or next to nothing."""
CALLS = {"call", "while", "conditional", "async-start"}
"""Operations that run others, which have names in the program."""


def main() -> None:
    """Prints a table of a forward pass and of a training step."""
    parser = reader(__doc__)
    parser.add_argument("--size", type=int, default=320, help="height and width (320)")
    parser.add_argument("--scales", default="1,4/5,3/5", help="of the streams (1,4/5,3/5)")
    parser.add_argument("--width", type=float, default=1.0, help="multiplier of the channels (1)")
    parser.add_argument("--batch", type=int, default=1, help="images at a time (1)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    arguments = parser.parse_args()
    scales = tuple(Fraction(scale) for scale in arguments.scales.split(","))
    network = NetworkConfig(scales=scales, width=arguments.width, dtype=arguments.dtype)
    config = TrainConfig(network=network, data=DataConfig(batch_size=arguments.batch))
    programs = {"forward": _forward(config, arguments), "training step": compiled(config, arguments.size, 1)}
    rows: list[dict[str, Any]] = []
    for name, program in programs.items():
        for kind, sizes in sorted(operations(program.as_text()).items(), key=lambda item: -sum(item[1])):
            figures = (len(sizes), f"{sum(sizes) / 1e6:.4g}", f"{max(sizes) / 1e6:.4g}")
            rows.append(dict(zip(COLUMNS, (name, kind, *figures), strict=True)))
    show(rows, COLUMNS, arguments.save)


def operations(program: str) -> dict[str, list[int]]:
    """Returns the bytes that each operation of a compiled program's text writes, by its kind.

    What a library is given to work in, bytes at the end of what it returns, does not count.
    """
    computations = re.findall(r"^(ENTRY )?%?([\w.-]+) [^\n]*\{\n(.*?)^\}", program, re.MULTILINE | re.DOTALL)
    bodies = {name: body for _, name, body in computations}
    found: dict[str, list[int]] = {}
    for line in _lines(bodies, next(name for entry, name, _ in computations if entry)):
        match = re.match(r"\s+(?:ROOT )?%?[\w.-]+ = (\(.*?\)|\S+) ([\w-]+)\(", line)
        if match is None or match[2] in FREE | CALLS:
            continue
        target = re.search(r'custom_call_target="([^"]+)"', line)
        fused = re.search(r"kind=(k\w+)", line)
        kind = " ".join(filter(None, (match[2], target and target[1], fused and fused[1])))
        written = re.sub(r", u8\[[^()]*\)$", ")", match[1]) if target else match[1]
        found.setdefault(kind, []).append(num_bytes(written))
    return found


def _lines(bodies: dict[str, str], name: str) -> Iterator[str]:
    """Yields the lines of a computation, and of those that it runs."""
    for line in bodies[name].splitlines():
        yield line
        called = re.search(r" ([\w-]+)\(.*\), (.*)", line)
        if called and called[1] in CALLS:
            for other in re.findall(r"%([\w.-]+)", called[2]):
                if other in bodies:
                    yield from _lines(bodies, other)


def _forward(config: TrainConfig, arguments: argparse.Namespace) -> Any:
    convolution, params = for_inference(config.network, init_params(jax.random.key(0), config.network))

    def network(params: Any, images: Any) -> Any:
        outputs: Any = BTBNet(config.network, convolution).apply({"params": params}, images / 255.0)
        return outputs.focus_map

    images = np.zeros((arguments.batch, arguments.size, arguments.size, 3), np.uint8)
    return jitted(network, onednn=convolution.by_onednn).lower(params, images).compile()


if __name__ == "__main__":
    main()
