"""Times a forward pass and a training step of a network, and takes their peak memory.

    python benchmarks/full_network.py                      # the paper's network at 320 x 320
    python benchmarks/full_network.py --width 0.125 --scales 3/4,3/8,3/16 --repeat 5
    python benchmarks/full_network.py --only forward --without xla_cpu_scheduler_type        # streams at once
    python benchmarks/full_network.py --only forward --repeat 3 --way onednn                 # where XLA has it

Each is measured in a process of its own, so that its peak of memory (the GPU's where there is one) is its own, and a
second that finds the program compiled; oneDNN's cannot be kept.  The first call, which compiles, is timed apart.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.memory import peak_memory
from benchmarks.tables import reader, show
from btbnet_jax.compiler import compiler_options, has_onednn, not_kept
from btbnet_jax.config import NetworkConfig, TrainConfig
from btbnet_jax.network import BTBNet, Convolution, OneDnnConvolution, QuickConvolution, for_inference, init_params
from btbnet_jax.network.quick import transform_kernels
from btbnet_jax.training import init_state, make_train_step
from btbnet_jax.types import Batch

WAYS = {"direct": Convolution, "quick": QuickConvolution, "onednn": OneDnnConvolution}
PROGRAMS = {"forward": "jit_forward-", "train": "jit_step-"}
"""Names of what is measured among the programs that JAX keeps."""
COLUMNS = ("what", "first call, s", "next calls, median s", "peak memory, GiB", "and once compiled, GiB")


def main() -> None:
    """Prints a table of both, or of one."""
    parser = reader(__doc__)
    parser.add_argument("--size", type=int, default=320, help="height and width (default 320)")
    parser.add_argument("--scales", default="1,4/5,3/5", help="of the streams (default 1,4/5,3/5)")
    parser.add_argument("--width", type=float, default=1.0, help="multiplier of the channels (default 1)")
    parser.add_argument("--batch", type=int, default=1, help="images at a time (default 1)")
    parser.add_argument("--repeat", type=int, default=1, help="calls after the first (default 1; 0 gives nan)")
    parser.add_argument("--exact", action="store_true", help="direct convolutions, and XLA's own gradients")
    parser.add_argument(
        "--without", action="append", default=[], help="an option of `compiler` for XLA to leave out of a forward pass"
    )
    parser.add_argument("--way", choices=WAYS, help="of a forward pass (by default what the network takes by itself)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--remat", choices=("all", "half"), help="activations that a training step computes again")
    parser.add_argument("--only", choices=("forward", "train"), help="measure one")
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)  # of `--only`, in this process
    arguments = parser.parse_args()
    if arguments.way and arguments.only != "forward":
        parser.error("--way is for --only forward: a training step chooses its convolutions itself")
    if arguments.way == "onednn" and not has_onednn():
        parser.error("this XLA has no convolutions of oneDNN")
    if arguments.row:
        print(*_measured(arguments), sep="\t")
        return
    rows = []
    for only in (arguments.only,) if arguments.only else ("forward", "train"):
        with tempfile.TemporaryDirectory() as folder:
            row = dict(zip(COLUMNS, _in_a_process(["--only", only], folder), strict=False))
            if any(Path(folder).glob(f"{PROGRAMS[only]}*")):
                row[COLUMNS[-1]] = _in_a_process(["--only", only, "--repeat", "0"], folder)[-1]
        rows.append(row)
    show(rows, COLUMNS, arguments.save)


def _in_a_process(options: list[str], folder: str) -> tuple[str | float, ...]:
    """A row of the table, by a process that keeps what it compiles in a folder, and finds there what was kept."""
    kept = {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, *sys.argv, *options, "--row"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | kept)
    what, *figures = done.stdout.strip().split("\t")
    return what, *map(float, figures)


def _measured(arguments: argparse.Namespace) -> tuple[str, float, float, float]:
    scales = tuple(Fraction(scale) for scale in arguments.scales.split(","))
    precision = "highest" if arguments.exact else "default"
    again = {"remat": True, "remat_policy": arguments.remat} if arguments.remat else {}
    network = NetworkConfig(scales=scales, width=arguments.width, dtype=arguments.dtype, precision=precision, **again)
    config = TrainConfig(network=network)
    shape = (arguments.batch, arguments.size, arguments.size)
    rng = np.random.default_rng(0)
    image, mask = (rng.integers(0, 256, (*shape, channels), np.uint8) for channels in (3, 1))
    call = _forward(config, image, arguments) if arguments.only == "forward" else _train(config, image, mask)
    times = [_seconds(call) for _ in range(1 + arguments.repeat)]
    peak = peak_memory() / 2**30
    what = f"{arguments.only}, {arguments.batch} x {arguments.size} x {arguments.size}"
    return what, times[0], float(np.median(times[1:])) if times[1:] else float("nan"), peak


def _forward(config: TrainConfig, image: np.ndarray, arguments: argparse.Namespace) -> Callable[[], Any]:
    params = init_params(jax.random.key(0), config.network)
    if arguments.way is None:
        convolution, params = for_inference(config.network, params)
    else:
        convolution = WAYS[arguments.way]
        params = transform_kernels(params) if arguments.way == "quick" else params
    known = compiler_options(onednn=convolution.by_onednn)
    options = {name: value for name, value in known.items() if name not in arguments.without}

    def forward(params: Any, image: Any) -> Any:
        outputs: Any = BTBNet(config.network, convolution).apply({"params": params}, image / 255.0)
        return outputs.focus_map

    program: Any = jax.jit(forward, compiler_options=options or None)

    def call() -> Any:
        with not_kept() if convolution.by_onednn else contextlib.nullcontext():
            return program(params, image)

    return call


def _train(config: TrainConfig, image: np.ndarray, mask: np.ndarray) -> Callable[[], Any]:
    sizes = np.tile(np.array([image.shape[1:3]], np.int32), (len(image), 1))
    batch = Batch(image, mask, sizes, np.arange(len(image), dtype=np.int32))
    step, state = make_train_step(config), init_state(config)

    def call() -> Any:
        nonlocal state
        state, figures = step(state, batch)
        return figures

    return call


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
