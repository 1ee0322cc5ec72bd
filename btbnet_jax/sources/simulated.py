"""The simulated data set: one half of a clear image is blurred, so that its mask is known exactly.

Source: the paper, training: 20 versions of each clear image, four halves times five levels of blur; a
level is one more pass of a 7 × 7 Gaussian with standard deviation 2.
"""

import re
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from btbnet_jax.types import HostImage, HostMap

HALVES = ("upper", "lower", "left", "right")
LEVELS = 5
VERSIONS = len(HALVES) * LEVELS

_RADIUS, _SIGMA = 3, 2.0


def blurred_version(image: HostImage, version: int) -> tuple[HostImage, HostMap]:
    """Returns one of the 20 versions of a clear image, and its mask.

    Args:
      image: clear everywhere.
      version: 5 · half + level, half 0..3 of `HALVES` and level 0..4 for 1..5 passes of the blur.

    Raises:
      ValueError: a version that does not exist.
    """
    if not 0 <= version < VERSIONS:
        raise ValueError(f"the versions of a source are 0 to {VERSIONS - 1}, not {version}")
    half, level = divmod(version, LEVELS)
    blurred = image.astype(np.float32)
    for _ in range(level + 1):
        blurred = blur_once(blurred)
    return _joined(image, _rounded(blurred), half)


def blurred_versions(image: HostImage) -> Iterator[tuple[int, HostImage, HostMap]]:
    """Yields all 20 versions as (version, image, mask), equal to `blurred_version`, by 5 passes in all."""
    blurred = image.astype(np.float32)
    for level in range(LEVELS):
        blurred = blur_once(blurred)
        rounded = _rounded(blurred)
        for half in range(len(HALVES)):
            yield half * LEVELS + level, *_joined(image, rounded, half)


def version_name(source: str, version: int) -> str:
    """Returns the name of an example, such as ``100007_upper_3`` for 3 passes over the upper half."""
    half, level = divmod(version, LEVELS)
    return f"{source}_{HALVES[half]}_{level + 1}"


def source_name(name: str) -> str:
    """Returns the name of the source of an example: what `version_name`, here or of `layered`, was given."""
    return re.sub(rf"_({'|'.join((*HALVES, 'layered'))})_\d$", "", name)


def blur_once(image: Float32[ndarray, "h w c"]) -> Float32[ndarray, "h w c"]:
    """Returns one pass of the 7 × 7 Gaussian with standard deviation 2.

    Assumption: the whole image is blurred, so that light of the clear half reaches into the blurred one; it is
      mirrored at its borders without repeating the outermost pixels; and the passes work on sRGB values as
      they are, in float32, with one rounding after the last.
    """
    # Sums of NumPy in a fixed order: the same bits on every machine, which no library of filters promises.
    weights = np.exp(-0.5 * (np.arange(_RADIUS + 1) / _SIGMA) ** 2)
    weights = (weights / (2 * weights.sum() - weights[0])).astype(np.float32)
    for axis in (0, 1):
        padded = np.pad(image, [(_RADIUS * (axis == other),) * 2 for other in range(3)], mode="reflect")
        padded, length = np.moveaxis(padded, axis, 0), image.shape[axis]
        total = weights[0] * padded[_RADIUS : _RADIUS + length]
        for away in range(1, _RADIUS + 1):
            before, after = padded[_RADIUS - away :][:length], padded[_RADIUS + away :][:length]
            total += weights[away] * (before + after)
        image = np.moveaxis(total, 0, axis)
    return image


def _rounded(image: Float32[ndarray, "h w c"]) -> HostImage:
    return np.clip(np.floor(image + np.float32(0.5)), 0, 255).astype(np.uint8)


def _joined(clear: HostImage, blurred: HostImage, half: int) -> tuple[HostImage, HostMap]:
    """The clear image with one half replaced.  The middle row or column of an odd size is lower or right."""
    height, width = clear.shape[:2]
    middle_row, middle_column = height // 2, width // 2
    part = (
        np.s_[:middle_row, :],
        np.s_[middle_row:, :],
        np.s_[:, :middle_column],
        np.s_[:, middle_column:],
    )[half]
    image, mask = clear.copy(), np.full((height, width), 255, np.uint8)
    image[part], mask[part] = blurred[part], 0
    return image, mask
