"""Anybody's pictures: any file, with its colour profile applied, or an array of any common type."""

from typing import NamedTuple

import numpy as np
from numpy import ndarray
from PIL import Image

from btbnet_jax.images.colour import in_srgb
from btbnet_jax.images.files import (
    DAMAGE,
    MAX_PIXELS,
    ImageError,
    Source,
    check_pixels,
    decoded,
    opened,
    orientation_of,
    pillow_quiet,
    to_8_bits,
)
from btbnet_jax.images.reading import laid_on_white
from btbnet_jax.types import HostImage

Picture = Source | Image.Image | ndarray
"""A path, a file's bytes, an open binary file, an image of Pillow, or an array; see `read_photograph`."""

_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")  # the others hold pages, or a photograph and its depth
_SUBFILE_TYPE, _DNG_VERSION = 254, 50706  # tags of TIFF


class Photograph(NamedTuple):
    """A picture that was read.

    Attributes:
      image: RGB in sRGB encoding.
      notes: what was done to it that people should know, such as "animated: the first of 12 frames".
    """

    image: HostImage
    notes: tuple[str, ...]


def read_photograph(picture: Picture, *, max_pixels: int = MAX_PIXELS) -> Photograph:
    """Returns a picture as RGB, upright, with its colour profile converted to sRGB.

    Besides what `read_image` reads it takes AVIF, and HEIC where the extra ``heic`` is installed.  Data sets are
    read by `read_image` instead, which takes all pixels for sRGB.

    Args:
      picture: a path, a file's bytes, an open binary file or an image of Pillow; or an array, see `as_photograph`.
      max_pixels: larger ones are refused before they are decoded.

    Raises:
      ImageError: not a picture, damaged, without a pixel, too large, or an array of another kind.
      FileNotFoundError: no such file.
      TypeError: none of these.
    """
    if isinstance(picture, ndarray):
        image = as_photograph(picture)
        check_pixels(image.shape[0], image.shape[1], max_pixels)
        return Photograph(image, ())
    with opened(picture, max_pixels, modern=True) as image:
        _refuse_raw(image)
        bits, profile = _bits(image), image.info.get("icc_profile", b"")
        orientation, broken_exif = _orientation(image)
        colours, conversion = in_srgb(decoded(image, orientation), profile)
        notes = (
            _frames(image),
            broken_exif,
            "turned upright" if orientation != 1 else "",
            f"{bits} bits reduced to 8" if bits > 8 else "",
            conversion,
            "transparent pixels laid on white" if _shines_through(colours) else "",
        )
        return Photograph(laid_on_white(colours), tuple(note for note in notes if note))


def as_photograph(array: ndarray) -> HostImage:
    """Returns an array as RGB; the result may share its memory.

    Args:
      array: ``[h, w]`` or ``[h, w, 1]`` grey, ``[h, w, 3]`` RGB or ``[h, w, 4]`` RGB and opacity, in sRGB encoding, of
        uint8, uint16, or floating point from 0 to 1.  What is transparent is laid on white.

    Raises:
      ImageError: another shape or type, no pixel, or values that are not numbers or lie outside 0..1.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or not array.size:
        raise ImageError(
            f"an array is [h, w], [h, w, 1], [h, w, 3] or [h, w, 4], with a pixel, not {list(array.shape)}"
        )
    levels = _in_8_bits(array if array.ndim == 3 else array[..., None])
    if levels.shape[2] == 4:
        return laid_on_white(Image.fromarray(np.ascontiguousarray(levels)))
    return np.ascontiguousarray(np.broadcast_to(levels, (*levels.shape[:2], 3)))


def _in_8_bits(array: ndarray) -> ndarray:
    if np.issubdtype(array.dtype, np.uint8):
        return array
    if np.issubdtype(array.dtype, np.uint16):
        return to_8_bits(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(f"an array is of uint8, uint16, or floating point from 0 to 1, not of {array.dtype}")
    if not ((array >= 0) & (array <= 1)).all():
        raise ImageError(
            f"an array of floating point is from 0 to 1, not from {array.min()} to {array.max()}: "
            "divide 0..255 by 255, or pass uint8"
        )
    return np.floor(255 * array.astype(np.float32) + np.float32(0.5)).astype(np.uint8)


def _refuse_raw(image: Image.Image) -> None:
    """Raises ImageError for the small preview that a camera's raw file shows to readers of TIFF."""
    tags = getattr(image, "tag_v2", {})
    if _DNG_VERSION in tags or tags.get(_SUBFILE_TYPE) == 1:
        raise ImageError("a raw photograph, or a preview alone: develop it first, and save it as TIFF or JPEG")


def _bits(image: Image.Image) -> int:
    """Bits of a channel in an opened image's file, as far as Pillow lets it be seen before it decodes."""
    if image.format == "HEIF":
        return image.info.get("bit_depth", 8)
    raw_modes = [tile[3] for tile in getattr(image, "tile", [])]
    largest = [mode[-1] for mode in raw_modes if image.format == "PPM" and isinstance(mode, tuple)]
    deep = any(";16" in str(mode) for mode in raw_modes) or max(largest, default=0) > 255
    return 16 if deep or image.mode.startswith("I") else 8


def _orientation(image: Image.Image) -> tuple[int, str]:
    """The orientation, and what to say of it."""
    try:
        return orientation_of(image), ""
    except DAMAGE:
        return 1, "the EXIF data are damaged: taken for upright"


def _frames(image: Image.Image) -> str:
    """Which frame or page of its file a decoded image is, where there are several."""
    kind = "animated: " if image.format in _ANIMATED else ""
    try:
        with pillow_quiet():
            count, place = getattr(image, "n_frames", 1), image.tell()
    except DAMAGE:
        return f"{kind}the first frame, others are damaged"
    unit = "frames" if kind else "pictures in the file"
    return "" if count < 2 else f"{kind}{f'number {place + 1}' if place else 'the first'} of {count} {unit}"


def _shines_through(image: Image.Image) -> bool:
    return image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255)
