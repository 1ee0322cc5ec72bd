"""Photographs and masks as small files from which training sees nearly what it sees of the originals.

Pairs are stored as training resizes them, so that nothing but their JPEG differs.  Of layered scenes, the clear
photographs are stored that they are made of where the bundle runs.  These are blurred before training resizes them, so
they keep their shape, and their shorter side gets the length that training wants: stored as squares they would be
blurred otherwise than they are (docs/btbnet_3s.md has the differences).
"""

import functools
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from jaxtyping import UInt8
from numpy import ndarray

from btbnet_jax.builders import open_source
from btbnet_jax.bundle.limits import MB, BundleError
from btbnet_jax.bundle.runner import SETS
from btbnet_jax.config import DataConfig
from btbnet_jax.data import Examples, hold_out
from btbnet_jax.images import encode_jpeg, encode_png, read_image, read_mask, resize_image
from btbnet_jax.sources import shi
from btbnet_jax.sources.checks import listed
from btbnet_jax.sources.simulated import source_name
from btbnet_jax.types import HostImage

BEST, WORST = 95, 45
"""Quality of JPEG, as Pillow counts it."""
CLEAR = "simulated/photographs_on_the_fly", "train[:50%]"
"""Set and split of the clear photographs that the scenes are made of.

Assumption: half of them, 250 for 2000 scenes, are as many as a stage of some minutes sees.  All 500 would have to be
stored in so low a quality that its traces tell what is sharp from what was blurred afterwards.
"""

Files = dict[str, bytes]
Names = dict[str, list[str]]


class Photographs(NamedTuple):
    """What is packed of data sets.

    Attributes:
      files: by path: "pairs/images/NAME.jpg", "pairs/masks/NAME.png", "clear/NAME.jpg".
      quality: of the JPEGs.
      sets: of each set the names of its images, as "names", and of those that are held out, as "held_out".
    """

    files: Files
    quality: int
    sets: dict[str, Names]


def photographs(data_dir: Path, stages: Mapping[str, DataConfig], most: int) -> Photographs:
    """Returns the photographs that some stages train on, in the highest quality that fits.

    Args:
      data_dir: folder of built data sets.
      stages: data of each stage; sets of pairs, and the scenes of `runner.SETS`.
      most: bytes of all files together.

    Raises:
      BuildError: a set is not built.
      BundleError: test images would be packed, or no quality makes the files small enough.
    """
    masks: Files = {}
    images: dict[str, HostImage] = {}
    sets = {}
    for data in stages.values():
        stored, split = CLEAR if data.name == SETS["simulated"] else (data.name, data.split)
        records = open_source(data_dir, stored, split)
        names = [record["name"] for record in records]
        _refuse_test_images(names, data)
        held_out = hold_out(Examples(data_dir, stored, split), data.validation)[1]
        held = {source_name(held_out.name(index)) for index in range(len(held_out))}
        sets[data.name] = {"names": names, "held_out": sorted(held)}
        for record in records:
            image, name = read_image(record["image"]), record["name"]
            if "mask" in record:
                images[f"pairs/images/{name}.jpg"] = resize_image(image, (data.size, data.size))
                mask = resize_image(read_mask(record["mask"]), (data.size, data.size))
                masks[f"pairs/masks/{name}.png"] = encode_png(mask, smallest=True)
            else:
                images[f"clear/{name}.jpg"] = with_shorter_side(image, data.size)
    quality, files = _best_that_fits(images, most - sum(map(len, masks.values())))
    return Photographs(files | masks, quality, sets)


def with_shorter_side(image: HostImage, length: int) -> UInt8[ndarray, "new_h new_w 3"]:
    """Returns an image whose shorter side has `length` pixels, or fewer where it had fewer, in its own shape."""
    height, width = image.shape[:2]
    shorter = min(height, width)
    if shorter <= length:
        return image
    return resize_image(image, (round(height * length / shorter), round(width * length / shorter)))


def _refuse_test_images(names: list[str], data: DataConfig) -> None:
    if tested := set(shi.TEST).intersection(names):
        raise BundleError(
            f"{len(tested)} of Shi's test images are in {data.name}, {data.split} ({listed(tested)}): build the set "
            "without them"
        )
    if "test" in data.split:
        raise BundleError(f"the split {data.split!r} of {data.name} is to test by: name another one")


def _best_that_fits(images: Mapping[str, HostImage], most: int) -> tuple[int, Files]:
    """The highest quality in which all files together are small enough, by halves, and the files."""

    def encoded(quality: int, image: HostImage) -> bytes:
        return encode_jpeg(image, quality, smallest=True)

    least, above, best = WORST, BEST + 1, None
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        quality = BEST  # which is tried first, and is all that a small set needs
        while least < above:
            files = dict(zip(images, threads.map(functools.partial(encoded, quality), images.values()), strict=True))
            if sum(map(len, files.values())) <= most:
                best, least = (quality, files), quality + 1
            else:
                above = quality
            quality = (least + above) // 2
    if best is None:
        raise BundleError(
            f"{len(images)} photographs do not fit into the {max(0, most) / MB:.2f} MB that are left for them, even in "
            f"a JPEG quality of {WORST}: leave out wheels or a stage, or store the incoming weights in fewer bits"
        )
    return best
