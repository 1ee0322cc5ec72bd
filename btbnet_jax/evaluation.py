"""Methods side by side over a data set: each a function from a batch to maps, scored by exact counts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, UInt8
from numpy import ndarray

from btbnet_jax.baselines import Baseline
from btbnet_jax.compiler import jit_with_options
from btbnet_jax.config import NetworkConfig
from btbnet_jax.data import Examples, ordered_batches
from btbnet_jax.histograms import LevelCounts, joint_histogram, merge, quantise
from btbnet_jax.images import read_map, resize_image, write_png
from btbnet_jax.maps import find_maps
from btbnet_jax.network import BTBNet, Convolution, for_inference
from btbnet_jax.processes import gathered
from btbnet_jax.resize import valid_pixels
from btbnet_jax.sources.checks import SourceError, check_pairs
from btbnet_jax.sources.pairs import find_masks, find_pairs
from btbnet_jax.types import Batch, HostImage, HostMap, Maps

Levels = UInt8[Array, "b h w 1"]
Method = Callable[[Batch, Sequence[str]], Maps | Levels]
"""From a batch and the names of its images to their maps, 0..1 or quantised."""


def network_method(config: NetworkConfig, params: Any, *, mesh: Mesh | None = None) -> Method:
    """Returns the final map of a network.

    Args:
      config: of the network.
      params: its parameters.
      mesh: of devices that share every batch, None for the default device.
    """
    convolution, prepared = for_inference(config, params)

    def method(batch: Batch, _: Sequence[str]) -> Maps:
        images, size = batch.image, batch.size
        if mesh is not None:
            images, size = jax.device_put((images, size), NamedSharding(mesh, PartitionSpec("data")))
        return _predict.by(onednn=convolution.by_onednn)(config, convolution, prepared, images, size)

    return method


@jit_with_options(static_argnames=("config", "convolution"))
def _predict(
    config: NetworkConfig,
    convolution: type[Convolution],
    params: Any,
    images: UInt8[Array | ndarray, "b h w 3"],
    size: Any,
) -> Maps:
    outputs: Any = BTBNet(config, convolution).apply({"params": params}, images / 255.0, size)
    return outputs.focus_map


def baseline_method(baseline: Baseline) -> Method:
    """Returns the map of a method without learning."""

    def method(batch: Batch, _: Sequence[str]) -> Maps:
        valid = valid_pixels(batch.image.shape[1:3], jnp.asarray(batch.size))
        return baseline(jnp.asarray(batch.image) / 255.0, valid)

    return method


def maps_method(files: Mapping[str, Path], *, focus_is_white: bool = True) -> Method:
    """Returns the maps of files, resized to the size that is scored at.

    Args:
      files: by the name of their image, see `maps.find_maps`.
      focus_is_white: the maps' polarity; where it is false, they are turned round.
    """

    def method(batch: Batch, names: Sequence[str]) -> Levels:
        maps = np.zeros(batch.mask.shape, np.uint8)
        for row, (name, (height, width)) in enumerate(zip(names, batch.size, strict=True)):
            if height:
                focus_map = resize_image(read_map(files[name]), (int(height), int(width)))
                maps[row, :height, :width, 0] = focus_map if focus_is_white else 255 - focus_map
        return jnp.asarray(maps)

    return method


def folder_examples(
    masks: Path, images: Path | None = None, *, focus_is_white: bool = True, check_polarity: bool = True
) -> Examples:
    """Returns the masks of a folder as examples, to score maps by.

    Args:
      masks: folder of image files.
      images: folder of their images, None where they are not needed; the examples' images are then their masks.
      focus_is_white: the masks' polarity.
      check_polarity: refuse masks that are nearly all mostly in focus, as inverted ones are.

    Raises:
      SourceError: with all that is wrong with the folders and their files.
    """
    if images is None:
        findings = find_masks(masks, focus_is_white=focus_is_white)
    else:
        findings = find_pairs(images, masks, focus_is_white=focus_is_white)
    pairs = [pair for split in findings.splits.values() for pair in split]
    if problems := findings.problems or check_pairs(pairs, check_polarity=check_polarity):
        raise SourceError(f"{masks} cannot be scored by", problems)
    return Examples.of_pairs(pairs)


def folder_method(
    folder: Path,
    sizes: Mapping[str, tuple[int, int]],
    *,
    size: int = 0,
    resize: bool = False,
    focus_is_white: bool = True,
) -> tuple[Method, list[str]]:
    """Returns the method that a folder of maps stands for, and the files of it that belong to no image.

    Args:
      folder: of image files.
      sizes: height and width of the images to score by their names, see `Examples.image_sizes`.
      size: that is scored at, see `count_levels`.
      resize: whether maps of other sizes than that and their image's are resized.
      focus_is_white: the maps' polarity.

    Raises:
      SourceError: with all that is wrong; see `maps.find_maps`.
    """
    files, others = find_maps(folder, sizes, scored_at=size, resize=resize)
    return maps_method(files, focus_is_white=focus_is_white), others


def count_levels(
    methods: Mapping[str, Method],
    examples: Examples,
    *,
    size: int,
    batch_size: int = 1,
    threads: int = 2,
    maps_dir: Path | None = None,
    shard: tuple[int, int] = (0, 1),
) -> dict[str, LevelCounts]:
    """Returns the counts of each method over all examples, in one pass over the data.

    Args:
      methods: by name.
      examples: to score.
      size: height and width that images and masks are resized to, and scored at; 0 keeps their own.
      batch_size: images at a time, over all processes; 1 for each where they keep their own sizes.
      threads: that read and decode.
      maps_dir: folder that every map is written into, as METHOD/IMAGE.png of the size that is scored; None for none.
      shard: index of this process and number of processes, each of which scores its share and gets all counts.
    """
    counts: dict[str, list[LevelCounts]] = {name: [] for name in methods}
    for batch in ordered_batches(examples, size=size, batch_size=batch_size, threads=threads, shard=shard):
        names, all_names = _names(examples, batch.example), _names(examples, gathered(batch.example))
        valid = valid_pixels(batch.image.shape[1:3], jnp.asarray(batch.size))
        for name, method in methods.items():
            maps = method(batch, names)
            joint = gathered(joint_histogram(maps, jnp.asarray(batch.mask), valid))
            counts[name].append(LevelCounts.from_joint(joint, all_names))
            if maps_dir is not None:
                _write_maps(maps_dir / name, np.asarray(quantise(maps)), batch, names)
    return {name: merge(parts) for name, parts in counts.items()}


def pictures(
    methods: Iterable[Method], examples: Examples, indices: Sequence[int], *, size: int, batch_size: int = 1
) -> list[list[HostImage | HostMap]]:
    """Returns a row for each example: the image, its mask, and the map of each method.

    Args:
      methods: the columns after image and mask.
      examples: to choose from.
      indices: which examples.
      size: as of `count_levels`.
      batch_size: likewise.
    """
    chosen, methods = examples.only(indices), list(methods)
    rows: list[list[HostImage | HostMap]] = []
    for batch in ordered_batches(chosen, size=size, batch_size=batch_size):
        names = _names(chosen, batch.example)
        grey = [batch.mask, *(np.asarray(quantise(method(batch, names))) for method in methods)]
        for image, *maps, (height, width) in zip(batch.image, *grey, batch.size, strict=True):
            if height:
                rows.append([image[:height, :width], *(one[:height, :width, 0] for one in maps)])
    return rows


def _write_maps(folder: Path, maps: UInt8[ndarray, "b h w 1"], batch: Batch, names: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, one, (height, width) in zip(names, maps, batch.size, strict=True):
        if height:
            write_png(folder / f"{name}.png", one[:height, :width, 0])


def _names(examples: Examples, indices: ndarray) -> list[str]:
    """The names of the images of a batch, empty where it was filled."""
    return [examples.name(index) if index >= 0 else "" for index in indices.tolist()]
