"""What a person looks at: curves and panels of pictures.

The only module that knows Matplotlib, which takes long to import; it draws into files and opens no window.  A file
appears whole or not at all.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import IdentityTransform
from numpy import ndarray

from btbnet_jax.images import resize_image
from btbnet_jax.metrics import BETA_SQUARED, Curve
from btbnet_jax.writing import write_whole

Picture = UInt8[ndarray, "_ _ 3"] | UInt8[ndarray, "_ _"]

# Okabe and Ito's colours, without their yellow: to be told apart by the colour-blind.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", "--", "-.", ":")
_INK, _FAINT = "#333333", "#BBBBBB"
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text that can be searched
    "svg.hashsalt": "btbnet_jax",  # the same file for the same figures
}

# Of pictures, in pixels.
_DPI = 100
_LARGEST_SIDE, _GAP, _HEADER, _LETTER = 240, 6, 26, 7
_FRAME = 187  # grey
_PANEL_BYTES = 1_800_000  # of its pictures before compression, which halves photographs


def precision_recall_plot(path: Path, curves: Mapping[str, Curve], *, title: str = "") -> None:
    """Writes precision over recall, and F over the threshold, of several methods as one picture.

    Dots mark the highest F, `metrics.max_of_mean`; where several lie at one place, as those of the constant maps do,
    the first are drawn larger, with thicker lines, and look out under the others.  Grey lines join points of the same
    F.  Thresholds at which no pixel of any image is in focus have no point.

    Args:
      path: ends in ".png" or ".svg".
      curves: by the name of the method.
      title: of the whole picture, for instance the data set.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_equal_f(left)
        covers = _covers(curves.values())
        for number, (name, curve) in enumerate(curves.items()):
            color, dashes = _COLOURS[number % len(_COLOURS)], _DASHES[number // len(_COLOURS) % len(_DASHES)]
            best, found = int(curve.f_measure.argmax()), curve.recall > 0
            style = {
                "color": color,
                "label": f"{name}   {curve.f_measure[best]:.3f}",
                "linewidth": 1.5 + 2.5 * covers[number],
                "marker": "o",
                "markersize": 5 + 4 * covers[number],
                "markevery": (np.flatnonzero(found) == best).tolist(),
                "clip_on": False,
                "in_layout": False,  # unclipped, a curve without a point is taken for infinite
            }
            for axes, x, y in ((left, curve.recall, curve.precision), (right, curve.threshold, curve.f_measure)):
                axes.plot(x[found], y[found], dashes, **style)
        _label(left, "Precision and recall, each the mean of the images", "recall", "precision")
        _label(right, f"F of these means, β² = {BETA_SQUARED}", "threshold on the map", "F")
        dots = "Dots: max_of_mean" + ("\nLarger: under another dot" if any(covers) else "")
        figure.legend(*right.get_legend_handles_labels(), loc="outside right upper", title=dots, alignment="left")
        figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        _save(path, figure)


def _covers(curves: Iterable[Curve]) -> list[int]:
    """How many later curves have their highest F where each has its own, as far as the eye can tell."""
    peaks = [np.stack(curve)[:, curve.f_measure.argmax()] for curve in curves]
    return [sum(np.allclose(peak, later, rtol=0, atol=0.01) for later in peaks[n:]) for n, peak in enumerate(peaks, 1)]


def _draw_equal_f(axes: Axes) -> None:
    recall = np.linspace(0.001, 1, 500)
    for f in np.arange(1, 10) / 10:
        # F = (1 + β²) P R / (β² P + R), solved for P.
        rest = (1 + BETA_SQUARED) * recall - BETA_SQUARED * f
        precision = np.divide(f * recall, rest, out=np.full_like(recall, np.nan), where=rest > 0)
        precision[precision > 1] = np.nan
        axes.plot(recall, precision, color=_FAINT, linewidth=0.6, zorder=0)
        axes.text(1.01, precision[-1], f"F {f:.1f}", color="#888888", fontsize=7, va="center")


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left")
    axes.set(xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1), xticks=np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.grid(color="#EEEEEE", linewidth=0.6)
    axes.set_axisbelow(True)


def panel(
    path: Path,
    rows: Sequence[Sequence[Picture]],
    *,
    column_titles: Sequence[str],
    row_titles: Sequence[str],
) -> None:
    """Writes pictures in rows and columns as one PNG of some 1 MB at most, for instance image, mask and map.

    Args:
      path: ends in ".png".
      rows: images ``[h, w, 3]`` and masks or maps ``[h, w]`` of any size.  Each is scaled to 240 pixels on its
        larger side, and to fewer where there are many.
      column_titles: one line each, such as "image", "mask", "btbnet-small".
      row_titles: one or more lines each, such as the name of the image and its figures.

    Raises:
      ValueError: rows of different lengths, or another number of titles.
    """
    if not rows or {len(row) for row in rows} != {len(column_titles)} or len(rows) != len(row_titles):
        raise ValueError(
            f"rows of {[len(row) for row in rows]} pictures, {len(column_titles)} column titles and "
            f"{len(row_titles)} row titles do not make a panel"
        )
    sizes = _sizes(rows)
    heights, widths = sizes[..., 0].max(axis=1), sizes[..., 1].max(axis=0)
    longest_line = max(len(line) for title in row_titles for line in title.split("\n"))
    lefts = np.cumsum([2 * _GAP + _LETTER * longest_line, *(widths + _GAP)])
    tops = np.cumsum([_HEADER, *(heights + _GAP)])
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(lefts[-1] / _DPI, tops[-1] / _DPI), dpi=_DPI)
        write = partial(figure.text, transform=IdentityTransform())
        for left, width, title in zip(lefts[:-1], widths, column_titles, strict=True):
            write(left + width / 2, tops[-1] - 0.7 * _HEADER, title, ha="center")
        for top, height, title in zip(tops[:-1], heights, row_titles, strict=True):
            write(_GAP, tops[-1] - top - height / 2, title, va="center", fontsize=8, linespacing=1.4)
        for row, column in np.ndindex(sizes.shape[:2]):
            height, width = sizes[row, column].tolist()
            picture = _framed(resize_image(rows[row][column], (height, width)))
            left = lefts[column] + (widths[column] - width) // 2
            top = tops[row] + (heights[row] - height) // 2
            # Matplotlib counts pixels from the bottom.
            figure.figimage(picture, left, tops[-1] - top - height, cmap="gray", vmin=0, vmax=255)
        _save(path, figure)


def _sizes(rows: Sequence[Sequence[Picture]]) -> Int[ndarray, "rows columns 2"]:
    """Height and width of each picture in the panel."""
    shapes = np.array([[picture.shape[:2] for picture in row] for row in rows])
    channels = np.array([[picture.size for picture in row] for row in rows]) / shapes.prod(axis=-1)
    shares = shapes / shapes.max(axis=-1, keepdims=True)
    bytes_of_side_1 = (shares.prod(axis=-1) * channels).sum()
    side = min(_LARGEST_SIDE, (_PANEL_BYTES / bytes_of_side_1) ** 0.5)
    return np.maximum(np.rint(side * shares), 3).astype(int)  # something within the frame


def _framed(picture: Picture) -> Picture:
    """`picture` with its outermost pixels grey, so that white ones do not run into the page."""
    inside = np.pad(np.ones([n - 2 for n in picture.shape[:2]], bool), 1)
    return np.where(inside.reshape(inside.shape + (1,) * (picture.ndim - 2)), picture, np.uint8(_FRAME))


def _save(path: Path, figure: Figure) -> None:
    data = io.BytesIO()
    kind = path.suffix.removeprefix(".")
    figure.savefig(data, format=kind, dpi=_DPI, metadata={"Date": None} if kind == "svg" else {"Software": None})
    write_whole(path, data.getvalue())
