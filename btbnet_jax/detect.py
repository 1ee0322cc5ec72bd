"""From photographs of any size to what is in focus in them."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, UInt8
from numpy import ndarray
from scipy import ndimage, special

from btbnet_jax.buckets import Buckets
from btbnet_jax.compiler import compiler_options, not_kept
from btbnet_jax.config import NetworkConfig
from btbnet_jax.digests import digest
from btbnet_jax.grid import SMALLEST_TILE
from btbnet_jax.images import Photograph, Picture, read_photograph, resize_image, resize_map
from btbnet_jax.network import BTBNet, for_inference
from btbnet_jax.tiles import tiled_logits, tiled_outputs
from btbnet_jax.tiling import Tiling, on_devices
from btbnet_jax.types import HostImage
from btbnet_jax.weights import find_weights, load_weights

_IN_ONE_PIECE = 2  # times the pixels of a tile: as long as the borders of tiles would cost more than they save
_LONG = 2  # length to breadth of a photograph, from which on a square would hide its blur
_AT_ONCE = 2  # batches: while one is in a part that a single core does, the other keeps the rest busy

Plane = Float32[ndarray, "h w"]
Planes = Float32[ndarray, "k _ _"]
Resolution = int | Literal["training", "native"]


class Box(NamedTuple):
    """Rows ``top`` to ``bottom`` - 1 and columns ``left`` to ``right`` - 1 of a photograph."""

    top: int
    left: int
    bottom: int
    right: int


class Detection(NamedTuple):
    """What is in focus in a photograph.

    Attributes:
      focus_map: 0..1, 1 = in focus, at the photograph's own size.
      maps: where they were asked for, the maps on the way by their names, in order, at the same size.
      notes: what was done to the file to read it, for people.
    """

    focus_map: Plane
    maps: dict[str, Plane]
    notes: tuple[str, ...]

    def mask(self, threshold: float = 0.5) -> Bool[ndarray, "h w"]:
        """Returns where the map is `threshold` or more."""
        return self.focus_map >= threshold

    def fraction_in_focus(self, threshold: float = 0.5) -> float:
        """Returns the share of the photograph that `mask` covers, 0..1."""
        return float(self.mask(threshold).mean())

    def box_in_focus(self, threshold: float = 0.5) -> Box | None:
        """Returns the box about the largest connected part of `mask`, None where nothing is in focus."""
        labeled: Any = ndimage.label(self.mask(threshold))
        labels, count = labeled
        if not count:
            return None
        largest = int(np.argmax(np.bincount(labels.ravel())[1:]))
        rows, columns = ndimage.find_objects(labels)[largest]
        return Box(rows.start, columns.start, rows.stop, columns.stop)


class Detector:
    """A trained network, ready for photographs.

    Args:
      params: of the network.
      config: of the network.
      resolution: what the network sees: "training" for a square of `training_size`, as it has learned from, or as many
        pixels in the shape of a photograph that is twice as long as broad, or longer; "native" for the photograph as it
        is; or the longest side in pixels, of photographs that are longer.
      training_size: height and width that it was trained at.
      tile: side in pixels that bounds memory: what has more than twice the pixels of a square of this side is computed
        in tiles of so many, see `tiles`, which all GPUs of the machine share.
      batch_size: photographs of one size that make one batch on a GPU, as far as they have no more pixels than that.
      exact: compute float32 convolutions as plain sums at the highest precision, and not the fastest way, which
        differs from them by rounding: on a CPU Winograd's in wide layers, oneDNN's or several columns at a time in
        narrow ones, on a GPU TF32.
      half: compute in bfloat16, for devices with instructions for it: a map is off by up to some hundredths then, and
        scores hardly change.

    Attributes:
      config: of the network as it is computed.
      digest: sha256 of its parameters.
      training_size: height and width that it was trained at.
      programs: the compiled networks by the shape of their arrays, whether they return all maps, and how many images
        they take.

    Raises:
      ValueError: a resolution, tile or batch that cannot be, or `exact` and `half`.
    """

    def __init__(
        self,
        params: Any,
        config: NetworkConfig,
        *,
        resolution: Resolution = "training",
        training_size: int = 320,
        tile: int = 512,
        batch_size: int = 4,
        exact: bool = False,
        half: bool = False,
    ) -> None:
        if resolution not in ("training", "native") and not (isinstance(resolution, int) and resolution > 0):
            raise ValueError(f'the resolution is "training", "native" or a longest side in pixels, not {resolution!r}')
        if batch_size < 1 or tile < SMALLEST_TILE:
            raise ValueError(
                f"a batch has 1 photograph or more and a tile {SMALLEST_TILE} pixels a side or more, "
                f"not {batch_size} and {tile}"
            )
        if exact and half:
            raise ValueError("exact sums are of float32: give exact or half, and not both")
        if exact:
            config = dataclasses.replace(config, precision="highest")
        if half:
            config = dataclasses.replace(config, dtype="bfloat16")
        self.config = config
        self.digest = digest(params)
        self._convolution, self._params = for_inference(self.config, jax.device_put(params))
        self._resolution, self.training_size = resolution, training_size or 320
        self._tile, self._batch_size, self._buckets = tile, batch_size, Buckets(largest=_IN_ONE_PIECE * tile**2)
        self.programs: dict[tuple[tuple[int, int], bool, int], Any] = {}

    @classmethod
    def load(cls, weights: str | None = None, **options: Any) -> "Detector":
        """Returns the detector of a weights file.

        Args:
          weights: its path, or the name of a network that is installed; None for the first that is found.
          options: of the detector.

        Raises:
          FileNotFoundError: there is none; the message says how to get or to train one.
          WeightsError: it is damaged.
        """
        loaded = load_weights(find_weights(weights))
        return cls(loaded.params, loaded.config, **{"training_size": loaded.training_size or 320, **options})

    @overload
    def __call__(self, pictures: list[Any], *, all_maps: bool = False) -> list[Detection]: ...
    @overload
    def __call__(self, pictures: Picture, *, all_maps: bool = False) -> Detection: ...
    def __call__(self, pictures: Picture | list[Picture], *, all_maps: bool = False) -> Detection | list[Detection]:
        """Returns what is in focus in a photograph, or in each of a list.

        Args:
          pictures: paths, bytes, open files, PIL images or arrays; a list of them, or an array [b, h, w, 3].
          all_maps: return the maps on the way as well: of every stream, of FNet and of every recurrent step.

        Raises:
          ImageError: a picture that cannot be read; nothing is returned for the others.
        """
        if isinstance(pictures, ndarray) and pictures.ndim == 4:
            pictures = list(pictures)
        if isinstance(pictures, list):
            return self.detect([read_photograph(picture) for picture in pictures], all_maps=all_maps)
        return self.detect([read_photograph(pictures)], all_maps=all_maps)[0]

    def detect(self, photographs: Sequence[Photograph], *, all_maps: bool = False) -> list[Detection]:
        """Returns what is in focus in photographs that have been read; see `__call__`."""
        seen = [self._at_resolution(photograph.image) for photograph in photographs]
        groups: dict[tuple[int, int], list[int]] = {}
        found: dict[int, Planes] = {}
        for index, image in enumerate(seen):
            if image.shape[0] * image.shape[1] > _IN_ONE_PIECE * self._tile**2:
                found[index] = self._by_tiles(image, all_maps)
            else:
                size = image.shape[0], image.shape[1]
                groups.setdefault(size if self._fills else self._buckets.choose(size), []).append(index)
        pieces: list[list[int]] = []
        computed: list[Future[list[Planes]]] = []
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for shape, group in groups.items():
                num, program = self._program(shape, all_maps, len(group))
                pieces += (some := [group[first : first + num] for first in range(0, len(group), num)])
                computed += (
                    pool.submit(self._in_one_piece, program, [seen[index] for index in piece], (num, *shape, 3))
                    for piece in some
                )
        for piece, planes in zip(pieces, computed, strict=True):
            found |= zip(piece, planes.result(), strict=True)
        return [self._detection(found[index], photograph) for index, photograph in enumerate(photographs)]

    @functools.cached_property
    def _tiling(self) -> Tiling:
        devices = () if jax.default_backend() == "cpu" else tuple(jax.local_devices())
        return Tiling(self._tile, self._convolution, devices)

    @functools.cached_property
    def _copies(self) -> Any:
        """The parameters on all devices that share tiles."""
        return on_devices(self._params, self._tiling)

    def map_names(self) -> list[str]:
        """Returns what all maps are called, in the order of the network; the last is the final one."""
        steps = self.config.num_steps if self.config.use_rrnet else 0
        streams = [f"stream {number}, scale {scale}" for number, scale in enumerate(self.config.scales, start=1)]
        return [*streams, "fused", *(f"step {number}" for number in range(1, steps + 1))]

    @property
    def _fills(self) -> bool:
        """Whether every image fills its array, so that the network need not be told where one ends."""
        return self._resolution == "training"

    def _at_resolution(self, image: HostImage) -> UInt8[ndarray, "new_h new_w 3"]:
        if self._resolution == "training":
            return resize_image(image, self._training_shape(image.shape[:2]))
        longest = max(image.shape[:2])
        if self._resolution == "native" or longest <= self._resolution:
            return image
        height, width = (max(1, (2 * n * self._resolution + longest) // (2 * longest)) for n in image.shape[:2])
        return resize_image(image, (height, width))

    def _training_shape(self, size: Sequence[int]) -> tuple[int, int]:
        """What is seen of a photograph at the size of training; a few shapes, since each is a program to compile."""
        if max(size) < _LONG * min(size):
            return self.training_size, self.training_size
        step = max(1, self.training_size // 10)
        wanted = (self.training_size * math.sqrt(side / other) for side, other in (size, size[::-1]))
        height, width = (step * max(1, round(side / step)) for side in wanted)
        return height, width

    def _together(self, shape: tuple[int, int]) -> int:
        """How many photographs in arrays of one shape make one batch: a CPU gains nothing by more than one."""
        if jax.default_backend() == "cpu":
            return 1
        return max(1, min(self._batch_size, _IN_ONE_PIECE * self._tile**2 // (shape[0] * shape[1])))

    def _by_tiles(self, image: HostImage, all_maps: bool) -> Planes:
        if all_maps:
            streams, fused, steps = tiled_outputs(self.config, self._copies, image, self._tiling)
            return np.concatenate([streams, fused[None], steps])
        return tiled_logits(self.config, self._copies, image, self._tiling)[None]

    def _program(self, shape: tuple[int, int], all_maps: bool, wanted: int) -> tuple[int, Any]:
        """The number of images that are computed at once, and their compiled network, for arrays of one shape.

        It is made here and not by the first of several threads.  A lone photograph is computed alone, unless there is
        a program for more already.
        """
        num = self._together(shape)
        if wanted == 1 and (shape, all_maps, num) not in self.programs:
            num = 1
        if (shape, all_maps, num) not in self.programs:
            images = jax.ShapeDtypeStruct((num, *shape, 3), jnp.uint8)
            sizes = None if self._fills else jax.ShapeDtypeStruct((num, 2), jnp.int32)
            network = BTBNet(self.config, self._convolution)
            lowered = _predict.lower(network, self._params, images, sizes, all_maps=all_maps)
            onednn = self._convolution.by_onednn
            with not_kept() if onednn else nullcontext():
                self.programs[shape, all_maps, num] = lowered.compile(compiler_options(onednn=onednn))
        return num, self.programs[shape, all_maps, num]

    def _in_one_piece(
        self, program: Any, images: Sequence[UInt8[ndarray, "_ _ 3"]], shape: tuple[int, ...]
    ) -> list[Planes]:
        """The logits of each of some images, in an array of a shape."""
        array = np.zeros(shape, np.uint8)
        sizes = np.zeros((len(array), 2), np.int32)
        for row, image in enumerate(images):
            height, width = sizes[row] = image.shape[:2]
            array[row, :height, :width] = image
        planes = np.asarray(program(self._params, array, None if self._fills else sizes))
        true_sizes = sizes[: len(images)].tolist()
        return [planes[:, row, :height, :width] for row, (height, width) in enumerate(true_sizes)]

    def _detection(self, logits: Planes, photograph: Photograph) -> Detection:
        size = photograph.image.shape[0], photograph.image.shape[1]
        maps = [resize_map(special.expit(plane), size) for plane in logits]
        named = dict(zip(self.map_names(), maps, strict=True)) if len(maps) > 1 else {}
        return Detection(maps[-1], named, photograph.notes)


@functools.partial(jax.jit, static_argnames=("network", "all_maps"))
def _predict(
    network: BTBNet, params: Any, images: UInt8[Array | ndarray, "b h w 3"], size: Any, *, all_maps: bool
) -> Float[Array, "k b h w"]:
    """The logits of the final map, or of all maps in the order of `Detector.map_names`."""
    outputs: Any = network.apply({"params": params}, jnp.asarray(images) / 255.0, size)
    if not all_maps:
        return outputs.logits[None, ..., 0]
    return jnp.concatenate([outputs.streams, outputs.fused[None], outputs.steps])[..., 0]
