"""Versions of a training image: its orientations and crops."""

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

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
