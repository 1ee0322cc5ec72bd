"""Files of images, masks and maps to arrays and back.

An image comes out as RGB uint8 and a mask as grey uint8, whatever the file holds: EXIF orientation is
applied, 16-bit grey is scaled to 8 bits, palettes, CMYK and bilevel are converted, of an animation the first
frame counts, and the transparent pixels of an image are laid on white.  Colour profiles are not applied: the
pixels are taken for sRGB.
"""

import contextlib
import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image, UnidentifiedImageError

from btbnet_jax.types import HostImage, HostMap

Source = Path | str | bytes | BinaryIO | io.BytesIO

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pbm", ".pgm", ".ppm", ".pnm")
MAX_PIXELS = 200_000_000

# Formats that start another program (EPS) or never hold photographs stay out.  "JPEG" opens MPO as well.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, struct.error, zlib.error)

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(ValueError):
    """An image file that cannot be used; the text names the file and what is wrong with it."""


def read_image(source: Source, *, max_pixels: int = MAX_PIXELS) -> HostImage:
    """Returns an image file as RGB.

    Args:
      source: path, the file's bytes, or an open binary file.
      max_pixels: larger images are refused before they are decoded.

    Raises:
      ImageError: not an image, truncated, without a pixel, or too large.
      FileNotFoundError: no such file.
    """
    with _upright(source, max_pixels) as image:
        return laid_on_white(image)


def laid_on_white(image: Image.Image) -> HostImage:
    """Returns an image as RGB, its transparent pixels on white."""
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.array(image.convert("RGB"))


def read_mask(source: Source, *, max_pixels: int = MAX_PIXELS) -> HostMap:
    """Returns a mask file as 8-bit grey; colours become their luma.

    Args:
      source: path, the file's bytes, or an open binary file.
      max_pixels: larger masks are refused before they are decoded.

    Raises:
      ImageError: as `read_image`, and for transparent pixels, whose grey would be a guess.
      FileNotFoundError: no such file.
    """
    with _upright(source, max_pixels) as image:
        return _grey(image)


def read_map(source: Source, *, max_pixels: int = MAX_PIXELS) -> HostMap:
    """Returns a map that a method has saved as 8-bit grey: 8 or 16 bits, or floating point from 0 to 1.

    Args:
      source: path, the file's bytes, or an open binary file.
      max_pixels: larger maps are refused before they are decoded.

    Raises:
      ImageError: as `read_mask`; colours that are no greys; floating point outside 0..1, or not a number.
      FileNotFoundError: no such file.
    """
    with _upright(source, max_pixels, floating=True) as image:
        if image.mode == "F":
            try:
                return quantise(np.asarray(image))
            except ValueError as error:
                raise ImageError(str(error)) from error
        if len(image.getbands()) > 1 or image.mode == "P":
            colours = np.asarray(image.convert("RGB"))
            if (colours != colours[..., :1]).any():
                raise ImageError("has colours, and a map is grey: score the map itself, not a picture of it")
        return _grey(image)


def image_size(source: Source, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Returns the height and width that `read_image` would give, without decoding the pixels.

    Raises:
      ImageError: not an image, without a pixel, or too large.
      FileNotFoundError: no such file.
    """
    with _opened(source, max_pixels) as (image, orientation):
        width, height = image.size
        return (width, height) if orientation >= 5 else (height, width)


def is_plain_jpeg(source: Source) -> bool:
    """Whether any decoder makes the same RGB image of the file: an RGB JPEG that no EXIF tag turns.

    Raises:
      ImageError: not an image, without a pixel, or too large.
      FileNotFoundError: no such file.
    """
    with _opened(source, MAX_PIXELS) as (image, orientation):
        return image.format == "JPEG" and image.mode == "RGB" and orientation == 1


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
    if not ((levels >= 0) & (levels <= 255)).all():
        raise ValueError(f"a map has values from 0 to 1, not from {focus_map.min()} to {focus_map.max()}")
    return levels.astype(np.uint8)


def encode_png(array: UInt8[ndarray, "..."]) -> bytes:
    """Returns an image ``[h, w, 3]`` as RGB PNG, or a mask or map ``[h, w]`` as 8-bit grey PNG.

    Raises:
      ValueError: another shape, or no pixel.
    """
    if not array.size or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(f"a PNG is made of [h, w] or [h, w, 3] with 1 pixel or more, not of {list(array.shape)}")
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=1)  # level 6 takes three times as long to save 8 %
    return buffer.getvalue()


def encode_jpeg(image: HostImage, quality: int) -> bytes:
    """Returns an image as JPEG.

    Args:
      image: RGB.
      quality: 1 to 95, as Pillow and libjpeg count it.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def write_png(path: Path | str, array: UInt8[ndarray, "..."]) -> None:
    """Writes `encode_png(array)` to a file."""
    Path(path).write_bytes(encode_png(array))


def _grey(image: Image.Image) -> HostMap:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise ImageError("has transparent pixels; a mask says all by its greys: save it without alpha")
    return np.array(image.convert("L") if image.mode in ("1", "L") else image.convert("RGB").convert("L"))


@contextlib.contextmanager
def _upright(source: Source, max_pixels: int, *, floating: bool = False) -> Iterator[Image.Image]:
    """The decoded image with its orientation applied, in a mode of 8 bits, or where allowed of floating point."""
    with decoded(source, max_pixels, floating=floating) as (_, image):
        yield image


@contextlib.contextmanager
def decoded(source: Source, max_pixels: int, *, floating: bool = False) -> Iterator[tuple[Image.Image, Image.Image]]:
    """An image as its file has it, and with its orientation applied, in 8 bits, or where allowed in floating point."""
    with _opened(source, max_pixels) as (image, orientation):
        with _pillow_quiet() if image.format == "TIFF" else contextlib.nullcontext():
            image.load()
        if image.mode.startswith("I"):
            yield image, _turned(_from_16_bits(image), orientation)
        elif image.mode == "F" and not floating:
            raise ImageError("has floating point pixels, whose range is not known: save it with 8 bits")
        else:
            yield image, _turned(image, orientation)


@contextlib.contextmanager
def _opened(source: Source, max_pixels: int) -> Iterator[tuple[Image.Image, int]]:
    """The image before decoding and its orientation, 1..8; every failure within becomes an ImageError."""
    with contextlib.ExitStack() as stack:
        if isinstance(source, Path | str):
            label, file = str(source), stack.enter_context(Path(source).open("rb"))
        elif isinstance(source, bytes):
            label, file = f"image of {len(source)} bytes", io.BytesIO(source)
        else:
            label, file = str(getattr(source, "name", "open file")), source
        try:
            with _pillow_quiet():
                image = stack.enter_context(Image.open(file, formats=_FORMATS))
                orientation = _orientation(image)
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError(f"has {height} × {width} pixels; the limit is {max_pixels:,}")
            yield image, orientation
        except ImageError as error:
            raise ImageError(f"{label}: {error}") from error
        except UnidentifiedImageError as error:
            raise ImageError(f"{label}: {_what_it_is(file)}") from error
        except _DAMAGE as error:
            raise ImageError(f"{label}: damaged or cut short ({error})") from error


_pillow = threading.Lock()


@contextlib.contextmanager
def _pillow_quiet() -> Iterator[None]:
    """Pillow without its limit of pixels, which is not ours, and without its warnings; both are global."""
    with _pillow, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # Pillow turns these by itself
        return 1
    # PngImageFile's own getexif would decode the whole file in search of a late chunk.
    value: Any = Image.Image.getexif(image).get(_ORIENTATION_TAG, 1)
    return value if value in _UPRIGHT else 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _from_16_bits(image: Image.Image) -> Image.Image:
    levels = np.asarray(image).astype(np.int64)
    if levels.min() < 0 or levels.max() > 65535:
        raise ImageError(f"has greys from {levels.min()} to {levels.max()}, more than 16 bits: save it with 8 bits")
    return Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8))


def _what_it_is(file: BinaryIO | io.BytesIO) -> str:
    """What a file that is no image looks like."""
    with contextlib.suppress(OSError):
        file.seek(0)
    head = file.read(64)
    if not head:
        return "an empty file"
    if head.startswith(b"\x89PNG") and b"\0\0\0\0" in (head[16:20], head[20:24]):
        return "an image without a pixel"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not an image: the download failed, get it again with a browser"
    return (
        f"not an image, or one without a pixel; it starts with {head[:8]!r} and the formats are {', '.join(_FORMATS)}"
    )
