"""Versions of a training image: its orientations, crops and grain."""

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from scipy import ndimage

from btbnet_jax.images import rotate_45

NUM_VERSIONS = {"none": 1, "right_angles": 8, "paper": 16}
"""How many orientations an image has, by the name of the setting."""


def orient(array: UInt8[ndarray, "..."], version: int, *, of: int) -> UInt8[ndarray, "..."]:
    """Returns one of the orientations of an image or mask.

    Source: the paper, training: 8 rotations, each mirrored and not, 16 versions of an image.
    Assumption: rotations by multiples of 45°.  The odd ones keep the largest inscribed square, so that no
      filled corner ever looks like an edge of blur.

    Args:
      array: image or mask.
      version: 0 to `of` - 1; version 0 is the image itself, and the odd ones are mirrored.
      of: 1 for no augmentation, 8 for right angles, 16 for the paper's.
    """
    turns, mirrored = divmod(version, 2)
    quarters, eighth = divmod(turns, of // 8) if of >= 8 else (0, 0)
    if eighth:
        array = rotate_45(array)
    array = np.rot90(array, quarters)
    return array[:, ::-1] if mirrored else array


def crop_start(length: int, crop: int, rng: np.random.Generator) -> int:
    """Returns where a crop about a random pixel begins, after it was moved inside; 0 where it is longer than the image.

    Begins that are drawn evenly would show the borders of photographs too seldom, and as the middle is more often
    in focus, a network would learn to expect too much of it.
    """
    return int(np.clip(rng.integers(length) - crop // 2, 0, max(0, length - crop)))


def with_grain(image: UInt8[ndarray, "h w 3"], largest: float, rng: np.random.Generator) -> UInt8[ndarray, "h w 3"]:
    """Returns an image with noise as sensors and film have it: as sharp where the image is blurred as elsewhere.

    Its deviation is up to `largest` grey levels, of which small ones are drawn more often; it is fine or coarse, and
    grey or coloured.  Photographs that have been made smaller hardly have any, and a network that has seen only these
    takes grain for focus.

    Args:
      image: RGB.
      largest: deviation in grey levels.
      rng: what is drawn from.
    """
    deviation, radius, colour = largest * rng.uniform() ** 2, rng.uniform(), rng.uniform()
    grey, coloured = (rng.standard_normal((*image.shape[:2], channels), np.float32) for channels in (1, 3))
    noise = np.sqrt(1 - colour) * grey + np.sqrt(colour) * coloured
    noise = ndimage.gaussian_filter(noise, (radius, radius, 0))
    return np.clip(np.rint(image + noise * (deviation / max(noise.std(), 1e-6))), 0, 255).astype(np.uint8)
