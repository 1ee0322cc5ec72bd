"""Writes a network as ONNX for images of any number and size, runs it in ONNX Runtime and says how far it is off.

    python docs/to_onnx.py small.onnx                               # the first weights that are found
    python docs/to_onnx.py mine.onnx --weights mine.safetensors

In an environment of its own, see docs/export.md: jax2onnx wants older versions of other packages than btbnet_jax.
"""

import argparse
import importlib
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

sys.path.insert(0, str(Path(__file__).parents[1]))

from btbnet_jax.export import focus_maps, image_shape
from btbnet_jax.weights import Weights, find_weights, load_weights

SIZES = ((1, 320, 320), (1, 1, 1), (2, 33, 47), (1, 427, 640))


def main() -> None:
    """Converts, then compares on random images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="what to write, ends in .onnx")
    parser.add_argument("--weights", help="weights file or name of a network (default: the first that is found)")
    arguments = parser.parse_args()
    if arguments.output.exists():
        sys.exit(f"{arguments.output} is there already: give another name")
    weights = load_weights(find_weights(arguments.weights))
    start = time.perf_counter()
    convert(weights, arguments.output)
    seconds = time.perf_counter() - start
    print(f"{arguments.output}: {arguments.output.stat().st_size:,} bytes, in {seconds:.0f} seconds")
    compare(weights, arguments.output)


def convert(weights: Weights, path: Path) -> None:
    """Writes the network with its parameters inside.

    It is traced before jax2onnx is imported and handed over as primitives: jax2onnx puts functions of its own in the
    place of JAX's, such as `jnp.shape`, and Flax's scan fails on these.
    """
    images = image_shape(weights.config)
    traced = jax.make_jaxpr(lambda images: focus_maps(weights.config, weights.params, images))(images)
    importlib.import_module("jax2onnx").to_onnx(
        lambda images: jaxpr_as_fun(traced)(images)[0],
        inputs=[images],
        input_names=["images"],
        output_names=["focus_maps"],
        model_name="btbnet",
        return_mode="file",
        output_path=str(path),
    )


def compare(weights: Weights, path: Path) -> None:
    """Prints the largest difference between the maps of ONNX Runtime and those of JAX, for images of several sizes."""
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of constants that it has folded
    session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    network = jax.jit(lambda images: focus_maps(weights.config, weights.params, images))
    for size in SIZES:
        images = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        (maps,) = session.run(None, {"images": images})
        print(f"{size}: {np.abs(maps - np.asarray(network(images))).max():.1e} at most")


if __name__ == "__main__":
    main()
