"""Images, masks and maps of data sets, from their files.

An image comes out as RGB uint8 and a mask as grey uint8, whatever the file holds: EXIF orientation is
applied, 16-bit grey is scaled to 8 bits, palettes, CMYK and bilevel are converted, of an animation the first
frame counts, and the transparent pixels of an image are laid on white.  Colour profiles are not applied: the
pixels are taken for sRGB, as those of all published figures are; `photographs` applies them.
"""

import numpy as np
from PIL import Image

from btbnet_jax.images.arrays import quantise
from btbnet_jax.images.files import MAX_PIXELS, ImageError, Source, decoded, opened, orientation_of
from btbnet_jax.types import HostImage, HostMap


def read_image(source: Source, *, max_pixels: int = MAX_PIXELS) -> HostImage:
    """Returns an image file as RGB; its colour profile is not applied, see `read_photograph`.

    Args:
      source: path, the file's bytes, or an open binary file.
      max_pixels: larger images are refused before they are decoded.

    Raises:
      ImageError: not an image, truncated, without a pixel, or too large.
      FileNotFoundError: no such file.
    """
    with opened(source, max_pixels) as image:
        return laid_on_white(decoded(image, orientation_of(image)))


def read_mask(source: Source, *, max_pixels: int = MAX_PIXELS) -> HostMap:
    """Returns a mask file as 8-bit grey; colours become their luma.

    Args:
      source: path, the file's bytes, or an open binary file.
      max_pixels: larger masks are refused before they are decoded.

    Raises:
      ImageError: as `read_image`, and for transparent pixels, whose grey would be a guess.
      FileNotFoundError: no such file.
    """
    with opened(source, max_pixels) as image:
        return _grey(decoded(image, orientation_of(image)))


def read_map(source: Source, *, max_pixels: int = MAX_PIXELS) -> HostMap:
    """Returns a map that a method has saved as 8-bit grey: 8 or 16 bits, or floating point from 0 to 1.

    Args:
      source: path, the file's bytes, or an open binary file.
      max_pixels: larger maps are refused before they are decoded.

    Raises:
      ImageError: as `read_mask`; colours that are no greys; floating point outside 0..1, or not a number.
      FileNotFoundError: no such file.
    """
    with opened(source, max_pixels) as file:
        return _map(file)


def brightest(source: Source, *, max_pixels: int = MAX_PIXELS) -> tuple[float, int]:
    """Returns the highest level in the file of a map, and the level that is white there: 255, 65535, or 1 in floats.

    Raises:
      ImageError: as `read_map`.
      FileNotFoundError: no such file.
    """
    with opened(source, max_pixels) as file:
        levels = _map(file)
        if file.mode == "F":
            return float(np.asarray(file).max()), 1
        if file.mode.startswith("I"):
            return float(np.asarray(file).max()), 65535
        return float(levels.max()), 255


def image_size(source: Source, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Returns the height and width that `read_image` would give, without decoding the pixels.

    Raises:
      ImageError: not an image, without a pixel, or too large.
      FileNotFoundError: no such file.
    """
    with opened(source, max_pixels) as image:
        width, height = image.size
        return (width, height) if orientation_of(image) >= 5 else (height, width)


def is_plain_jpeg(source: Source) -> bool:
    """Whether any decoder makes the same RGB image of the file: an RGB JPEG that no EXIF tag turns.

    Raises:
      ImageError: not an image, without a pixel, or too large.
      FileNotFoundError: no such file.
    """
    with opened(source, MAX_PIXELS) as image:
        return image.format == "JPEG" and image.mode == "RGB" and orientation_of(image) == 1


def laid_on_white(image: Image.Image) -> HostImage:
    """Returns an image of Pillow as RGB, its transparent pixels on white."""
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _map(file: Image.Image) -> HostMap:
    image = decoded(file, orientation_of(file), floating=True)
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


def _grey(image: Image.Image) -> HostMap:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise ImageError("has transparent pixels; a mask says all by its greys: save it without alpha")
    return np.array(image.convert("L") if image.mode in ("1", "L") else image.convert("RGB").convert("L"))
