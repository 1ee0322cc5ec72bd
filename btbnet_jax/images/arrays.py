"""Images, masks and maps at other sizes, angles and depths."""

import numpy as np
from jaxtyping import Float, Float32, UInt8
from numpy import ndarray
from PIL import Image


def resize_image(array: UInt8[ndarray, "..."], size: tuple[int, int]) -> UInt8[ndarray, "..."]:
    """Returns an image ``[h, w, 3]`` or a mask ``[h, w]`` at another size, bilinear and antialiased.

    Args:
      array: the image or the mask.
      size: height and width, 1 or more.
    """
    height, width = size
    if array.shape[:2] == (height, width):
        return array
    return np.array(Image.fromarray(array).resize((width, height), Image.Resampling.BILINEAR))


def resize_map(focus_map: Float32[ndarray, "h w"], size: tuple[int, int]) -> Float32[ndarray, "new_h new_w"]:
    """Returns a map at another size, bilinear and antialiased, without rounding to 8 bits.

    Args:
      focus_map: of any range.
      size: height and width, 1 or more.
    """
    if focus_map.shape == size:
        return focus_map
    image = Image.fromarray(np.ascontiguousarray(focus_map, np.float32))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def rotate_45(array: UInt8[ndarray, "..."]) -> UInt8[ndarray, "..."]:
    """Returns the largest upright square within an image or mask that is turned by 45° about its centre.

    Nothing outside the image is drawn from: the square has the shorter side divided by √2, less two pixels
    for the reach of the bicubic interpolation; a mask is interpolated bilinearly.
    """
    height, width = array.shape[:2]
    method = Image.Resampling.BILINEAR if array.ndim == 2 else Image.Resampling.BICUBIC
    side = max(1, int(min(height, width) / 2**0.5) - 2)
    top, left = (height - side) // 2, (width - side) // 2
    return np.array(Image.fromarray(array).rotate(45, method))[top : top + side, left : left + side]


def quantise(focus_map: Float[ndarray, "..."]) -> UInt8[ndarray, "..."]:
    """Returns a map of 0..1 as 0..255: floor(255 · m + 0.5).

    Raises:
      ValueError: values that are not numbers or lie outside 0..1.
    """
    levels = np.floor(np.float32(255) * focus_map.astype(np.float32) + np.float32(0.5))
    if np.isnan(levels).any():
        raise ValueError(f"a map has values from 0 to 1, and {np.isnan(levels).sum()} of this one are not numbers")
    if not ((levels >= 0) & (levels <= 255)).all():
        raise ValueError(f"a map has values from 0 to 1, not from {focus_map.min()} to {focus_map.max()}")
    return levels.astype(np.uint8)
