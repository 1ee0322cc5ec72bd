"""Colours by the profile of a picture to colours in sRGB."""

import functools
import io

import numpy as np
from PIL import Image, ImageCms

_SPACE = slice(16, 20)  # where a profile says what its colours are, and Pillow's names of that
_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
_SAME = 2  # levels by which a profile may differ from sRGB and count as sRGB: what rounding makes of its curves


def in_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """Returns an image with its colours in sRGB, and what people should know of it, or "".

    Colours are matched relative to white, with black point compensation.  A profile that is damaged, or is not for
    such pixels, leaves them as they are: a picture of slightly wrong colours says as well what is in focus.

    Args:
      image: in any mode of 8 bits.
      profile: ICC, as its file holds it; empty where there is none, None where it could not even be taken out.
    """
    if profile == b"":
        return image, "CMYK without a colour profile: its colours are a guess" if image.mode == "CMYK" else ""
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
        name = _name(given)
        space = (profile or b"")[_SPACE]
        colours, alpha = _parted(image)
        if (colours.mode, space) == ("L", b"RGB "):
            colours = colours.convert("RGB")
        if colours.mode != _MODES.get(space):
            return image, f'colour profile "{name}" is for other pixels than {colours.mode}: pixels taken for sRGB'
        transform = ImageCms.buildTransform(
            given,
            _srgb(),
            colours.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image, "the colour profile is damaged: pixels taken for sRGB"
    if _changes_nothing(transform, colours.mode):
        return image, ""
    converted = transform.apply(colours)
    if alpha is not None:
        converted.putalpha(alpha)
    return converted, f'colour profile "{name}" converted to sRGB'


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _name(profile: ImageCms.ImageCmsProfile) -> str:
    """What a profile calls itself: on one line, without what a terminal would obey."""
    words = ImageCms.getProfileDescription(profile).split()
    return "".join(letter for letter in " ".join(words) if letter.isprintable())[:60] or "without a name"


def _parted(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours in a mode that profiles are for, and the alpha channel if there is one."""
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if image.mode in ("1", "L", "LA", "La"):
        return image.convert("L"), alpha
    if image.mode == "CMYK":
        return image, alpha
    return (image if alpha is None else image.convert("RGBA")).convert("RGB"), alpha


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform leaves colours as they are, tried on a lattice of them, or on its greys."""
    if mode == "CMYK":
        return False
    ramp = np.arange(0, 256, 17, dtype=np.uint8)
    lattice = np.stack(np.meshgrid(ramp, ramp, ramp), axis=-1).reshape(16, 256, 3)
    before = Image.fromarray(lattice).convert(mode)
    after = np.asarray(transform.apply(before), np.int16)
    return int(np.abs(after - np.asarray(before.convert("RGB"), np.int16)).max()) <= _SAME
