"""The least that a method has to beat: the two constant maps, and the local variance of the Laplacian."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from btbnet_jax.baselines.windows import Values, extended, grey, window_sum
from btbnet_jax.types import Images, Maps, Valid


@jax.jit
def all_blurred(images: Images, valid: Valid) -> Maps:
    """Returns maps of 0: what a method scores that finds nothing in focus."""
    return jnp.zeros_like(images[..., :1])


@jax.jit
def all_in_focus(images: Images, valid: Valid) -> Maps:
    """Returns maps of 1: what a method scores that finds everything in focus."""
    return jnp.ones_like(images[..., :1]) * valid


@partial(jax.jit, static_argnames="window")
def laplacian_variance(images: Images, valid: Valid, *, window: int = 31) -> Maps:
    """Returns the variance of the Laplacian around each pixel, divided by its maximum over the image.

    At the border of an image the Laplacian takes the outside for a repetition of the nearest pixel, and windows
    are cut off.  An image of one colour has a map of 0.

    Args:
      images: RGB in 0..1.
      valid: false on padding.
      window: side of the square window, odd.

    Source: Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy", applied locally.
    Assumption: window 31, and the variance itself, not its root or logarithm: of windows from 7 to 31 and these
      scalings it scored best on the 60 validation images out of Shi's training images.
    """
    laplacian = _laplacian(grey(images), valid)
    mean, mean_square = _window_mean(laplacian, valid, window), _window_mean(laplacian**2, valid, window)
    variance = jnp.where(valid, jnp.maximum(mean_square - mean**2, 0), 0)
    return variance / jnp.maximum(variance.max(axis=(1, 2, 3), keepdims=True), jnp.finfo(variance.dtype).tiny)


Baseline = Callable[[Images, Valid], Maps]


def _laplacian(values: Values, valid: Valid) -> Values:
    """The sum of the differences to the four neighbours, outside the image to the nearest pixel of it."""
    padded = extended(values, valid, 1, "nearest")
    height, width = values.shape[1:3]
    laplacian = jnp.zeros_like(values)
    for row, column in ((0, 1), (1, 0), (1, 2), (2, 1)):
        laplacian += padded[:, row : row + height, column : column + width] - values
    return jnp.where(valid, laplacian, 0)


def _window_mean(values: Values, valid: Valid, window: int) -> Values:
    """The mean over the valid pixels of a square window around each pixel; `values` are 0 elsewhere."""
    return window_sum(values, window) / jnp.maximum(window_sum(valid.astype(values.dtype), window), 1)
