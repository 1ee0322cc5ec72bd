"""Draws what the network inside the package sees in photographs that are in no data set of this project.

    pip install -e '.[demo]'
    python docs/examples.py demo/photographs.png  # docs/examples.png without a path
    python docs/examples.py --failures            # what it sees where it is wrong: docs/failures.png

They come with scikit-image: "astronaut" is NASA's and in the public domain, "chelsea" is CC0 by Stéfan van der Walt,
and "coffee" is CC0 by Rachel Michetti.
"""

import argparse
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage
from skimage import data

from btbnet_jax import Detector
from btbnet_jax.images import overlay, quantise
from btbnet_jax.plots import panel
from btbnet_jax.types import HostImage

BLUR = 8  # pixels, the deviation of a Gaussian


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, nargs="?", help="of the picture")
    parser.add_argument("--failures", action="store_true")
    options = parser.parse_args()
    images = [("", data.astronaut()), ("", data.chelsea()), ("", data.coffee())]
    name, pictures = ("failures", failures()) if options.failures else ("examples", images)
    path = options.path or Path(__file__).with_name(f"{name}.png")
    detector, rows = Detector.load("btbnet-small"), []
    for _, image in pictures:
        focus_map = detector(image).focus_map
        rows.append([image, quantise(focus_map), overlay(image, focus_map)])
    path.parent.mkdir(parents=True, exist_ok=True)
    titles = [title for title, _ in pictures]
    panel(path, rows, column_titles=["photograph", "map, white = in focus", "overlay"], row_titles=titles)
    print(f"photographs, and what is in focus in them: {path}")


def failures() -> list[tuple[str, HostImage]]:
    """Returns pictures with what is true of them."""
    cup, cat = (_blurred(image()) for image in (data.coffee, data.chelsea))
    grain = np.random.default_rng(0).normal(size=(*cup.shape[:2], 1))
    height, width, _ = cat.shape
    rows, columns = np.mgrid[:height, :width]
    waves = (rows - 20 * np.sin(columns / 60)) % 60
    middle = np.hypot(rows - height / 2, columns - width / 2)
    shade = 200 - 1.2 * np.hypot(rows - height / 2 + 40, columns - width / 2 + 40)
    ball = shade[..., None] * np.array([1.0, 0.5, 0.4])
    pictures = {
        "all blurred,\ngrain": cup + 8 * grain,
        "all blurred,\nmuch grain": cup + 16 * grain,
        "thin lines\nin focus": np.where((waves < 4)[..., None], 20, cat),
        "a smooth ball\nin focus": np.where((middle < 90)[..., None], ball, cat),
    }
    return [(name, np.clip(np.rint(picture), 0, 255).astype(np.uint8)) for name, picture in pictures.items()]


def _blurred(image: HostImage) -> Float[ndarray, "h w 3"]:
    return np.asarray(ndimage.gaussian_filter(image.astype(float), (BLUR, BLUR, 0)))


if __name__ == "__main__":
    main()
