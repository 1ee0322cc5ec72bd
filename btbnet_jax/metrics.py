"""The evaluation protocols of the field, each under a name of its own.

Public evaluation codes share β² = 0.3 and differ in all else, so there is no such thing as "the" F-measure: a
figure without the name of its protocol cannot be compared with another.  Here each protocol is one function of
`LevelCounts`; g is the mask, m the map.  What it says of each image, and how a figure follows from the mean of that
over the images, are kept apart, so that figures of resampled images come cheaply (`intervals`).

In focus is 1 and, but for the protocols with "blur" in their name, the positive class.  Decided for all of them:

- no hit, no score: precision, recall, F and intersection over union are 0 where their fraction is 0/0.  So an
  image whose mask has no positive pixel scores 0 whatever its map, and a precision without predictions is 0;
- an empty map (all 0) predicts "blurred" everywhere at a fixed threshold above 0, but its adaptive threshold is
  0, which every pixel reaches: there it scores as a map that is all in focus;
- a mask that is all in focus is like any other where focus is positive, and scores 0 where blur is.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int16
from numpy import ndarray

from btbnet_jax.histograms import LevelCounts

BETA_SQUARED = 0.3


class Protocol:
    """A way to score maps: ``protocol(counts)`` is its figure, `of_images` what it is made of.

    Args:
      of_images: from counts to numbers for each image, [images, k]; its name is the protocol's.
      of_mean: from means of these numbers, [resamplings, k], to figures, [resamplings].
    """

    def __init__(
        self,
        of_images: Callable[[LevelCounts], Float[ndarray, "i k"]],
        of_mean: Callable[[Float[ndarray, "r k"]], Float[ndarray, " r"]],
    ) -> None:
        self.of_images, self.of_mean = of_images, of_mean
        self.__name__, self.__doc__ = of_images.__name__, of_images.__doc__

    def __call__(self, counts: LevelCounts) -> float:
        """Returns the figure of all images.

        Raises:
          ValueError: no image.
        """
        return self.figure(self.of_images(counts))

    def figure(self, numbers: Float[ndarray, "i k"]) -> float:
        """Returns the figure of the images that `of_images` gave these numbers for, one image or more."""
        return float(self.of_mean(_of_images(numbers).mean(axis=0, keepdims=True))[0])


class _Tally(NamedTuple):
    """Numbers of pixels: positive in map and mask, positive in the map, positive in the mask."""

    hits: ndarray
    predicted: ndarray
    positive: ndarray

    def precision(self) -> ndarray:
        return _ratio(self.hits, self.predicted)

    def recall(self) -> ndarray:
        return _ratio(self.hits, self.positive)

    def f_measure(self) -> ndarray:
        return _f_measure(self.precision(), self.recall())

    def intersection_over_union(self) -> ndarray:
        return _ratio(self.hits, self.predicted + self.positive - self.hits)


def _averaged(of_images: Callable[[LevelCounts], Float[ndarray, " i"]]) -> Protocol:
    """The protocol whose figure is the mean of the images'."""
    return Protocol(functools.wraps(of_images)(lambda counts: of_images(counts)[:, None]), lambda means: means[:, 0])


def _pooled(of_tally: Callable[[_Tally], ndarray]) -> Callable[[Callable[[LevelCounts], _Tally]], Protocol]:
    """The protocol whose figure is that of the pixels of all images together."""

    def decorated(tally_of: Callable[[LevelCounts], _Tally]) -> Protocol:
        return Protocol(
            functools.wraps(tally_of)(lambda counts: np.stack(tally_of(counts), axis=-1).astype(np.float64)),
            lambda means: of_tally(_Tally(*means.T)),
        )

    return decorated


@_averaged
def mae(counts: LevelCounts) -> Float[ndarray, " i"]:
    """Returns the mean absolute error of map and mask, neither made binary: the mean of the images'.

    Source: all publications of the field; a few resize maps and masks to 160 x 160 or 320 x 320 first.
    """
    errors = counts.pixels(np.abs(counts.map_level - counts.mask_level))
    return errors / (255 * counts.pixels())


@_averaged
def adaptive(counts: LevelCounts) -> Float[ndarray, " i"]:
    """Returns F with each image's own threshold, 1.5 times the mean of its map, at most 1: the mean of the images'.

    The headline figure of this package.  Positive: in focus, g > 0.1.

    Source: evaluation code that BTBNet's authors published with a later network of theirs (SG).
    """
    predicted = _reaches_its_threshold(counts, counts.map_level)
    return _tally(counts, predicted=predicted, positive=counts.mask_level > 0.1 * 255).f_measure()


@_pooled(_Tally.f_measure)
def adaptive_pooled(counts: LevelCounts) -> _Tally:
    """Returns F of the pixels of all images together; map and mask each by 1.5 times its own mean, at most 1.

    Positive: in focus; a mask without focus has nothing positive.

    Source: https://github.com/vinthony/depth-distillation, eval.ipynb.  Explicit-Visual-Prompt pools the images
      of each batch of 4 in the same way.
    Deviation: reaching a threshold is enough, here as in `adaptive`.  There it has to be exceeded, so that a
      constant map, or a mask with more than two thirds in focus, has no positive pixel at all: HiFST's published
      maps of Shi's 100 test images score 0.768 there for 0.776 here, and constant maps 0 for 0.353.
    """
    predicted = _reaches_its_threshold(counts, counts.map_level)
    positive = _reaches_its_threshold(counts, counts.mask_level) & (counts.mask_level > 0)
    return _tally(counts, predicted=predicted, positive=positive)


def _peak_of_mean(of_images: Callable[[LevelCounts], Float[ndarray, "i 512"]]) -> Protocol:
    """The protocol whose figure is the peak of the averaged precision (first half) and recall."""
    return Protocol(of_images, lambda means: _f_measure(means[:, :256], means[:, 256:]).max(axis=1))


@_peak_of_mean
def max_of_mean(counts: LevelCounts) -> Float[ndarray, "i 512"]:
    """Returns the highest F of the averaged precision and recall: the peak of `curve`.

    Positive: in focus, g > 0.5.

    Source: https://github.com/ChangTang/BR2Net, and the usual precision-recall curve.
    """
    tally = _tally_at_every_level(counts, positive=counts.mask_level > 127.5)
    return np.concatenate([tally.precision(), tally.recall()], axis=1)


@_averaged
def mean_of_max(counts: LevelCounts) -> Float[ndarray, " i"]:
    """Returns the mean over the images of the highest F that any threshold gives for each.

    Positive: in focus, g >= 0.1.  The source divides a map by its maximum first, which changes nothing where
    every threshold that separates two of its levels is tried.

    Source: https://github.com/wdzhao123/APL, evaluate_dbd/subcode; its authors' MLDBD is evaluated likewise.
    Deviation: there the thresholds are i * 0.00392157, i = 1..255, which leaves out the one that takes every
      pixel; images with an empty map count in the sum but not in its divisor; and where a mask has no positive
      pixel, mask and map are turned round and the blur is scored.
    """
    tally = _tally_at_every_level(counts, positive=counts.mask_level >= 0.1 * 255)
    return tally.f_measure().max(axis=1)


@_averaged
def blur_at_half(counts: LevelCounts) -> Float[ndarray, " i"]:
    """Returns F of the blur at threshold one half: the mean of the images'.

    Positive: blurred, g < 0.5, where m < 0.5.  Mind that a map of zeros scores 0.75 on Shi's test images.

    Source: https://github.com/yuxinjin-whu/D-DFFNet, F_score1 in utils.py.
    Deviation: there grey masks stay grey, and an image that "all blurred" would score higher gets that score; for
      HiFST's published maps of Shi's 100 test images neither matters.
    """
    return _tally_of_blur(counts).f_measure()


@_averaged
def focus_at_half(counts: LevelCounts) -> Float[ndarray, " i"]:
    """Returns F at threshold one half: the mean of the images'.

    Positive: in focus, g > 0.5, where m >= 0.5.

    Source: none; `blur_at_half` with the other class positive, to show how far apart the two are.
    """
    predicted, positive = counts.map_level >= 127.5, counts.mask_level > 127.5
    return _tally(counts, predicted=predicted, positive=positive).f_measure()


@_pooled(_Tally.intersection_over_union)
def iou_blur_at_half_pooled(counts: LevelCounts) -> _Tally:
    """Returns intersection over union of the blur at threshold one half, of the pixels of all images together.

    Source: https://github.com/yuxinjin-whu/D-DFFNet, test_iou.py.
    """
    return _tally_of_blur(counts)


@_averaged
def iou_blur_at_half_mean(counts: LevelCounts) -> Float[ndarray, " i"]:
    """Returns intersection over union of the blur at threshold one half: the mean of the images'.

    Source: none; `iou_blur_at_half_pooled` averaged over the images.
    """
    return _tally_of_blur(counts).intersection_over_union()


PROTOCOLS: tuple[Protocol, ...] = (
    mae,
    adaptive,
    adaptive_pooled,
    max_of_mean,
    mean_of_max,
    blur_at_half,
    focus_at_half,
    iou_blur_at_half_pooled,
    iou_blur_at_half_mean,
)


def scores(counts: LevelCounts) -> dict[str, float]:
    """Returns the figure of every protocol under its name.

    Raises:
      ValueError: no image.
    """
    return {protocol.__name__: protocol(counts) for protocol in PROTOCOLS}


class Curve(NamedTuple):
    """Precision, recall and F for the 256 thresholds k/255 on the map."""

    threshold: Float[ndarray, "256"]
    precision: Float[ndarray, "256"]
    recall: Float[ndarray, "256"]
    f_measure: Float[ndarray, "256"]


def curve(counts: LevelCounts) -> Curve:
    """Returns precision and recall averaged over the images, and their F, at every threshold.

    Positive: in focus, g > 0.5, where m >= k/255; so the first threshold takes every pixel.

    Source: figure "precision-recall curves" of the paper; averaged as saliency detection does it.

    Raises:
      ValueError: no image.
    """
    precision, recall = np.split(_of_images(max_of_mean.of_images(counts)).mean(axis=0), 2)
    return Curve(np.arange(256) / 255, precision, recall, _f_measure(precision, recall))


def _tally(counts: LevelCounts, *, predicted: Bool[ndarray, " n"], positive: Bool[ndarray, " n"]) -> _Tally:
    return _Tally(counts.pixels(predicted & positive), counts.pixels(predicted), counts.pixels(positive))


def _tally_of_blur(counts: LevelCounts) -> _Tally:
    return _tally(counts, predicted=counts.map_level < 127.5, positive=counts.mask_level < 127.5)


def _tally_at_every_level(counts: LevelCounts, *, positive: Bool[ndarray, " n"]) -> _Tally:
    hits = counts.pixels_from_level(positive)
    return _Tally(hits, counts.pixels_from_level(), hits[:, :1])


def _reaches_its_threshold(counts: LevelCounts, level: Int16[ndarray, " n"]) -> Bool[ndarray, " n"]:
    """Whether level k of an image with N pixels is at least min(1.5 · mean, 255); 2·k·N >= 3·Σk in integers."""
    pixels, total = counts.pixels()[counts.image], counts.pixels(level)[counts.image]
    return (2 * level * pixels >= 3 * total) | (level == 255)


def _f_measure(precision: ndarray, recall: ndarray) -> ndarray:
    """F = (1 + β²) P R / (β² P + R)."""
    return _ratio((1 + BETA_SQUARED) * precision * recall, BETA_SQUARED * precision + recall)


def _ratio(part: ndarray, whole: ndarray) -> ndarray:
    """``part / whole``, and 0 for 0/0."""
    return part / np.where(whole == 0, 1, whole)


def _of_images(figures: ndarray) -> ndarray:
    """`figures` of one image or more, along the first axis."""
    if not len(figures):
        raise ValueError("there is no image to score")
    return figures
