"""Draws docs/network.svg and docs/network.png: `python docs/figures.py`.

The photograph in it is generated, and the maps are drawn from its mask: they show what goes where, not a result.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from numpy import ndarray
from scipy import ndimage

from btbnet_jax.sources import generated, simulated

FOLDER = Path(__file__).parent
INK, FAINT, BACK, PAPER = "#26323f", "#8795a5", "#f1f4f7", "#ffffff"
UP, DOWN, FUSE, REFINE = "#3f7cac", "#e08e45", "#5b9279", "#8c6bb1"
Picture = UInt8[ndarray, "h w 3"] | Float[ndarray, "h w"]


def rounded(ax: Axes, x: float, y: float, width: float, height: float, *, colour: str, edge: str = "none") -> None:
    """Draws a rounded rectangle around the centre (x, y)."""
    corner, style = (x - width / 2, y - height / 2), "round,pad=0,rounding_size=0.07"
    ax.add_patch(FancyBboxPatch(corner, width, height, boxstyle=style, facecolor=colour, edgecolor=edge))


def layer(ax: Axes, x: float, y: float, width: float, label: str, *, colour: str, height: float = 0.46) -> None:
    """Draws layers as a box around the centre (x, y)."""
    rounded(ax, x, y, width, height, colour=colour)
    ax.text(x, y, label, color=PAPER, ha="center", va="center", linespacing=1.3)


def arrow(ax: Axes, *points: tuple[float, float], colour: str = FAINT) -> None:
    """Draws straight lines through the points, with a head at the last."""
    ax.plot(*zip(*points, strict=True), color=colour, linewidth=1.3, solid_joinstyle="round")
    head = {"arrowstyle": "-|>,head_length=0.35,head_width=0.18", "color": colour, "linewidth": 1.3, "shrinkB": 0}
    ax.annotate("", xy=points[-1], xytext=points[-2], arrowprops=head)


def picture(ax: Axes, pixels: Picture, x: float, y: float, size: float, label: str) -> None:
    """Shows pixels in a square around the centre (x, y), with a label below."""
    left, low = x - size / 2, y - size / 2
    ax.imshow(pixels, extent=(left, left + size, low, low + size), cmap="gray", vmin=0, vmax=1, zorder=2)
    ax.add_patch(Rectangle((left, low), size, size, fill=False, edgecolor=INK, linewidth=0.6, zorder=3))
    ax.text(x, low - 0.12, label, color=INK, ha="center", va="top")


def example() -> tuple[UInt8[ndarray, "h w 3"], list[Float[ndarray, "h w"]]]:
    """Returns a generated photograph, its right half out of focus, and five maps, each sharper than the one before."""
    clear = generated.scene("test", 3, height=160, width=160)
    image, mask = simulated.blurred_version(clear, simulated.VERSIONS - 1)
    truth = mask / 255
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(mask.shape), 7)
    errors = np.clip(truth + 4 * noise, 0, 1) - truth
    return image, [ndimage.gaussian_filter(truth + e * errors, 1 + 7 * e) for e in (1, 0.8, 0.6, 0.4, 0)]


def stream(ax: Axes, x: float, y: float) -> None:
    """Draws one stream upward from (x, y): VGG16's blocks on its left, the feedback on its right."""
    for behind, colour in ((2, BACK), (1, BACK), (0, PAPER)):
        shift = 0.13 * behind
        rounded(ax, x + 1.45 + shift, y + 1.7 + shift, 3.5, 4.5, colour=colour, edge=FAINT)
    left, right, rise, half = x + 0.75, x + 2.45, 0.75, 0.23
    widths = (0.8, 0.95, 1.15, 1.35, 1.35)
    for n, label in enumerate(("64 × 2", "128 × 2", "256 × 3", "512 × 3", "512 × 3")):
        layer(ax, left, y + n * rise, widths[n], label, colour=UP)
        if n:
            arrow(ax, (left, y + (n - 1) * rise + half), (left, y + n * rise - half))
    arrow(ax, (left + widths[4] / 2, y + 4 * rise), (right, y + 4 * rise), (right, y + 3 * rise + half))
    for n, (channels, width) in enumerate(((1, 0.45), (64, 0.7), (128, 0.85), (256, 1.1))):
        layer(ax, right, y + n * rise, width, f"+ {channels}", colour=DOWN)
        arrow(ax, (left + widths[n] / 2, y + n * rise), (right - width / 2, y + n * rise))
        if n:
            arrow(ax, (right, y + n * rise - half), (right, y + (n - 1) * rise + half))
    ax.text(left, y + 4 * rise + 0.34, "VGG16, no pooling", color=UP, ha="center")
    ax.text(right, y + 4 * rise + 0.34, "feedback", color=DOWN, ha="center")
    ax.text(x + 1.45, y - 0.8, "one stream for each scale", color=INK, ha="center", va="top")


def refinement(ax: Axes, x: float, y: float) -> None:
    """Draws RRNet around the centre (x, y), with its loop above."""
    layer(ax, x, y, 0.8, "RRNet\n\n64\n128\n64\n1", colour=REFINE, height=1.5)
    start, end, turn = x + 0.2, x - 0.2, y + 1.15
    arrow(ax, (start, y + 0.78), (start, turn), (end, turn), (end, y + 0.78), colour=REFINE)
    ax.text(x, turn + 0.1, "three times", color=REFINE, ha="center")


def network() -> Figure:
    """Returns the diagram of the network."""
    figure = Figure(figsize=(12.5, 4.9), facecolor=PAPER)
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, 15.9), ylim=(0.25, 6.45), aspect="equal")
    ax.axis("off")
    image, maps = example()
    y = 3.4

    picture(ax, image, 0.95, y, 1.4, "photograph")
    for n, (scale, row) in enumerate(((1.0, 5.05), (0.8, y), (0.6, 1.75))):
        side = 1.2 * scale
        arrow(ax, (1.7, y), (1.95, y), (1.95, row), (2.92 - side / 2, row))
        picture(ax, image, 3.0, row, side, f"× {scale:g}")
        arrow(ax, (3.05 + side / 2, row), (4.15, row))
        arrow(ax, (8.05, row), (8.45, row))
        picture(ax, maps[n], 8.95, row, 0.9, f"$M_{n + 1}$")
        arrow(ax, (9.45, row), (9.75, row), (9.75, y), (10.05, y))
    stream(ax, 4.5, 2.0)
    layer(ax, 10.5, y, 0.8, "FNet\n\n64\n128\n64\n1", colour=FUSE, height=1.5)
    arrow(ax, (10.9, y), (11.2, y))
    picture(ax, maps[3], 11.75, y, 0.95, "$M_f$")
    arrow(ax, (12.25, y), (12.6, y))
    refinement(ax, 13.05, y)
    arrow(ax, (13.47, y), (13.95, y))
    picture(ax, maps[4], 14.75, y, 1.4, "map: white = in focus")
    for x in (10.5, 13.05):
        arrow(ax, (0.95, y - 1.05), (0.95, 0.55), (x, 0.55), (x, y - 0.77))
    return figure


def main() -> None:
    """Writes the figures beside this file."""
    mpl.rcParams.update({"font.size": 9, "svg.hashsalt": "btbnet_jax"})  # the same file every time
    figure = network()
    figure.savefig(FOLDER / "network.svg", metadata={"Date": None})
    figure.savefig(FOLDER / "network.png", dpi=120)


if __name__ == "__main__":
    main()
