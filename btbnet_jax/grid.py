"""How a map is divided into tiles: all of one shape, with just the border that the network draws from."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray

SMALLEST_TILE = 16
"""Side in pixels; of smaller ones, nearly all would be border."""

_STEPS = 8  # in the side of the largest square tile; the sides of tiles are multiples of one

Shape = tuple[int, int]
Point = Int[Array | ndarray, " 2"]


class Tile(NamedTuple):
    """A tile of a map, wherever in it.

    Attributes:
      shape: height and width that it covers; it may reach beyond the map.
      border: rows above and below, and columns left and right, that are computed with it.  There are none along a side
        that one tile covers: zeros follow there, as they do in the convolutions of the whole.
    """

    shape: Shape
    border: Shape

    @property
    def wide(self) -> Shape:
        """Height and width with the border."""
        height, width = (side + 2 * border for side, border in zip(self.shape, self.border, strict=True))
        return height, width

    def origins(self, size: Sequence[int]) -> Iterator[Point]:
        """Yields the top left corners of the tiles of a map, row by row."""
        for origin in itertools.product(*(range(0, n, side) for n, side in zip(size, self.shape, strict=True))):
            yield np.array(origin, np.int32)

    def part(self, origin: Point) -> tuple[slice, slice]:
        """Returns the rows and columns that the tile at `origin` covers."""
        top, left = origin.tolist()
        return slice(top, top + self.shape[0]), slice(left, left + self.shape[1])

    def corner(self, origin: Point) -> Point:
        """Returns the top left corner with the border."""
        return origin - np.array(self.border, np.int32)

    def inside(self, origin: Point, size: Point) -> Bool[Array, "1 h w 1"]:
        """Returns which pixels of the tile at `origin`, with its border, belong to a map of `size`."""
        corner = self.corner(origin)
        rows, columns = (corner[axis] + jnp.arange(self.wide[axis]) for axis in (0, 1))
        valid = ((rows >= 0) & (rows < size[0]))[:, None] & ((columns >= 0) & (columns < size[1]))[None]
        return valid[None, :, :, None]

    def inner(self, maps: Float[Array, "... h w 1"]) -> Float[Array, "... new_h new_w 1"]:
        """Returns maps without the border."""
        (top, left), (height, width) = self.border, self.shape
        return maps[..., top : top + height, left : left + width, :]

    def computed_pixels(self, size: Sequence[int]) -> int:
        """Returns how many pixels are computed for a map of `size`, borders and what reaches beyond it included."""
        return math.prod(-(-n // side) * wide for n, side, wide in zip(size, self.shape, self.wide, strict=True))


def choose_tile(size: Sequence[int], side: int, radius: int) -> Tile:
    """Returns, of all tiles that are allowed for a map, the one by which the fewest pixels are computed.

    Narrow maps get long tiles, and small maps small ones.  Sides are multiples of an eighth of `side`, and of 16
    pixels or more, so that maps of many sizes share a few tiles.

    Args:
      size: height and width of the map.
      side: of the square that no tile has more pixels than.
      radius: pixels around a tile that it draws from.

    Raises:
      ValueError: tiles too small to be worth their border.
    """
    if side < SMALLEST_TILE:
        raise ValueError(f"a tile has {SMALLEST_TILE} pixels a side or more, not {side}")
    step = max(SMALLEST_TILE, side // _STEPS)
    units = (side // step) ** 2
    tiles = [
        _tile(size, (_even_side(size[0], rows * step, step), _even_side(size[1], units // rows * step, step)), radius)
        for rows in range(1, units + 1)
    ]
    return min(tiles, key=lambda tile: tile.computed_pixels(size))


def _tile(size: Sequence[int], shape: Shape, radius: int) -> Tile:
    height, width = (radius if side < n else 0 for n, side in zip(size, shape, strict=True))
    return Tile(shape, (height, width))


def _even_side(n: int, largest: int, step: int) -> int:
    """The shortest side, in steps, by which `n` pixels need no more tiles than by the largest."""
    num = -(-n // largest)
    return -(-n // (num * step)) * step
