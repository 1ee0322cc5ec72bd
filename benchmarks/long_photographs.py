"""Scores maps of long photographs, seen as a square and in their own shape: bands of the 60 validation images.

    btbnet data shi --manual-dir DOWNLOADS
    python benchmarks/long_photographs.py

Of each image the band with the most even shares of focus and blur is taken, and scored at its own size.  In its own
shape it has as many pixels as the square.
"""

import math
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.images import validation_images
from benchmarks.tables import reader, show
from btbnet_jax import Detector, metrics
from btbnet_jax.histograms import LevelCounts, merge
from btbnet_jax.images import quantise, resize_image, resize_map
from btbnet_jax.types import HostImage, HostMap

COLUMNS = ("length to breadth", "seen as", "MAE", "adaptive F", "max_of_mean F")


def main() -> None:
    """Prints the table."""
    parser = reader(__doc__)
    parser.add_argument("--weights", default="btbnet-small", help="file or name (btbnet-small)")
    parser.add_argument("--data-dir", default="data", help="folder of built data sets (data)")
    parser.add_argument("--ratios", default="1.5,2,2.5,3,4", help="of length to breadth (1.5,2,2.5,3,4)")
    arguments = parser.parse_args()
    square = Detector.load(arguments.weights)
    side = square.training_size
    examples = validation_images(arguments.data_dir)
    rows = []
    for ratio in map(float, arguments.ratios.split(",")):
        own_shape = Detector.load(arguments.weights, resolution=round(side * math.sqrt(ratio)))
        counts: dict[str, list[LevelCounts]] = {f"{side} x {side}": [], "its own shape": []}
        for index in range(len(examples)):
            image, mask = _band(*examples[index], ratio)
            squeezed = square(resize_image(image, (side, side))).focus_map
            maps = (resize_map(squeezed, (mask.shape[0], mask.shape[1])), own_shape(image).focus_map)
            for one, focus_map in zip(counts.values(), maps, strict=True):
                one.append(LevelCounts.from_maps(examples.name(index), quantise(focus_map), mask))
        for name, one in counts.items():
            merged = merge(one)
            figures = (metrics.mae(merged), metrics.adaptive(merged), metrics.max_of_mean(merged))
            values = (f"{ratio:g}", name, *(f"{figure:.3f}" for figure in figures))
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    show(rows, COLUMNS, arguments.save, before=f"bands of {len(examples)} validation images of Shi's set")


def _band(image: HostImage, mask: HostMap, ratio: float) -> tuple[HostImage, HostMap]:
    """Of an image lying on its long side, the rows of a band; all of it where it is longer already."""
    if image.shape[0] > image.shape[1]:
        image, mask = image.swapaxes(0, 1), mask.swapaxes(0, 1)
    height, width = mask.shape
    num = min(height, max(1, round(width / ratio)))
    shares = [(mask[top : top + num] > 127).mean() for top in range(0, height - num + 1, 4)]
    top = 4 * int(np.argmin(np.abs(np.array(shares) - 0.5)))
    return np.ascontiguousarray(image[top : top + num]), np.ascontiguousarray(mask[top : top + num])


if __name__ == "__main__":
    main()
