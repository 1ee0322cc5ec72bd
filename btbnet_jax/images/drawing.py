"""Pictures that show a map beside or over its photograph."""

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from btbnet_jax.types import HostImage

_TINT = np.array([40, 70, 160], np.float32)  # a dark blue: darker than what is in focus, in grey as well
_STRENGTH = 0.65
_GAP = 8  # pixels between two pictures


def overlay(image: HostImage, focus_map: Float32[ndarray, "h w"]) -> HostImage:
    """Returns the photograph with its own colours where it is in focus, darkened towards blue where it is blurred.

    Args:
      image: RGB.
      focus_map: 0..1, 1 = in focus.
    """
    blur = _STRENGTH * (1 - focus_map[..., None])
    mixed = image + blur * (_TINT * (image.mean(axis=2, keepdims=True) / 255) - image)
    return np.floor(mixed + 0.5).astype(np.uint8)


def side_by_side(image: HostImage, focus_map: Float32[ndarray, "h w"]) -> UInt8[ndarray, "h wide 3"]:
    """Returns the photograph, a white gap, and its map in grey, 0..1."""
    grey = np.floor(255 * focus_map[..., None] + 0.5).astype(np.uint8)
    gap = np.full((image.shape[0], _GAP, 3), 255, np.uint8)
    return np.concatenate([image, gap, np.broadcast_to(grey, image.shape)], axis=1)
