"""Scores a trained network in every way of computing it, on images that it has not been trained on.

    python benchmarks/variants.py --data-dir data
    python benchmarks/variants.py --weights runs/paper_shi.safetensors

Every way is compared with direct float32 convolutions at the highest precision: under which protocol its score differs
most, and by how much.  "Quick" is the way that the program takes by itself on a CPU, "Winograd" is Winograd's way in
all layers, however narrow they are.  It fails where a score in float32 is more than 5e-4 from the reference, or one in
bfloat16 or of 8 bits more than 2e-3.
"""

import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.images import validation_images
from benchmarks.tables import reader, show
from btbnet_jax import evaluation, metrics
from btbnet_jax.compiler import compiled, has_onednn
from btbnet_jax.config import NetworkConfig
from btbnet_jax.network import BTBNet, Convolution, OneDnnConvolution, QuickConvolution
from btbnet_jax.network.winograd import transform_kernel, winograd_convolution
from btbnet_jax.types import Batch
from btbnet_jax.weights import find_weights, load_weights, save_weights

COLUMNS = ("way", "MAE", "adaptive F", "largest difference of all protocols", "of")
REFERENCE = "float32, highest precision"
LIMITS = {"float32": 5e-4, "bfloat16": 2e-3, "kernels of 8 bits": 2e-3}
"""How far the scores of a way may be from the reference's, by the beginning of its name."""


class WinogradEverywhere(QuickConvolution):
    """Winograd's convolution also where another is faster; but to one channel, which jaxlib 0.12.0 does not compile."""

    def convolved(self, x: Any, kernel: Any, bias: Any, valid: Any) -> Any:
        """Returns the convolution."""
        if self.features == 1:
            return super().convolved(x, kernel, bias, valid)
        return winograd_convolution(x, transform_kernel(kernel), bias, relu=self.relu, valid=valid)


def main() -> None:
    """Prints the table."""
    parser = reader(__doc__)
    parser.add_argument("--weights", default="btbnet-small", help="file or name (btbnet-small)")
    parser.add_argument("--data-dir", default="data", help="folder of built data sets (data)")
    parser.add_argument("--batch", type=int, default=4)
    arguments = parser.parse_args()
    weights = load_weights(find_weights(arguments.weights))
    examples = validation_images(arguments.data_dir)
    exact = dataclasses.replace(weights.config, precision="highest")
    half = dataclasses.replace(weights.config, dtype="bfloat16")
    methods = {
        REFERENCE: _method(exact, Convolution, weights.params),
        "float32": _method(weights.config, Convolution, weights.params),
        "float32, quick": _method(weights.config, QuickConvolution, weights.params),
        "float32, Winograd": _method(weights.config, WinogradEverywhere, weights.params),
        "bfloat16": _method(half, Convolution, weights.params),
        "kernels of 8 bits": _method(exact, Convolution, _in_eight_bits(weights)),
    }
    if has_onednn():
        methods["float32, oneDNN"] = _method(weights.config, OneDnnConvolution, weights.params)
        methods["bfloat16, oneDNN"] = _method(half, OneDnnConvolution, weights.params)
    size = weights.training_size or 320
    counts = evaluation.count_levels(methods, examples, size=size, batch_size=arguments.batch)
    scores = {name: metrics.scores(one) for name, one in counts.items()}
    rows, too_far = [], []
    for name, figures in scores.items():
        apart = {protocol: abs(value - scores[REFERENCE][protocol]) for protocol, value in figures.items()}
        largest = max(apart, key=lambda protocol: apart[protocol])
        values = (name, *(f"{value:.5f}" for value in (figures["mae"], figures["adaptive"], apart[largest])), largest)
        rows.append(dict(zip(COLUMNS, values, strict=True)))
        limit = next(limit for kind, limit in LIMITS.items() if name.startswith(kind))
        too_far += [f"{name}: {largest} by {apart[largest]:.5f}, allowed {limit}"] * (apart[largest] > limit)
    show(rows, COLUMNS, arguments.save, before=f"{len(examples)} validation images of Shi's set at {size} x {size}")
    if too_far:
        raise SystemExit("too far from the reference: " + "; ".join(too_far))


def _method(config: NetworkConfig, convolution: type[Convolution], params: Any) -> evaluation.Method:
    network = BTBNet(config, convolution)

    def focus_map(params: Any, images: Any, size: Any) -> Any:
        outputs: Any = network.apply({"params": params}, images / 255.0, size)
        return outputs.focus_map

    program = compiled(focus_map, onednn=convolution.by_onednn)

    def method(batch: Batch, _: Any) -> Any:
        return program(params, jnp.asarray(batch.image), jnp.asarray(batch.size))

    return method


def _in_eight_bits(weights: Any) -> Any:
    """The parameters as they come back from a file of 8 bits."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "weights.safetensors")
        save_weights(path, weights._replace(storage="int8"))
        return load_weights(path).params


if __name__ == "__main__":
    main()
