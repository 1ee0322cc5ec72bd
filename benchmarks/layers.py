"""Times single convolution layers: direct, the network's own way, and PyTorch's where it is installed.

    python benchmarks/layers.py                     # the layers of VGG16 at 160 x 160
    python benchmarks/layers.py --side 320 --channels 3:8,16:8,8:1       # narrow ones, from so many channels to so many
    python benchmarks/layers.py --side 64 --channels 128      # as small as it is taken for in training
    python benchmarks/layers.py --channels 64,256 --eight-bits
    python benchmarks/layers.py --side 320 --batch 4 --channels 3:64,64,64:1 --dtype bfloat16 --gradients   # on a GPU

A layer is 3 x 3, with bias and ReLU. The network's own ways are Winograd's, several columns at a time where channels
are few, and oneDNN's where XLA has it; with gradients, which way is taken depends on the layer.  All take turns in one
process.  Rates count the operations of direct sums for every way, so that they can be compared; the last row is the
best turn of a matrix product of 2048 x 2048 (8192 on a GPU).  What it would save at most to fuse a layer with the next,
so that features stay in the cache between them, is the time in which they are written and read.
"""

import argparse
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
    parser.add_argument("--batch", type=int, default=1, help="images at a time (1)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--gradients", action="store_true", help="by features and parameters, with what they need")
    parser.add_argument("--eight-bits", action="store_true", help="numbers of 8 bits too, summed up in 32")
    arguments = parser.parse_args()
    if arguments.eight_bits and arguments.gradients:
        parser.error("--eight-bits and --gradients exclude each other: sums of numbers of 8 bits have no gradient")
    rows: list[dict[str, str | float]] = []
    for channels in arguments.channels.split(","):
        inputs, outputs = (int(number) for number in (channels.split(":") * 2)[:2])
        flop = 2 * 9 * inputs * outputs * arguments.batch * arguments.side**2 * (3 if arguments.gradients else 1)
        calls = _layers(inputs, outputs, arguments)
        calls |= _in_eight_bits(inputs, outputs, arguments) if arguments.eight_bits else {}
        medians = {way: seconds / in_a_row() for way, seconds in timed(calls, arguments.turns).items()}
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


def in_a_row() -> int:
    """Returns how many calls are made before one is waited for: a GPU is far ahead of the program that starts it."""
    return 1 if jax.default_backend() == "cpu" else 30


def timed(calls: Calls, turns: int, statistic: Callable[[Any], Any] = np.median) -> dict[str, float]:
    """Returns the median of some turns, in seconds, after one that compiles; or another statistic."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: float(statistic(found[1:])) for name, found in times.items()}


def matrix_product(dtype: str, turns: int) -> tuple[int, float]:
    """Returns the side of two large square matrices, and the least of the seconds that their product takes.

    On a GPU, which reaches its rate after a while of work, these are the seconds of one of thirty products in a row,
    each of the one before.
    """
    side, chain = 2048 if jax.default_backend() == "cpu" else 8192, in_a_row()
    # Ones would heat a GPU less; scaled, a product is no larger than the matrix.
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(side, side), scale=side**-0.5), dtype)
    product = jax.jit(jnp.matmul)

    def products() -> None:
        result = matrix
        for _ in range(chain):
            result = product(result, matrix)
        result.block_until_ready()

    return side, timed({"product": products}, turns, np.min)["product"] / chain


def _layers(num_inputs: int, num_outputs: int, options: argparse.Namespace) -> Calls:
    rng, dtype, backward = np.random.default_rng(0), options.dtype, options.gradients
    inputs = rng.normal(size=(options.batch, options.side, options.side, num_inputs)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, num_inputs, num_outputs)).astype(np.float32) / (3 * num_inputs**0.5)
    params: dict[str, Any] = {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(num_outputs)}
    calls: Calls = {"direct": _ours(Convolution, params, inputs, options)}
    if jax.default_backend() == "cpu":
        calls["direct, by YNNPACK"] = _ours(Convolution, params, inputs, options, told=False)
    if jax.default_backend() == "cpu" and dtype == "float32":
        if columns_at_a_time(num_inputs, num_outputs) > 1:
            calls["several columns"] = _ours(QuickConvolution, params, inputs, options)
        else:
            transformed = params if backward else params | {"kernel": transform_kernel(params["kernel"])}
            calls["quick" if backward else "Winograd"] = _ours(QuickConvolution, transformed, inputs, options)
    if has_onednn():
        calls["oneDNN"] = _ours(OneDnnConvolution, params, inputs, options)
    copied, double = jax.device_put(jnp.asarray(inputs, dtype)), jax.jit(lambda x: x + x)
    calls[COPIED] = _repeated(lambda: double(copied), jax.block_until_ready)
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return calls
    return calls | _theirs(torch, kernel, inputs, options)


def _repeated(call: Callable[[], Any], wait: Callable[[Any], Any]) -> Callable[[], Any]:
    def calls() -> None:
        for _ in range(in_a_row() - 1):
            call()
        wait(call())

    return calls


def _ours(
    kind: type[Convolution], params: Any, inputs: np.ndarray, options: argparse.Namespace, *, told: bool = True
) -> Callable[[], Any]:
    """A layer, with what this project tells XLA, or as XLA computes it untold."""
    layer: Any = kind(features=len(params["bias"]), dtype=jnp.dtype(options.dtype))

    def convolved(params: Any, x: Any) -> Any:
        return layer.apply({"params": params}, x)

    def gradients(params: Any, x: Any) -> Any:
        return jax.grad(lambda *given: convolved(*given).astype(jnp.float32).sum(), argnums=(0, 1))(params, x)

    function = gradients if options.gradients else convolved
    apply = compiled(function, onednn=kind.by_onednn) if told else jax.jit(function)
    arguments = jax.device_put((params, jnp.asarray(inputs, options.dtype)))
    return _repeated(lambda: apply(*arguments), jax.block_until_ready)


def _in_eight_bits(num_inputs: int, num_outputs: int, options: argparse.Namespace) -> Calls:
    """The sums alone, without what would bring them back to 8 bits for the next layer."""
    rng = np.random.default_rng(0)
    inputs, kernel = (
        jax.device_put(rng.integers(-128, 128, shape, np.int8))
        for shape in ((options.batch, options.side, options.side, num_inputs), (3, 3, num_inputs, num_outputs))
    )
    layout = ("NHWC", "HWIO", "NHWC")
    convolve: Any = jax.jit(
        lambda x, kernel: jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=layout, preferred_element_type=jnp.int32
        ),
        compiler_options=compiler_options() or None,
    )
    return {"8 bits": _repeated(lambda: convolve(inputs, kernel), jax.block_until_ready)}


def _theirs(torch: Any, kernel: np.ndarray, inputs: np.ndarray, options: argparse.Namespace) -> Calls:
    device, dtype = "cuda" if torch.cuda.is_available() else "cpu", getattr(torch, options.dtype)
    torch.backends.cudnn.benchmark = True
    weight = torch.tensor(kernel.transpose(3, 2, 0, 1).copy()).to(device, dtype)
    images = torch.tensor(inputs.transpose(0, 3, 1, 2).copy()).to(device, dtype)
    bias = torch.zeros(len(weight), device=device, dtype=dtype, requires_grad=options.gradients)

    def call(layout: Any) -> Callable[[], Any]:
        given = [array.to(memory_format=layout).requires_grad_(options.gradients) for array in (images, weight)]

        def compute() -> None:
            with torch.set_grad_enabled(options.gradients):
                y = torch.relu_(torch.nn.functional.conv2d(*given, bias, padding=1))
            if options.gradients:
                torch.autograd.grad(y.sum(dtype=torch.float32), [*given, bias])

        return _repeated(compute, lambda _: torch.cuda.synchronize() if device == "cuda" else None)

    layouts: Sequence[tuple[str, Any]] = (
        ("PyTorch", torch.contiguous_format),
        ("PyTorch, channels last", torch.channels_last),
    )
    return {name: call(layout) for name, layout in layouts}


if __name__ == "__main__":
    main()
