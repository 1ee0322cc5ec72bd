"""The two sides of `against_pytorch.py`, each run in a process of its own: `python benchmarks/sides.py --side=...`.

A side prints a line of JSON when it is ready, computes once for each line that it reads, and answers with a line of
JSON: seconds.  At the end of its input it saves what it computed.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.memory import peak_memory

SIDES = {
    "JAX, quick": ("jax", "quick"),
    "JAX, direct": ("jax", "direct"),
    "JAX, bfloat16": ("jax", "bfloat16"),
    "PyTorch, eager": ("torch", "eager"),
    "PyTorch, channels last": ("torch", "channels last"),
    "PyTorch, compiled": ("torch", "compiled"),
    "PyTorch, bfloat16 eager": ("torch", "bfloat16 eager"),
    "PyTorch, bfloat16 channels last": ("torch", "bfloat16 channels last"),
    "PyTorch, bfloat16 compiled": ("torch", "bfloat16 compiled"),
}

Call = Callable[[], Any]


def parser() -> argparse.ArgumentParser:
    """Returns the arguments that a side and the whole comparison have in common."""
    found = argparse.ArgumentParser(add_help=False)
    found.add_argument("--height", type=int, default=320)
    found.add_argument("--breadth", type=int, default=320, help="width of the image (320)")
    found.add_argument("--batch", type=int, default=1)
    found.add_argument("--scales", default="1,4/5,3/5", help="of the streams (1,4/5,3/5)")
    found.add_argument("--width", type=float, default=1.0, help="multiplier of the channels (1)")
    found.add_argument("--task", choices=("forward", "train"), default="forward")
    return found


def main() -> None:
    """Runs one side."""
    arguments = argparse.ArgumentParser(parents=[parser()])
    arguments.add_argument("--side", choices=SIDES)
    arguments.add_argument("--prepare", action="store_true", help="write params.npz, and say what is to be known")
    arguments.add_argument("folder", type=Path, help="of params.npz, and of what comes out")
    options = arguments.parse_args()
    if options.prepare:
        _answer(**_prepared(options))
        return
    library, variant = SIDES[options.side]
    start = time.perf_counter()
    call, result = (_jax_side if library == "jax" else _torch_side)(options, variant)
    call()
    _answer(first=time.perf_counter() - start, device=_device(library))
    for _ in sys.stdin:
        start = time.perf_counter()
        call()
        _answer(seconds=time.perf_counter() - start)
    np.save(options.folder / f"{options.side}.npy", result())
    _answer(peak=peak_memory(library) / 2**30)


def _prepared(options: argparse.Namespace) -> dict[str, float]:
    """Writes the weights; the operations of a call, and the rate of a matrix product in TFLOP/s."""
    import jax

    from benchmarks.layers import matrix_product
    from btbnet_jax.network import BTBNet, convolution, init_params
    from btbnet_jax.weights import flat

    # In one piece, as the compiler counts the operations of a loop once; by the CPU's, as not every one counts.
    convolution.MOST_PIXELS = sys.maxsize
    config = network_config(options)
    params = init_params(jax.random.key(0), config)
    arrays: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in flat(params).items()}
    np.savez(options.folder / "params.npz", **arrays)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        lowered: Any = jax.jit(_focus_map(BTBNet(config))).lower(jax.tree.map(np.asarray, params), inputs(options)[0])
    flop = lowered.cost_analysis()["flops"] * (3 if options.task == "train" else 1)
    found = {}
    for dtype in ("float32", "bfloat16"):
        side, seconds = matrix_product(dtype, 5)
        found[dtype] = 2e-12 * side**3 / seconds
    return found | {"flop": flop, "gpu": jax.default_backend() == "gpu"}


def inputs(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and masks, uint8, the same on every side."""
    from btbnet_jax.sources import generated, simulated

    scene = generated.scene("train", 0, height=options.height, width=options.breadth)
    pair = simulated.blurred_version(scene, 12)
    image, mask = (np.repeat(np.asarray(array)[None], options.batch, axis=0) for array in pair[:2])
    return image, mask.reshape(*mask.shape[:3], 1)


def network_config(options: argparse.Namespace, **others: Any) -> Any:
    """Returns the network's configuration."""
    from btbnet_jax.config import NetworkConfig

    scales = tuple(Fraction(scale) for scale in options.scales.split(","))
    return NetworkConfig(scales=scales, width=options.width, **others)


def _jax_side(options: argparse.Namespace, variant: str) -> tuple[Call, Call]:
    import jax

    from btbnet_jax.compiler import compiled
    from btbnet_jax.network import BTBNet, Convolution, for_inference
    from btbnet_jax.weights import nested

    dtype = "bfloat16" if variant == "bfloat16" else "float32"
    # In training the network chooses its convolutions itself, on a CPU direct ones where they have to be exact.
    exact = options.task == "train" and variant == "direct" and jax.default_backend() == "cpu"
    config = network_config(options, dtype=dtype, precision="highest" if exact else "default")
    params = jax.device_put(nested(dict(np.load(options.folder / "params.npz"))))
    images, masks = map(jax.device_put, inputs(options))
    latest: Any = None
    if options.task == "train":
        from btbnet_jax.config import OptimiserConfig, TrainConfig
        from btbnet_jax.training import init_state, make_train_step
        from btbnet_jax.types import Batch

        optimiser = OptimiserConfig(kind="adamw", learning_rate=1e-4, schedule="constant", warmup_steps=0, clip_norm=0)
        training = TrainConfig(network=config, optimiser=optimiser, steps=10**6)
        sizes = np.tile(np.array([images.shape[1:3]], np.int32), (options.batch, 1))
        batch = jax.device_put(Batch(images, masks, sizes, np.arange(len(images), dtype=np.int32)))
        step, state = make_train_step(training), init_state(training, params)

        def call() -> None:
            nonlocal state, latest
            state, figures = step(state, batch)
            latest = jax.block_until_ready(figures["loss"])
    else:
        convolution = Convolution
        if variant != "direct":
            convolution, params = for_inference(config, params)
        program = compiled(_focus_map(BTBNet(config, convolution)), onednn=convolution.by_onednn)

        def call() -> None:
            nonlocal latest
            latest = jax.block_until_ready(program(params, images))

    return call, lambda: np.asarray(latest, np.float32)


def _focus_map(network: Any) -> Callable[..., Any]:
    return lambda params, images: network.apply({"params": params}, images / 255.0).focus_map[..., 0]


def _torch_side(options: argparse.Namespace, variant: str) -> tuple[Call, Call]:
    import torch  # pyright: ignore[reportMissingImports]

    from benchmarks.torch_network import TorchBTBNet

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(len(os.sched_getaffinity(0)))  # as many as JAX takes
    half = "bfloat16" in variant
    torch.backends.cudnn.benchmark = True
    config = network_config(options)
    network = TorchBTBNet(config, dict(np.load(options.folder / "params.npz"))).to(device)
    layout = torch.contiguous_format if "eager" in variant else torch.channels_last
    network = network.to(memory_format=layout)
    images, masks = (torch.tensor(array, device=device).permute(0, 3, 1, 2) for array in inputs(options))
    images, masks = images.contiguous(memory_format=layout), masks.float() / 255
    program: Any = network
    if "compiled" in variant:
        program = torch.compile(network, mode="max-autotune")
    training = options.task == "train"
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=device == "cuda") if training else None
    latest: Any = None

    def call() -> None:
        nonlocal latest
        with torch.set_grad_enabled(training), torch.autocast(device, torch.bfloat16, enabled=half):
            streams, logits = program(images / 255)
        if optimiser is None:
            latest = torch.sigmoid(logits.float())[:, 0]
        else:
            losses: Any = [
                torch.nn.functional.binary_cross_entropy_with_logits(one, masks) for one in (logits, *streams)
            ]
            optimiser.zero_grad()
            loss: Any = sum(losses)
            loss.backward()
            optimiser.step()
            latest = loss.detach()
        if device == "cuda":
            torch.cuda.synchronize()

    return call, lambda: latest.float().cpu().numpy()


def _device(library: str) -> str:
    """Returns what a side computes on, by one name of the two libraries."""
    if library == "torch":
        import torch  # pyright: ignore[reportMissingImports]

        return "gpu" if torch.cuda.is_available() else "cpu"
    import jax

    return jax.default_backend()


def _answer(**values: float | str) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
