"""Pictures that show a map over or beside its photograph."""

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from btbnet_jax.images.arrays import quantise
from btbnet_jax.types import HostImage, HostMap

_LUMA = np.array([77, 150, 29], np.uint16)  # of 256, for red, green and blue, as in BT.601
_NIGHT = np.array([8, 16, 48], np.uint16)  # what black becomes where it is blurred
_DUSK = np.array([80, 104, 168], np.uint16)  # and white: so bright at most, in grey 107
_ROWS = 256  # drawn at a time, which bounds the memory
_GAP = 8  # pixels between two pictures


def overlay(image: HostImage, focus_map: Float[ndarray, "..."]) -> HostImage:
    """Returns the photograph as it is where it is in focus, dark and blue where it is blurred.

    What is blurred loses its colours and most of its brightness, so that a print in grey shows the difference too;
    in between, both are mixed in proportion to the map, in 256 steps.

    Args:
      image: RGB.
      focus_map: ``[h, w]`` of the image, 0..1, 1 = in focus.

    Raises:
      ValueError: a map of another size, or with values outside 0..1.
    """
    focus = _levels_of(image, focus_map)
    drawn = np.empty_like(image)
    for top in range(0, image.shape[0], _ROWS):
        rows = slice(top, top + _ROWS)
        pixels = image[rows].astype(np.uint16)
        sharp = focus[rows, :, None].astype(np.uint16)
        luma = (pixels @ _LUMA)[..., None] >> 8
        blurred = _NIGHT + (_DUSK - _NIGHT) * luma // 255
        drawn[rows] = (sharp * pixels + (255 - sharp) * blurred + 127) // 255  # at most 255² + 127: 16 bits hold it
    return drawn


def side_by_side(image: HostImage, focus_map: Float[ndarray, "..."]) -> UInt8[ndarray, "h wide 3"]:
    """Returns the photograph, a white gap of 8 pixels, and its map in grey, white = in focus.

    Args:
      image: RGB.
      focus_map: ``[h, w]`` of the image, 0..1, 1 = in focus.

    Raises:
      ValueError: a map of another size, or with values outside 0..1.
    """
    grey = _levels_of(image, focus_map)[..., None]
    gap = np.full((image.shape[0], _GAP, 3), 255, np.uint8)
    return np.concatenate([image, gap, np.broadcast_to(grey, image.shape)], axis=1)


def binary_mask(focus_map: Float[ndarray, "h w"], threshold: float = 0.5) -> HostMap:
    """Returns 255 where a map is `threshold` or more, which counts as in focus, and 0 elsewhere.

    Args:
      focus_map: 0..1, 1 = in focus.
      threshold: 0..1.

    Raises:
      ValueError: a threshold outside 0..1, or values that are not numbers.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"a threshold is from 0 to 1, not {threshold}")
    if np.isnan(focus_map).any():
        raise ValueError("a map has values from 0 to 1, and this one has some that are not numbers")
    return np.where(focus_map >= threshold, np.uint8(255), np.uint8(0))


def _levels_of(image: HostImage, focus_map: Float[ndarray, "..."]) -> HostMap:
    """The map of an image as 0..255."""
    if focus_map.shape != image.shape[:2]:
        raise ValueError(
            f"a map has the size of its photograph, {list(image.shape[:2])}, not {list(focus_map.shape)}: "
            "resize it first, by resize_map"
        )
    return quantise(focus_map)
