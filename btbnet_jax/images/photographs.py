"""Anybody's pictures: any file, with its colour profile applied, or an array of any common type."""

import io
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from PIL import Image, ImageCms

from btbnet_jax.images.files import MAX_PIXELS, ImageError, Source, decoded, laid_on_white
from btbnet_jax.types import HostImage

Picture = Source | Image.Image | ndarray
"""A path, a file's bytes, an open binary file, an image of Pillow, or an array; see `read_photograph`."""

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


class Photograph(NamedTuple):
    """A picture that was read.

    Attributes:
      image: RGB in sRGB encoding.
      notes: what was done to it that people should know, such as "the first of 12 frames".
    """

    image: HostImage
    notes: tuple[str, ...]


def read_photograph(picture: Picture, *, max_pixels: int = MAX_PIXELS) -> Photograph:
    """Returns a picture as RGB, with its colour profile converted to sRGB.

    Data sets are read by `read_image` instead, which takes all pixels for sRGB, as all published figures do.

    Args:
      picture: a path, a file's bytes, an open binary file or an image of Pillow; or an array [h, w], [h, w, 1],
        [h, w, 3] or [h, w, 4] of uint8, uint16, or floating point 0..1.
      max_pixels: larger ones are refused before they are decoded.

    Raises:
      ImageError: not a picture, damaged, without a pixel, too large, or an array of another kind.
      FileNotFoundError: no such file.
    """
    if isinstance(picture, ndarray):
        return Photograph(_from_array(picture, max_pixels), ())
    if isinstance(picture, Image.Image):
        buffer = io.BytesIO()
        plain = picture.convert("RGB") if picture.mode in ("YCbCr", "HSV", "LAB") else picture
        plain.save(buffer, "TIFF" if picture.mode in ("CMYK", "F") else "PNG")
        picture = buffer.getvalue()
    notes: list[str] = []
    with decoded(picture, max_pixels) as (opened, image):
        frames, profile = getattr(opened, "n_frames", 1), opened.info.get("icc_profile")
        if frames > 1:
            notes.append(f"the first of {frames} frames")
        if opened.mode.startswith("I"):
            notes.append("16 bits reduced to 8")
        if image.has_transparency_data:
            notes.append("transparent pixels laid on white")
        if profile:
            image, note = _in_srgb(image, profile)
            notes += [note] if note else []
        return Photograph(laid_on_white(image), tuple(notes))


def _in_srgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, str]:
    """The image in sRGB, and what to say of it; as it is where its profile cannot be used."""
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    plain = image.convert({"RGBA": "RGB", "LA": "L", "P": "RGB", "1": "L"}.get(image.mode, image.mode))
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(given).strip()
        if "sRGB" in name:
            return image, ""
        converted = ImageCms.profileToProfile(plain, given, _SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image, "its colour profile cannot be used: pixels taken for sRGB"
    assert converted is not None  # as it is not done in place
    if alpha is not None:
        converted.putalpha(alpha)
    return converted, f"colours converted from {name}"


def _from_array(array: ndarray, max_pixels: int) -> HostImage:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or not array.size:
        raise ImageError(
            f"an array is [h, w], [h, w, 1], [h, w, 3] or [h, w, 4], with a pixel, not {list(array.shape)}"
        )
    if array.shape[0] * array.shape[1] > max_pixels:
        raise ImageError(f"the array has {array.shape[0]} × {array.shape[1]} pixels; the limit is {max_pixels:,}")
    values = array[..., None] if array.ndim == 2 else array
    if array.dtype == np.uint16:
        values = ((values.astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        if not ((values >= 0) & (values <= 1)).all():
            raise ImageError(f"an array of floating point is from 0 to 1, not from {values.min()} to {values.max()}")
        values = np.floor(255 * values + 0.5).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(f"an array is of uint8, uint16, or floating point from 0 to 1, not of {array.dtype}")
    if values.shape[2] == 4:
        return laid_on_white(Image.fromarray(values))
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))


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


def encode_png16(focus_map: Float32[ndarray, "h w"]) -> bytes:
    """Returns a map of 0..1 as 16-bit grey PNG, rounded to the nearest of 65536 levels."""
    levels = np.floor(65535 * np.asarray(focus_map, np.float64) + 0.5).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
