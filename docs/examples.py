"""Draws what the network inside the package sees in photographs that are in no data set of this project.

    pip install -e '.[demo]'
    python docs/examples.py demo/photographs.png  # docs/examples.png without a path

They come with scikit-image: "astronaut" is NASA's and in the public domain, "chelsea" is CC0 by Stéfan van der Walt,
and "coffee" is CC0 by Rachel Michetti.
"""

import sys
from pathlib import Path

from skimage import data

from btbnet_jax import Detector
from btbnet_jax.images import overlay, quantise
from btbnet_jax.plots import panel


def main(path: Path) -> None:
    """Writes the picture."""
    detector = Detector.load("btbnet-small")
    rows = []
    for image in (data.astronaut(), data.chelsea(), data.coffee()):
        focus_map = detector(image).focus_map
        rows.append([image, quantise(focus_map), overlay(image, focus_map)])
    path.parent.mkdir(parents=True, exist_ok=True)
    panel(path, rows, column_titles=["photograph", "map, white = in focus", "overlay"], row_titles=[""] * len(rows))
    print(f"photographs, and what is in focus in them: {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).with_name("examples.png"))
