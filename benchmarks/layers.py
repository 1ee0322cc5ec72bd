"""Times single convolution layers: direct, the network's own way, and PyTorch's where it is installed.

    python benchmarks/layers.py                     # the layers of VGG16 at 160 x 160
    python benchmarks/layers.py --side 320 --channels 3:8,16:8,8:1       # narrow ones, from so many channels to so many
    python benchmarks/layers.py --side 64 --channels 128      # as small as it is taken for in training
    python benchmarks/layers.py --channels 64,256 --eight-bits

A layer is 3 x 3, with bias and ReLU.  The network's own ways are Winograd's, several columns at a time where channels
are few, and oneDNN's where XLA has it.  All take turns in one process.  Rates count the operations of direct sums for
every way, so that they can be compared; the last row is the machine's best, a matrix product of 2048 x 2048 (8192 on a
GPU).  What it would save at most to fuse a layer with the next, so that features stay in the cache between them, is the
time in which they are written and read.
"""

import importlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.tables import reader, show
from btbnet_jax.compiler import compiled, compiler_options, has_onednn
from btbnet_jax.network.convolution import Convolution
from btbnet_jax.network.narrow import columns_at_a_time
from btbnet_jax.network.quick import OneDnnConvolution, QuickConvolution
from btbnet_jax.network.winograd import transform_kernel

Calls = dict[str, Callable[[], Any]]
COPIED = "features read and written"


def main() -> None:
    """Prints the table."""
    parser = reader(__doc__)
    parser.add_argument("--side", type=int, default=160, help="height and width (160)")
    parser.add_argument(
        "--channels", default="32,64,128,256,512", help="of the layers, IN:OUT or both (32,64,128,256,512)"
    )
    parser.add_argument("--turns", type=int, default=5, help="of each, after the first (5)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--eight-bits", action="store_true", help="numbers of 8 bits too, summed up in 32")
    arguments = parser.parse_args()
    rows: list[dict[str, str | float]] = []
    for channels in arguments.channels.split(","):
        inputs, outputs = (int(number) for number in (channels.split(":") * 2)[:2])
        flop = 2 * 9 * inputs * outputs * arguments.side**2
        calls = _layers(inputs, outputs, arguments.side, arguments.dtype)
        calls |= _in_eight_bits(inputs, outputs, arguments.side) if arguments.eight_bits else {}
        medians = timed(calls, arguments.turns)
        copied, layer = medians.pop(COPIED), f"{channels}, {arguments.side} × {arguments.side}"
        rows += [
            {
                "layer": layer,
                "way": way,
                "ms": 1e3 * seconds,
                "GFLOP/s": flop / seconds / 1e9,
                "times direct": medians["direct"] / seconds,
            }
            for way, seconds in medians.items()
        ]
        rows.append({"layer": layer, "way": COPIED, "ms": 1e3 * copied})
    side, seconds = matrix_product(arguments.dtype, arguments.turns)
    name = f"{side} × {side}"
    rows.append({"layer": name, "way": "matrix product", "ms": 1e3 * seconds, "GFLOP/s": 2e-9 * side**3 / seconds})
    show(rows, list(rows[0]), arguments.save)


def timed(calls: Calls, turns: int) -> dict[str, float]:
    """Returns the median of some turns, in seconds, after one that compiles."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(found[1:])) for name, found in times.items()}


def matrix_product(dtype: str, turns: int) -> tuple[int, float]:
    """Returns the side of two large square matrices, and the median of the seconds that their product takes.

    On a GPU, which reaches its rate after a while of work and is far ahead of the program that starts it, these are the
    seconds of one of thirty products in a row, each of the one before.
    """
    on_cpu = jax.default_backend() == "cpu"
    side, chain = (2048, 1) if on_cpu else (8192, 30)
    # Ones would heat a GPU less; scaled, a product is no larger than the matrix.
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(side, side), scale=side**-0.5), dtype)
    product = jax.jit(jnp.matmul)

    def products() -> None:
        result = matrix
        for _ in range(chain):
            result = product(result, matrix)
        result.block_until_ready()

    return side, timed({"product": products}, turns)["product"] / chain


def _layers(num_inputs: int, num_outputs: int, side: int, dtype: str) -> Calls:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(1, side, side, num_inputs)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, num_inputs, num_outputs)).astype(np.float32) / (3 * num_inputs**0.5)
    params: dict[str, Any] = {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(num_outputs)}
    calls: Calls = {"direct": _ours(Convolution, params, inputs, dtype)}
    if jax.default_backend() == "cpu":
        calls["direct, by YNNPACK"] = _ours(Convolution, params, inputs, dtype, told=False)
    if dtype == "float32" and columns_at_a_time(num_inputs, num_outputs) > 1:
        calls["several columns"] = _ours(QuickConvolution, params, inputs, dtype)
    elif dtype == "float32":
        transformed = params | {"kernel": transform_kernel(params["kernel"])}
        calls["Winograd"] = _ours(QuickConvolution, transformed, inputs, dtype)
    if has_onednn():
        calls["oneDNN"] = _ours(OneDnnConvolution, params, inputs, dtype)
    copied, double = jax.device_put(jnp.asarray(inputs, dtype)), jax.jit(lambda x: x + x)
    calls[COPIED] = lambda: double(copied).block_until_ready()
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return calls
    return calls | _theirs(torch, kernel, inputs, dtype)


def _ours(
    kind: type[Convolution], params: Any, inputs: np.ndarray, dtype: str, *, told: bool = True
) -> Callable[[], Any]:
    """A layer, with what this project tells XLA, or as XLA computes it untold."""
    layer: Any = kind(features=len(params["bias"]), dtype=jnp.dtype(dtype))

    def convolved(params: Any, x: Any) -> Any:
        return layer.apply({"params": params}, x)

    apply = compiled(convolved, onednn=kind.by_onednn) if told else jax.jit(convolved)
    arguments = jax.device_put((params, jnp.asarray(inputs, dtype)))
    return lambda: jax.block_until_ready(apply(*arguments))


def _in_eight_bits(num_inputs: int, num_outputs: int, side: int) -> Calls:
    """The sums alone, without what would bring them back to 8 bits for the next layer."""
    rng = np.random.default_rng(0)
    inputs, kernel = (
        jax.device_put(rng.integers(-128, 128, shape, np.int8))
        for shape in ((1, side, side, num_inputs), (3, 3, num_inputs, num_outputs))
    )
    layout = ("NHWC", "HWIO", "NHWC")
    convolve: Any = jax.jit(
        lambda x, kernel: jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=layout, preferred_element_type=jnp.int32
        ),
        compiler_options=compiler_options() or None,
    )
    return {"8 bits": lambda: convolve(inputs, kernel).block_until_ready()}


def _theirs(torch: Any, kernel: np.ndarray, inputs: np.ndarray, dtype: str) -> Calls:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    weight = torch.tensor(kernel.transpose(3, 2, 0, 1).copy()).to(device, getattr(torch, dtype))
    images = torch.tensor(inputs.transpose(0, 3, 1, 2).copy()).to(device, getattr(torch, dtype))
    bias = torch.zeros(len(weight), device=device, dtype=weight.dtype)

    def call(layout: Any) -> Callable[[], Any]:
        own, own_images = weight.to(memory_format=layout), images.to(memory_format=layout)

        def compute() -> None:
            with torch.no_grad():
                torch.relu_(torch.nn.functional.conv2d(own_images, own, bias, padding=1))
            if device == "cuda":
                torch.cuda.synchronize()

        return compute

    layouts: Sequence[tuple[str, Any]] = (
        ("PyTorch", torch.contiguous_format),
        ("PyTorch, channels last", torch.channels_last),
    )
    return {name: call(layout) for name, layout in layouts}


if __name__ == "__main__":
    main()
