"""Sharpness by local binary patterns (Yi and Eramian 2016)."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

from btbnet_jax.baselines.windows import Padded, Values, extended, grey, stretched, window_sum
from btbnet_jax.types import Images, Maps, Valid

# Clockwise from the right: rows and columns of the neighbours at distance 1.
_NEIGHBOURS = tuple((math.sin(k * math.pi / 4), math.cos(k * math.pi / 4)) for k in range(8))
_NUM_PATTERNS = 10
_LOWEST_SHARP = 6


@partial(jax.jit, static_argnames=("threshold", "windows"))
def lbp(images: Images, valid: Valid, *, threshold: float = 0.016, windows: tuple[int, ...] = (11, 15, 21)) -> Maps:
    """Returns the share of local binary patterns that smooth surfaces do not have, around each pixel.

    A pattern has a bit for each of 8 neighbours at distance 1, set where it is brighter than the centre by more
    than the threshold.  Blurred regions hardly have patterns in which most neighbours are brighter, nor irregular
    ones.

    Args:
      images: RGB in 0..1, rounded to 8 bits of luma.
      valid: false on padding.
      threshold: of the difference, for values in 0..1.
      windows: sides of the square windows, odd.

    Source: X. Yi and M. Eramian, "LBP-based segmentation of defocus blur", IEEE Trans. Image Processing 25(4),
      2016, eq. 15; threshold, windows, interpolation, borders and the stretching of each window's map to 0..1 as
      in its authors' code, xinario/defocus_segmentation.
    Deviation: the maps of the windows are averaged.  There each goes through alpha matting, and a graphical model
      joins them.
    """
    levels = jnp.round(255 * grey(jnp.where(valid, images, 0)))
    patterns = _uniform_patterns(extended(levels, valid, 1, "nearest"), 255 * threshold)
    sharp = (patterns >= _LOWEST_SHARP).astype(jnp.float32)
    maps = [
        stretched(window_sum(extended(sharp, valid, window // 2, "nearest"), window, padding="VALID"), valid)
        for window in windows
    ]
    return sum(maps[1:], maps[0]) / len(maps)


def _uniform_patterns(levels: Padded, threshold: float) -> Int32[Array, "b h w 1"]:
    """The number of brighter neighbours where they are all side by side, else 9; without the outermost pixels."""
    centre = _shifted(levels, 0, 0)
    bits = jnp.stack([_interpolated(levels, *at) - centre > threshold for at in _NEIGHBOURS]).astype(jnp.int32)
    changes = jnp.abs(bits - jnp.roll(bits, 1, axis=0)).sum(axis=0)
    return jnp.where(changes <= 2, bits.sum(axis=0), _NUM_PATTERNS - 1)


def _interpolated(levels: Padded, row: float, column: float) -> Values:
    """The values at a distance of up to 1 from each pixel but the outermost, bilinear."""
    rows, columns = (((0, 1 - abs(x)), (round(math.copysign(1, x)), abs(x))) for x in (row, column))
    parts = [
        weight * other * _shifted(levels, at_row, at_column)
        for at_row, weight in rows
        for at_column, other in columns
        if weight * other > 1e-9
    ]
    return sum(parts[1:], parts[0])


def _shifted(levels: Padded, row: int, column: int) -> Values:
    height, width = levels.shape[1:3]
    return levels[:, 1 + row : height - 1 + row, 1 + column : width - 1 + column]
