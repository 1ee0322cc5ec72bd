"""Exact inference by tiles: the logits of the whole image, in memory that depends on the tile and not on the image.

There is no pooling in the network, so a pixel of a stream's map draws from the 35 x 35 pixels about it and no
others; FNet adds 4 pixels around, and every recurrent step 4 more.  A tile is computed with just that border.  Three
things make the result that of the whole image and not one blended from tiles:

- a stream works on the image at its own scale: a tile of it is resized by the weights of the whole image's resizing,
  which are functions of global positions (`resize`);
- the zeros around an image belong to the image's border: where a tile reaches beyond it, features are set to zero
  after every convolution, and nowhere else (`zero_outside`);
- the parts follow each other over the whole image, streams first, then fusion and recursion together: what is kept
  between them is one number a pixel for each stream.

The tiles of a map have one shape, which `grid.choose_tile` finds, and positions and sizes are values to the compiled
programs: one for each stream and one for the fusion, for all images that have tiles of the same shapes.

Tiles need nothing of each other: of several devices, each computes its own, row after row of them.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh
from jaxtyping import Array, Float, Float32, UInt8
from numpy import ndarray

from btbnet_jax.compiler import jit_with_options
from btbnet_jax.config import NetworkConfig
from btbnet_jax.grid import SMALLEST_TILE, Point, Shape, Tile, choose_tile
from btbnet_jax.network.btbnet import (
    Outputs,
    logits_of_blend,
    network_parts,
    normalise,
    run_fusion,
    stream_name,
    zero_outside,
)
from btbnet_jax.network.convolution import Convolution
from btbnet_jax.network.stream import Stream
from btbnet_jax.resize import resize_weights, scaled_size
from btbnet_jax.tiling import DEFAULT, Tiling, computed, on_devices, on_each
from btbnet_jax.types import HostImage, Images, Maps, Valid

STREAM_RADIUS = 17
"""Pixels around a tile that a stream's map draws from: one for each of 13 + 4 convolutions in a row."""

_FUSION_RADIUS = 4  # of FNet, and of each recurrent step

Params = dict[str, Any]
Plane = Float32[ndarray, "h w"]
Kind = type[Convolution]


class TiledOutputs(NamedTuple):
    """Logits on the host, at the resolution of the image; see `network.Outputs`."""

    streams: Float32[ndarray, "s h w"]
    fused: Plane
    steps: Float32[ndarray, "t h w"]


def tiled_logits(config: NetworkConfig, params: Params, image: HostImage, how: Tiling = DEFAULT) -> Plane:
    """Returns the logits of the final map, equal to those of the whole image at once.

    Args:
      config: of the network.
      params: its parameters; `on_devices` puts them where they are needed once for many images.
      image: RGB of any size.
      how: the image is divided and computed.

    Raises:
      ValueError: a tile too small to be worth its border.
    """
    result = np.empty(image.shape[:2], np.float32)
    for part, outputs in _fused_tiles(config, params, image, how):
        result[part] = _fitting(outputs.logits[0, ..., 0], result[part].shape)
    return result


def tiled_outputs(config: NetworkConfig, params: Params, image: HostImage, how: Tiling = DEFAULT) -> TiledOutputs:
    """Returns the logits of all maps; arguments and errors as of `tiled_logits`.  It holds them all on the host."""
    height, width = image.shape[:2]
    num_steps = config.num_steps if config.use_rrnet else 0
    found = TiledOutputs(
        np.empty((len(config.scales), height, width), np.float32),
        np.empty((height, width), np.float32),
        np.empty((num_steps, height, width), np.float32),
    )
    for part, outputs in _fused_tiles(config, params, image, how):
        for whole, logits in zip(found, outputs, strict=True):
            place = whole[..., *part]
            place[...] = _fitting(jnp.reshape(logits, (*whole.shape[:-2], *logits.shape[-3:-1])), place.shape)
    return found


def fusion_radius(config: NetworkConfig) -> int:
    """Returns how many pixels around a tile its final map draws from in the image and in the streams' maps."""
    return _FUSION_RADIUS * (config.use_fnet + (config.num_steps if config.use_rrnet else 0))


def _fused_tiles(
    config: NetworkConfig, params: Params, image: HostImage, how: Tiling
) -> Iterator[tuple[tuple[slice, slice], Outputs]]:
    """The part of the image that each tile covers, and the logits there."""
    params = on_devices(params, how)
    maps = [_stream_map(config, scale, stream, image, how) for scale, stream in _streams(config, params)]
    fusion = {name: part for name, part in params.items() if name in ("fnet", "rrnet")}
    grid = choose_tile(image.shape[:2], how.tile, fusion_radius(config))

    def cut(origin: Point) -> Any:
        firsts = tuple(_first(grid.corner(origin), low.shape, image.shape[:2]) for low in maps)
        lows = tuple(
            _window(low, first, _reach(grid.wide, 1 / scale))
            for low, first, scale in zip(maps, firsts, config.scales, strict=True)
        )
        return _window(image, grid.corner(origin), grid.wide), lows, firsts, origin

    program = functools.partial(
        _fusion_tiles.by(onednn=how.convolution.by_onednn), config, how.convolution, grid, how.mesh, fusion
    )
    for origin, outputs in computed(program, grid, image.shape[:2], cut, image.shape[:2], how):
        yield grid.part(origin), outputs


def _streams(config: NetworkConfig, params: Params) -> list[tuple[Fraction, Params]]:
    """The scale and the parameters of each stream."""
    return [(scale, params[stream_name(config, number)]) for number, scale in enumerate(config.scales)]


def _stream_map(
    config: NetworkConfig, scale: Fraction, params: Params, image: HostImage, how: Tiling
) -> Float32[ndarray, "low_h low_w"]:
    """The logits of a stream's map, at its own scale."""
    result = np.empty([scaled_size(n, scale) for n in image.shape[:2]], np.float32)
    grid = choose_tile(result.shape, how.tile, STREAM_RADIUS)

    def cut(origin: Point) -> Any:
        first = _first(grid.corner(origin), image.shape[:2], result.shape)
        return _window(image, first, _reach(grid.wide, scale)), first, origin

    program = functools.partial(
        _stream_tiles.by(onednn=how.convolution.by_onednn), config, how.convolution, scale, grid, how.mesh, params
    )
    for origin, logits in computed(program, grid, result.shape, cut, image.shape[:2], how):
        part = grid.part(origin)
        result[part] = _fitting(logits, result[part].shape)
    return result


@jit_with_options(static_argnames=("config", "convolution", "scale", "tile", "mesh"))
def _stream_tiles(
    config: NetworkConfig,
    convolution: Kind,
    scale: Fraction,
    tile: Tile,
    mesh: Mesh,
    params: Params,
    cuts: Any,
    size: Point,
) -> Float[Array, "n tile_h tile_w"]:
    return on_each(mesh, functools.partial(_stream_tile, config, convolution, scale, tile), params, cuts, size)


@jit_with_options(static_argnames=("config", "convolution", "tile", "mesh"))
def _fusion_tiles(
    config: NetworkConfig, convolution: Kind, tile: Tile, mesh: Mesh, params: Params, cuts: Any, size: Point
) -> Outputs:
    return on_each(mesh, functools.partial(_fusion_tile, config, convolution, tile), params, cuts, size)


def _stream_tile(
    config: NetworkConfig,
    convolution: Kind,
    scale: Fraction,
    tile: Tile,
    params: Params,
    window: UInt8[Array | ndarray, "rows columns 3"],
    first: Point,
    origin: Point,
    size: Point,
) -> Float[Array, "tile_h tile_w"]:
    """The logits of a stream's map on the tile at `origin`, from the part of the image that begins at `first`."""
    small = scaled_size(jnp.asarray(size), scale)
    images = _Resizing(first, size, tile.corner(origin), small, tile.wide)(jnp.asarray(window)[None] / 255.0)
    valid = tile.inside(origin, small)
    images = zero_outside(normalise(images, config.normalisation), valid)
    logits: Any = Stream(**network_parts(config, convolution)).apply({"params": params}, images, valid)
    return tile.inner(logits)[0, ..., 0].astype(jnp.float32)


class _Fusion(nn.Module):
    """FNet and RRNet as the whole network has them."""

    config: NetworkConfig
    convolution: Kind

    @nn.compact
    def __call__(self, logits: Sequence[Maps], images: Images, valid: Valid) -> tuple[Maps, Float[Array, "t b h w 1"]]:
        return run_fusion(self.config, network_parts(self.config, self.convolution), logits, images, valid)


def _fusion_tile(
    config: NetworkConfig,
    convolution: Kind,
    tile: Tile,
    params: Params,
    window: UInt8[Array | ndarray, "rows columns 3"],
    lows: tuple[Float[Array | ndarray, "_ _"], ...],
    firsts: tuple[Point, ...],
    origin: Point,
    size: Point,
) -> Outputs:
    """The logits of all maps on the tile at `origin`, from the parts of the streams' maps that begin at `firsts`."""
    valid = tile.inside(origin, size)
    images = zero_outside(jnp.asarray(window)[None] / 255.0, valid)
    streams = []
    for scale, low, first in zip(config.scales, lows, firsts, strict=True):
        resizing = _Resizing(first, scaled_size(jnp.asarray(size), scale), tile.corner(origin), size, tile.wide)
        logits = jnp.asarray(low)[None, ..., None]
        streams.append(resizing(logits) if scale == 1 else logits_of_blend(resizing, logits))
    fusion: Any = _Fusion(config, convolution).apply({"params": params}, streams, images, valid)
    return Outputs(*(tile.inner(logits) for logits in (jnp.stack(streams), *fusion)))


class _Resizing(NamedTuple):
    """From a part of an image or map to a part of it at another size, by the weights of the whole.

    Attributes:
      first: row and column at which the given part begins.
      size: of the whole.
      corner: row and column at which the wanted part begins, at the other size.
      new_size: of the whole, at the other size.
      shape: of the wanted part.
    """

    first: Point
    size: Point
    corner: Point
    new_size: Point
    shape: Shape

    def __call__(self, images: Float[Array, "b h w c"]) -> Float[Array, "b new_h new_w c"]:
        for axis, equation in enumerate(("ij,bjwc->biwc", "ij,bhjc->bhic")):
            weights = resize_weights(
                self.corner[axis] + jnp.arange(self.shape[axis]),
                self.first[axis] + jnp.arange(images.shape[1 + axis]),
                n_in=self.size[axis],
                n_out=self.new_size[axis],
            )
            images = jnp.einsum(equation, weights, images, precision=jax.lax.Precision.HIGHEST)
        return images


def _first(corner: Point, size: Sequence[int], new_size: Sequence[int]) -> Point:
    """Where the part of an image begins that its resized image's part from `corner` on draws from."""
    firsts = []
    for start, n_in, n_out in zip(corner.tolist(), size, new_size, strict=True):
        reach = 1 + max(1, -(-n_in // n_out))
        firsts.append(start if n_in == n_out else max(0, (2 * start + 1) * n_in // (2 * n_out) - reach))
    return np.array(firsts, np.int32)


def _reach(shape: Shape, scale: Fraction) -> Shape:
    """How large a part has to be that one of `shape` at `scale` draws from, begun at `_first`.

    The ratio of two sizes is not exactly the scale, as sizes are rounded: by half a pixel of a tile or more where
    there are several tiles, and where there is one, a part of this length holds the whole image.
    """
    if scale == 1:
        return shape
    height, width = (math.ceil((side + 4) * (1 + Fraction(1, SMALLEST_TILE)) / scale) + 4 for side in shape)
    return height, width


def _fitting(logits: Float[Array, "... tile_h tile_w"], shape: Sequence[int]) -> Float32[ndarray, "... h w"]:
    """What of a tile lies within the image, on the host."""
    return np.asarray(logits)[..., : shape[-2], : shape[-1]]


def _window(array: ndarray, first: Point, shape: Shape) -> ndarray:
    """The part of an array of `shape` that begins at `first`, with zeros where it reaches beyond the array."""
    window = np.zeros((*shape, *array.shape[2:]), array.dtype)
    start, end = np.maximum(first, 0), first + np.array(shape)
    inner = array[start[0] : end[0], start[1] : end[1]]
    top, left = (start - first).tolist()
    window[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return window
