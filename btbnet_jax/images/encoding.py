"""Images, masks and maps as the bytes of files."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image

from btbnet_jax.types import HostImage

_COMPRESSION = 1  # of PNG: level 6 takes three times as long to save 8 %


def encode_png(array: UInt8[ndarray, "..."], *, smallest: bool = False) -> bytes:
    """Returns an image ``[h, w, 3]`` as RGB PNG, or a mask or map ``[h, w]`` as 8-bit grey PNG.

    Args:
      array: the image, mask or map.
      smallest: take time to save bytes; the pixels are the same.

    Raises:
      ValueError: another shape, or no pixel.
    """
    if not array.size or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(f"a PNG is made of [h, w] or [h, w, 3] with 1 pixel or more, not of {list(array.shape)}")
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", optimize=smallest, compress_level=_COMPRESSION)
    return buffer.getvalue()


def encode_png16(focus_map: Float[ndarray, "..."]) -> bytes:
    """Returns a map ``[h, w]`` of 0..1 as 16-bit grey PNG, rounded to the nearest of 65536 levels.

    Raises:
      ValueError: another shape, no pixel, or values that are not numbers or lie outside 0..1.
    """
    if not focus_map.size or focus_map.ndim != 2:
        raise ValueError(f"a 16-bit PNG is made of [h, w] with 1 pixel or more, not of {list(focus_map.shape)}")
    levels = np.floor(65535 * focus_map.astype(np.float64) + 0.5)
    if not ((levels >= 0) & (levels <= 65535)).all():
        raise ValueError(f"a map has values from 0 to 1, not from {focus_map.min()} to {focus_map.max()}")
    buffer = io.BytesIO()
    Image.fromarray(levels.astype(np.uint16)).save(buffer, "PNG", compress_level=_COMPRESSION)
    return buffer.getvalue()


def encode_jpeg(image: HostImage, quality: int, *, smallest: bool = False) -> bytes:
    """Returns an image as JPEG.

    Args:
      image: RGB.
      quality: 1 to 95, as Pillow and libjpeg count it.
      smallest: take time to save bytes; the pixels are the same.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=smallest, progressive=smallest)
    return buffer.getvalue()


def write_png(path: Path | str, array: UInt8[ndarray, "..."]) -> None:
    """Writes `encode_png(array)` to a file."""
    Path(path).write_bytes(encode_png(array))
