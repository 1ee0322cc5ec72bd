"""Files of images: opened within limits and decoded, every failure an error that names the file."""

import contextlib
import importlib
import importlib.util
import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from btbnet_jax.images.signatures import bmff_kind, what_it_is

Source = Path | str | bytes | BinaryIO | io.BytesIO

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pbm", ".pgm", ".ppm", ".pnm")
"""Of the files that data sets are made of."""

PHOTOGRAPH_SUFFIXES = (*SUFFIXES, ".avif", ".heic", ".heif", ".hif")
"""Of the files that `read_photograph` reads."""

RAW_SUFFIXES = (".3fr", ".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".rw2", ".srw")
"""Of what cameras write unprocessed; many begin as TIFF files do, and hold a small preview."""

MAX_PIXELS = 200_000_000

# Formats that start another program (EPS) or never hold photographs stay out.  "JPEG" opens MPO as well.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")

DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What Pillow raises, somewhere, for files that are damaged."""

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


@contextlib.contextmanager
def opened(source: Source | Image.Image, max_pixels: int, *, modern: bool = False) -> Iterator[Image.Image]:
    """An image before it is decoded; every failure within the context becomes an ImageError that names the file.

    Args:
      source: path, the file's bytes, an open binary file, or an image of Pillow.
      max_pixels: larger images are refused.
      modern: take AVIF and HEIC, too.

    Raises:
      ImageError: not an image, without a pixel, too large, or nothing to be opened.
      FileNotFoundError: no such file.
      TypeError: another kind of source.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(source, Image.Image):
            stack.enter_context(_blamed(getattr(source, "filename", "") or "image of Pillow"))
            image = source
        else:
            label, file = _file(source, stack)
            stack.enter_context(_blamed(label))
            image = stack.enter_context(_identified(file, modern))
        check_pixels(image.height, image.width, max_pixels)
        yield image


def check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Raises ImageError for an image that is larger than allowed."""
    if height * width > max_pixels:
        raise ImageError(
            f"has {height} × {width} pixels; the limit is {max_pixels:,}: raise it by max_pixels, or by --max-pixels"
        )


def decoded(image: Image.Image, orientation: int, *, floating: bool = False) -> Image.Image:
    """Returns an opened image upright, in a mode of 8 bits, or where allowed of floating point.

    Raises:
      ImageError: floating point, or greys of more than 16 bits.
    """
    with pillow_quiet() if image.format == "TIFF" else contextlib.nullcontext():
        image.load()
    if image.mode == "F" and not floating:
        raise ImageError("has floating point pixels, whose range is not known: save it with 8 or 16 bits")
    pixels = _from_16_bits(image) if image.mode.startswith("I") else image
    return pixels.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else pixels


def orientation_of(image: Image.Image) -> int:
    """Returns the orientation that the EXIF data of an opened image tell, 1..8, and 1 where they tell none."""
    if image.format == "TIFF":  # Pillow turns these by itself
        return 1
    with pillow_quiet():
        # PngImageFile's own getexif would decode the whole file in search of a late chunk.
        value: Any = Image.Image.getexif(image).get(_ORIENTATION_TAG, 1)
    return value if value in _UPRIGHT else 1


_pillow = threading.Lock()


@contextlib.contextmanager
def pillow_quiet() -> Iterator[None]:
    """Pillow without its limit of pixels, which is not ours, and without its warnings; both are global."""
    with _pillow, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextlib.contextmanager
def _blamed(label: str) -> Iterator[None]:
    """Every failure within as an ImageError that begins with `label`."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{label}: {error}") from error
    except MemoryError as error:
        raise ImageError(f"{label}: takes more memory than there is") from error
    except DAMAGE as error:
        raise ImageError(f"{label}: damaged or cut short ({error}); get it again, or save it anew") from error


def _file(source: Source, stack: contextlib.ExitStack) -> tuple[str, BinaryIO | io.BytesIO]:
    """What to call a source in errors, and its file, which the stack closes where it was opened here."""
    if isinstance(source, Path | str):
        return str(source), stack.enter_context(_open(Path(source)))
    if isinstance(source, bytes):
        return f"image of {len(source)} bytes", io.BytesIO(source)
    if isinstance(source, io.TextIOBase) or not hasattr(source, "read"):
        raise TypeError(
            f"a picture is a path, bytes, a file opened in binary mode, an image of Pillow or an array of NumPy, "
            f"not {type(source).__name__}"
        )
    label = str(getattr(source, "name", "open file"))
    # What cannot go back, such as a pipe, is read whole: what it is can then be told by its beginning.
    return label, source if source.seekable() else io.BytesIO(source.read())


def _open(path: Path) -> BinaryIO:
    """A file that can be read, and not a pipe, whose other end might never come."""
    try:
        problem = _no_file(path)
        if not problem:
            return path.open("rb")
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        problem = f"cannot be opened: {getattr(error, 'strerror', None) or error}"
    raise ImageError(f"{path}: {problem}")


def _no_file(path: Path) -> str:
    """What is there instead of a file, or ""."""
    if path.is_symlink() and not path.exists():
        return "a symbolic link that leads nowhere"
    if path.is_dir():
        return "a folder, not a file"
    if path.is_file() and path.suffix.lower() in RAW_SUFFIXES:
        return "a raw photograph: develop it first, and save it as TIFF or JPEG"
    return "a pipe or a device, not a file" if path.exists() and not path.is_file() else ""


def _identified(file: BinaryIO | io.BytesIO, modern: bool) -> Image.Image:
    """The image of a file, as Pillow opens it."""
    file.seek(0)
    kind = bmff_kind(file.read(64))
    file.seek(0)
    if modern and kind == "HEIF":
        _add_heif()
    formats = (kind,) if modern and kind else _FORMATS
    try:
        with pillow_quiet():
            return Image.open(file, formats=formats)
    except UnidentifiedImageError as error:
        file.seek(0)
        heif = ("HEIF",) if importlib.util.find_spec("pillow_heif") else ()
        tried = formats if kind or not modern else (*formats, "AVIF", *heif)
        raise ImageError(what_it_is(file.read(64), tried)) from error


def _add_heif() -> None:
    """Teaches Pillow to open HEIC."""
    try:
        pillow_heif = importlib.import_module("pillow_heif")
    except ImportError as error:
        raise ImageError("a HEIC picture, which takes one more package: pip install 'btbnet_jax[heic]'") from error
    pillow_heif.register_heif_opener()


def _from_16_bits(image: Image.Image) -> Image.Image:
    levels = np.asarray(image)
    if levels.min() < 0 or levels.max() > 65535:
        raise ImageError(f"has greys from {levels.min()} to {levels.max()}, more than 16 bits: save it with 8 bits")
    return Image.fromarray(to_8_bits(levels))


def to_8_bits(levels: np.ndarray) -> np.ndarray:
    """Returns levels of 0..65535 as the nearest of 0..255."""
    return ((levels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
