"""Tiles on devices: how they are shared out, started and fetched."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from btbnet_jax.grid import Point, Tile
from btbnet_jax.network.convolution import Convolution

Params = dict[str, Any]


class Tiling(NamedTuple):
    """How an image is divided, and its tiles computed.

    Attributes:
      tile: a tile has at most the pixels of a square of this side, at each stream's own scale; memory grows with it.
      convolution: with parameters that fit it, see `network.for_inference`.
      devices: that share the tiles; none for the default device.
    """

    tile: int = 512
    convolution: type[Convolution] = Convolution
    devices: tuple[Any, ...] = ()

    @property
    def mesh(self) -> Mesh:
        """Of the devices."""
        return Mesh(np.array(self.devices or jax.local_devices()[:1]), "tiles")


DEFAULT = Tiling()


def on_devices(params: Params, how: Tiling) -> Params:
    """Returns parameters that every device has a copy of; where they have it, nothing is copied."""
    return jax.device_put(params, NamedSharding(how.mesh, PartitionSpec()))


def computed(
    program: Callable[..., Any],
    grid: Tile,
    map_size: Sequence[int],
    cut: Callable[[Point], Any],
    size: Sequence[int],
    how: Tiling,
) -> Iterator[tuple[Point, Any]]:
    """Yields the corner of each tile of a map and what the program makes of it, as many at once as there are devices.

    On an accelerator, the next ones are cut and started before those are waited for.

    Args:
      program: from the cuts of as many tiles as there are devices, along a first axis, and the image's size to results
        along the same axis; see `on_each`.
      grid: the tiles.
      map_size: height and width of the map that they make.
      cut: from the corner of a tile to what it is computed from, arrays of the same shapes for all.
      size: height and width of the image.
      how: the image is divided.
    """
    num = how.mesh.size
    started: deque[tuple[list[Point], Any]] = deque()
    left = grid.origins(map_size)
    while origins := list(itertools.islice(left, num)):
        filled = [*origins, *[origins[-1]] * (num - len(origins))]
        cuts = jax.tree.map(lambda *parts: np.stack(parts), *map(cut, filled))
        started.append((origins, program(cuts, np.array(size, np.int32))))
        if len(started) > (jax.default_backend() != "cpu"):
            yield from _apart(*started.popleft())
    for group in started:
        yield from _apart(*group)


def _apart(origins: list[Point], results: Any) -> Iterator[tuple[Point, Any]]:
    """Each corner and its part of results whose first axis is that of the tiles, from the device that has it."""
    for number, origin in enumerate(origins):
        yield origin, jax.tree.map(lambda leaf, n=number: leaf.addressable_shards[n].data.squeeze(0), results)


def on_each(mesh: Mesh, function: Callable[..., Any], params: Params, cuts: Any, size: Point) -> Any:
    """Returns a function's results for a tile on each device.

    Args:
      mesh: of the devices, as of `Tiling`.
      function: of the parameters, the arrays of one tile's cut and the image's size.
      params: of which every device has a copy.
      cuts: of as many tiles as there are devices, along a first axis, as the results have it.
      size: height and width of the image.
    """

    def own(params: Params, cuts: Any, size: Point) -> Any:
        return jax.tree.map(lambda leaf: leaf[None], function(params, *jax.tree.map(lambda leaf: leaf[0], cuts), size))

    along = PartitionSpec("tiles")
    mapped = jax.shard_map(own, mesh=mesh, in_specs=(PartitionSpec(), along, PartitionSpec()), out_specs=along)
    return mapped(params, cuts, size)
