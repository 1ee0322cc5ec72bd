"""Scores networks on images with noise, and says how much focus they see where there is none.

    python benchmarks/noise.py --data-dir data
    python benchmarks/noise.py btbnet-small runs/cpu_small_grain

The images are those that a network was validated by.  "White" is how much of them is at least half in focus by the
maps, of the same images after a Gaussian of 8 pixels, of which nothing is: a network that takes grain for focus shows
it there.  The noise is drawn for each pixel and each channel, at the size that the network sees.
"""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.images import validation_images
from benchmarks.tables import reader, show
from btbnet_jax import evaluation, metrics
from btbnet_jax.histograms import LevelCounts
from btbnet_jax.initial import load_trained
from btbnet_jax.types import Batch

COLUMNS = ("network", "noise, grey levels", "MAE", "adaptive F", "max_of_mean F", "white where all is blurred")
BLUR = 8  # pixels of the size that the network sees, the deviation of a Gaussian
SIZE, BATCH = 320, 4  # the noise is drawn for a whole batch


def main() -> None:
    """Prints the table."""
    parser = reader(__doc__)
    parser.add_argument("networks", nargs="*", default=["btbnet-small"], help="names, files or runs (btbnet-small)")
    parser.add_argument("--data-dir", default="data", help="folder of built data sets (data)")
    parser.add_argument("--levels", type=float, nargs="+", default=[0, 2, 4, 8], help="deviations (0 2 4 8)")
    arguments = parser.parse_args()
    examples = validation_images(arguments.data_dir)
    methods: dict[str, evaluation.Method] = {}
    for name in arguments.networks:
        trained = load_trained(name)
        method = evaluation.network_method(trained.config.network, trained.params)
        for level, blur in itertools.product(arguments.levels, (0, BLUR)):
            methods[_key(name, level, blur)] = with_noise(method, level, blur=blur)
    counts = evaluation.count_levels(methods, examples, size=SIZE, batch_size=BATCH)
    rows = []
    for name, level in itertools.product(arguments.networks, arguments.levels):
        scores = metrics.scores(counts[_key(name, level, 0)])
        figures = [f"{scores[key]:.3f}" for key in ("mae", "adaptive", "max_of_mean")]
        values = name, f"{level:g}", *figures, f"{100 * _white(counts[_key(name, level, BLUR)]):.1f} %"
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    show(rows, COLUMNS, arguments.save, before=f"{len(examples)} validation images of Shi's set at {SIZE} x {SIZE}")


def with_noise(method: evaluation.Method, deviation: float, *, blur: float) -> evaluation.Method:
    """Returns a method that sees images after a Gaussian and with noise, which is the same for all methods."""

    def noisy(batch: Batch, names: Sequence[str]) -> Any:
        rng = np.random.default_rng(max(batch.example))
        smooth = ndimage.gaussian_filter(batch.image.astype(np.float32), (0, blur, blur, 0))
        image = np.rint(smooth + deviation * rng.standard_normal(smooth.shape, np.float32))
        return method(batch._replace(image=np.clip(image, 0, 255).astype(np.uint8)), names)

    return noisy


def _key(name: str, level: float, blur: float) -> str:
    return f"{name} {level:g} {blur:g}"


def _white(counts: LevelCounts) -> float:
    """How much of all maps is at least half in focus."""
    return counts.count[counts.map_level >= 128].sum() / counts.count.sum()


if __name__ == "__main__":
    main()
