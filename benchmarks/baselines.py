"""Times the methods without learning on one image, beside HiFST of the package `blur_detector` where it is installed.

    python benchmarks/baselines.py

The image is generated, 427 x 640 pixels.  All take turns in one process, after one turn each that compiles.  That
package needs OpenCV, so it gets an environment of its own: pip install -e . blur_detector 'scikit-image<0.26'
"""

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.tables import reader, show
from btbnet_jax.baselines import BASELINES, CLASSICAL
from btbnet_jax.sources import generated, simulated

OURS = "hifst"
THEIRS = "HiFST of blur_detector"


def main() -> None:
    """Prints the table."""
    parser = reader(__doc__)
    parser.add_argument("--height", type=int, default=427)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--turns", type=int, default=3, help="of each, after the first (3)")
    arguments = parser.parse_args()
    scene = generated.scene("train", 0, height=arguments.height, width=arguments.width)
    image = simulated.blurred_version(scene, 12)[0]

    calls = {baseline.__name__: _ours(baseline, image) for baseline in BASELINES + CLASSICAL}
    if theirs := _theirs(image):
        calls[THEIRS] = theirs
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(arguments.turns + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: float(np.median(times[1:])) for name, times in seconds.items()}
    rows: list[dict[str, str | float]] = [
        {"method": name, "first": times[0], "warm": medians[name], f"{OURS} = 1": medians[name] / medians[OURS]}
        for name, times in seconds.items()
    ]
    left_out = "" if theirs else f"left out, as it is not installed: {THEIRS}"
    show(rows, list(rows[0]), arguments.save, after=left_out)


def _ours(baseline: Callable[..., Any], image: np.ndarray) -> Callable[[], Any]:
    images, valid = jnp.asarray(image)[None] / 255.0, jnp.ones((1, *image.shape[:2], 1), bool)
    return lambda: jax.block_until_ready(baseline(images, valid))


def _theirs(image: np.ndarray) -> Callable[[], Any] | None:
    try:
        package: Any = importlib.import_module("blur_detector")
    except ImportError:
        return None
    grey = np.asarray(image.mean(axis=-1), np.uint8)

    # At every pixel, and with the patches of the paper: by default it takes every fourth in each direction.
    return lambda: package.BlurDetector(downsampling_factor=1, show_progress=False).detectBlur(grey)


if __name__ == "__main__":
    main()
