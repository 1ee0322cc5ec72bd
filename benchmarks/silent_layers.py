"""Says which layers of a trained network are silent: without any gradient, as closed ReLUs keep them from every map.

    python benchmarks/silent_layers.py --data-dir data
    python benchmarks/silent_layers.py --weights runs/paper_shi.safetensors

Taken over some validation images of Shi's set, at the size of the training; beside it each layer's largest feature, but
for RRNet's, of which a scan hands out none.
"""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.images import validation_images
from benchmarks.tables import reader, show
from btbnet_jax.images import resize_image
from btbnet_jax.initial import load_trained
from btbnet_jax.network import BTBNet
from btbnet_jax.weights import flat


def main() -> None:
    """Prints a row for each layer, and how many are silent."""
    parser = reader(__doc__)
    parser.add_argument("--weights", default="btbnet-small", help="run, checkpoint, file or name (btbnet-small)")
    parser.add_argument("--data-dir", default="data", help="folder of built data sets (data)")
    parser.add_argument("--images", type=int, default=4, help="to look at (4)")
    arguments = parser.parse_args()
    trained = load_trained(arguments.weights)
    examples = validation_images(arguments.data_dir)
    size = trained.config.data.size or 320
    images = np.stack([resize_image(examples[index][0], (size, size)) for index in range(arguments.images)])
    network = BTBNet(trained.config.network)

    @jax.jit
    def maps(params: Any, images: Any) -> Any:
        outputs, kept = network.apply({"params": params}, images / 255.0, capture_intermediates=True)
        largest = {name: jnp.max(jnp.abs(leaf)) for name, leaf in flat(kept["intermediates"]).items() if leaf.ndim == 4}
        made: Any = outputs
        return jnp.sum(made.logits) + jnp.sum(made.streams), largest

    gradient, largest = jax.grad(maps, has_aux=True)(trained.params, jnp.asarray(images))
    rows = []
    for name, leaf in flat(gradient).items():
        if name.endswith("/kernel"):
            layer = name.removesuffix("/kernel")
            feature = f"{largest[key]:.3f}" if (key := f"{layer}/__call__/0") in largest else "–"
            rows.append({"layer": layer, "largest feature": feature, "silent": "" if jnp.any(leaf) else "silent"})
    silent = sum(row["silent"] != "" for row in rows)
    what = f"{arguments.weights}, {arguments.images} validation images at {size} × {size}"
    show(rows, list(rows[0]), arguments.save, before=f"{what}: {silent} of {len(rows)} layers are silent")


if __name__ == "__main__":
    main()
