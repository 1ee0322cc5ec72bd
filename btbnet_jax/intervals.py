"""How sure a figure is: bootstrap intervals over the images of a data set."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from btbnet_jax.histograms import LevelCounts
from btbnet_jax.metrics import Protocol


class Interval(NamedTuple):
    """A figure with the bounds of its interval."""

    figure: float
    low: float
    high: float


def resamplings(num_images: int, *, num: int = 2000, seed: int = 0) -> Float[ndarray, "r i"]:
    """Returns weights of the images in so many samples of as many images, drawn with replacement; rows sum to 1.

    Source: B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7(1), 1979.

    Raises:
      ValueError: no image.
    """
    if num_images < 1:
        raise ValueError("there is no image to draw from")
    drawn = np.random.default_rng(seed).multinomial(num_images, np.full(num_images, 1 / num_images), size=num)
    return drawn / num_images


def interval(
    protocol: Protocol, counts: LevelCounts, weights: Float[ndarray, "r i"], *, level: float = 0.95
) -> Interval:
    """Returns the figure of all images, and the percentiles between which `level` of the resampled ones lie.

    It is the uncertainty that comes from the choice of these images; that of training is not in it.

    Args:
      protocol: of `metrics`.
      counts: of the method.
      weights: from `resamplings`.
      level: share of the resampled figures inside the interval.
    """
    numbers = protocol.of_images(counts)
    return _interval(protocol.figure(numbers), protocol.of_mean(weights @ numbers), level)


def difference_interval(
    protocol: Protocol,
    first: LevelCounts,
    second: LevelCounts,
    weights: Float[ndarray, "r i"],
    *,
    level: float = 0.95,
) -> Interval:
    """Returns by how much the first method's figure is above the second's, on the same images.

    Each sample holds the same images for both, so what makes an image hard for both falls out.  Arguments as of
    `interval`.

    Raises:
      ValueError: the methods were not scored on the same images in the same order.
    """
    if first.names != second.names:
        raise ValueError("a difference needs the figures of the same images, in the same order")
    numbers = [protocol.of_images(counts) for counts in (first, second)]
    figure, other = map(protocol.figure, numbers)
    resampled, others = (protocol.of_mean(weights @ one) for one in numbers)
    return _interval(figure - other, resampled - others, level)


def _interval(figure: float, resampled: Float[ndarray, " r"], level: float) -> Interval:
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(figure, float(low), float(high))
