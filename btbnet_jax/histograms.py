"""Exact counts of pixels by (map level, mask level), from which every figure of `metrics` follows.

    joint = joint_histogram(maps, masks, valid)                     # for each batch, on the device
    counts = merge([LevelCounts.from_joint(joint, names), ...])     # on the host

Maps are quantised once, to the 8 bits of a PNG file, so that a network's maps and the files made of them have the
same counts.  Counts are 32-bit integers for one image, 64-bit ones for what is summed over images.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.ops import segment_sum
from jaxtyping import Array, Bool, Int, Int16, Int32, Int64, Shaped, UInt8
from numpy import ndarray

from btbnet_jax.types import Maps, Valid


def quantise(maps: Maps | UInt8[Array, "b h w 1"]) -> UInt8[Array, "b h w 1"]:
    """Returns maps of 0..1 as 0..255: floor(255 · m + 0.5), as `images.quantise` does on the host.

    Maps that are quantised already stay as they are.  NaN and values that come out below 0 or above 255 have no
    meaning here; `joint_histogram` finds them.
    """
    return _levels(maps).astype(jnp.uint8)


@jax.jit
def joint_histogram(
    maps: Maps | UInt8[Array, "b h w 1"], masks: Maps | UInt8[Array, "b h w 1"], valid: Valid
) -> Int32[Array, "b 256 256"]:
    """Returns for each image how many pixels have each pair of (map level, mask level).

    Args:
      maps: predictions, 0..1, or quantised already.
      masks: truth, likewise.
      valid: false on padding, which is not counted; an image without a valid pixel is filler.

    An image with a value that is NaN or outside 0..1 gets -1 everywhere, which `LevelCounts.from_joint` refuses.

    Raises:
      ValueError: an image with more pixels than 32 bits can count.
    """
    batch, height, width, _ = maps.shape
    if height * width >= 2**31:
        raise ValueError(f"at most {2**31 - 1} pixels of an image can be counted, not {height} x {width}")
    map_levels, mask_levels = _levels(maps), _levels(masks)
    legal = (map_levels >= 0) & (map_levels <= 255) & (mask_levels >= 0) & (mask_levels <= 255)
    pairs = 256 * map_levels.astype(jnp.int32) + mask_levels.astype(jnp.int32)
    # A pair past the last segment is dropped.
    pairs = jnp.where(legal & valid, pairs, 256 * 256).reshape(batch, -1)
    counts = jax.vmap(lambda row: segment_sum(jnp.ones_like(row), row, 256 * 256))(pairs)
    whole = jnp.all(legal | ~valid, axis=(1, 2, 3))
    return jnp.where(whole[:, None], counts, -1).reshape(batch, 256, 256)


def _levels(values: Array) -> Array:
    if values.dtype == jnp.uint8:
        return values
    # 255 m written so that the product is exact: fused to one rounding or not, the level is the host's.
    return jnp.floor((256 * values - values) + 0.5)


@dataclasses.dataclass(frozen=True, eq=False)
class LevelCounts:
    """How many pixels of each image have each pair of (map level, mask level); pairs that occur only.

    It is the joint histogram of every image without its zeros, and exact: any threshold on the map, any way to
    make the mask binary and errors against grey masks follow from it.

    Attributes:
      names: of the images.
      image: position in `names`, in rising order.
      map_level: 0..255.
      mask_level: 0..255.
      count: pixels, 1 or more.
    """

    names: tuple[str, ...]
    image: Int32[ndarray, " n"]
    map_level: Int16[ndarray, " n"]
    mask_level: Int16[ndarray, " n"]
    count: Int64[ndarray, " n"]

    @classmethod
    def from_joint(cls, joint: Int[Array | ndarray, "b 256 256"], names: Sequence[str]) -> "LevelCounts":
        """Returns the counts of a batch.

        Args:
          joint: from `joint_histogram`.  Images without a pixel are filler and left out.
          names: one for each image, filler included.

        Raises:
          ValueError: another number of names, or a map or mask with values that are no levels.
        """
        joint = np.asarray(joint)
        if len(names) != len(joint):
            raise ValueError(f"{len(joint)} images need as many names, not {len(names)}")
        kept = np.flatnonzero(joint.any(axis=(1, 2)))
        names, joint = [names[int(i)] for i in kept], joint[kept]
        if bad := [name for name, table in zip(names, joint, strict=True) if table.min() < 0]:
            raise ValueError(f"maps and masks have values from 0 to 1; NaN or others in those of {', '.join(bad)}")
        image, map_level, mask_level = np.nonzero(joint)
        return cls(
            names=tuple(names),
            image=image.astype(np.int32),
            map_level=map_level.astype(np.int16),
            mask_level=mask_level.astype(np.int16),
            count=joint[image, map_level, mask_level].astype(np.int64),
        )

    @classmethod
    def from_maps(
        cls, name: str, focus_map: Shaped[ndarray, "h w"], mask: Shaped[ndarray, "mask_h mask_w"]
    ) -> "LevelCounts":
        """Returns the counts of one image, made on the host without compiling for its size.

        Args:
          name: of the image.
          focus_map: levels of 0 to 255, uint8.
          mask: likewise.

        Raises:
          ValueError: map and mask of different sizes, without a pixel, or of another type.
        """
        if focus_map.dtype != np.uint8 or mask.dtype != np.uint8:
            raise ValueError(
                f"{name}: map and mask have levels of 0 to 255 as uint8, not {focus_map.dtype} and {mask.dtype}: "
                "btbnet_jax.images.quantise makes them of 0..1"
            )
        if focus_map.shape != mask.shape or not mask.size:
            raise ValueError(f"{name}: a map of {focus_map.shape} pixels for a mask of {mask.shape}")
        pairs = 256 * focus_map.astype(np.int32) + mask
        return cls.from_joint(np.bincount(pairs.ravel(), minlength=256 * 256).reshape(1, 256, 256), [name])

    def split(self) -> list["LevelCounts"]:
        """Returns the counts of each image by itself; a protocol of one of them is that image's figure."""
        starts = np.searchsorted(self.image, np.arange(len(self.names) + 1))
        rows = [slice(start, stop) for start, stop in itertools.pairwise(starts)]
        return [
            LevelCounts(
                (name,), np.zeros_like(self.image[own]), self.map_level[own], self.mask_level[own], self.count[own]
            )
            for name, own in zip(self.names, rows, strict=True)
        ]

    def swap_polarity(self) -> "LevelCounts":
        """Returns the counts with maps and masks turned round: what was blurred counts as in focus."""
        return dataclasses.replace(self, map_level=255 - self.map_level, mask_level=255 - self.mask_level)

    def binarise_masks(self, threshold: float) -> "LevelCounts":
        """Returns the counts with masks made black and white: what is above the threshold, of 0..1, is in focus."""
        mask_level = np.where(self.mask_level > 255 * threshold, 255, 0).astype(np.int16)
        return dataclasses.replace(self, mask_level=mask_level)

    def pixels(self, weights: Bool[ndarray, " n"] | Int16[ndarray, " n"] | bool = True) -> Int64[ndarray, " i"]:
        """Returns for each image the sum of `weights` over its pixels: for a condition, how many fulfil it."""
        totals = np.zeros(len(self.names), np.int64)
        np.add.at(totals, self.image, self.count * weights)
        return totals

    def pixels_from_level(self, condition: Bool[ndarray, " n"] | bool = True) -> Int64[ndarray, "i 256"]:
        """Returns for each image and level k how many pixels with a map level of k or more fulfil `condition`."""
        histograms = np.zeros((len(self.names), 256), np.int64)
        np.add.at(histograms, (self.image, self.map_level), self.count * condition)
        return histograms[:, ::-1].cumsum(axis=1)[:, ::-1]


def merge(parts: Iterable[LevelCounts]) -> LevelCounts:
    """Returns the counts of all images of the parts, in their order.

    Raises:
      ValueError: an image that is in two of them.
    """
    parts = list(parts)
    names = tuple(name for part in parts for name in part.names)
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"{len(twice)} images are counted more than once, the first of them {twice[:5]}")
    starts = np.cumsum([0] + [len(part.names) for part in parts], dtype=np.int32)
    return LevelCounts(
        names=names,
        image=_joined([part.image + start for part, start in zip(parts, starts, strict=False)], np.int32),
        map_level=_joined([part.map_level for part in parts], np.int16),
        mask_level=_joined([part.mask_level for part in parts], np.int16),
        count=_joined([part.count for part in parts], np.int64),
    )


def _joined(arrays: Sequence[ndarray], dtype: type[np.generic]) -> ndarray:
    return np.concatenate([np.empty(0, dtype), *arrays])
