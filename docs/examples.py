"""Draws docs/examples.png, what the network inside the package sees in two photographs.

    pip install scikit-image
    python docs/examples.py

The photographs come with scikit-image: "astronaut" is NASA's and in the public domain, "chelsea" is CC0 by Stéfan van
der Walt.  Neither is in any data set of this project.
"""

from pathlib import Path

from skimage import data  # pyright: ignore[reportMissingImports]  no requirement of this project

from btbnet_jax import Detector
from btbnet_jax.images import overlay, quantise
from btbnet_jax.plots import panel


def main() -> None:
    """Writes the picture beside this file."""
    detector = Detector.load("btbnet-small")
    rows = []
    for image in (data.astronaut(), data.chelsea()):
        focus_map = detector(image).focus_map
        rows.append([image, quantise(focus_map), overlay(image, focus_map)])
    path = Path(__file__).with_name("examples.png")
    panel(path, rows, column_titles=["photograph", "map, white = in focus", "overlay"], row_titles=["", ""])


if __name__ == "__main__":
    main()
