"""Layered defocus: scenes whose blur is made as a lens makes it, with masks that are known exactly.

A photograph is the far layer; a second one, cut to a random shape, often stands before it.  The blur of the far
layer is constant or grows away from a plane of focus.  It is the convolution with the aperture's image, a disk or
a polygon, in linear light.  The near layer is blurred together with its opacity, so that a blurred object has a
soft edge through which the far layer shows.  Noise and JPEG compression come after the blur, as in a camera:
noise must not be read as sharpness.

Deviation: the paper blurs one half of a photograph by a Gaussian; this is an option beside it.  At a quarter of the
resolution no trace of the paper's blur is left, so that a coarse stream learns nothing from it.
Assumption: all ranges and shares; they were set by looking at photographs, not by any score.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray
from numpy.random import Generator
from scipy import fft, ndimage

from btbnet_jax.images import resize_image
from btbnet_jax.types import HostImage, HostMap

VERSIONS = 8
"""Scenes for each photograph."""

PLANS = {"near in focus": 0.45, "far in focus": 0.15, "plane in focus": 0.25, "all in focus": 0.05, "all blurred": 0.1}
SHARP_BELOW = 1.0
"""Radius of blur in pixels below which a pixel counts as in focus."""

INGREDIENTS = {
    "edges": "soft edges of what is blurred and stands before the rest",
    "aperture": "disks and polygons; without, Gaussians of the same deviation",
    "depth": "blur that changes with depth",
    "camera": "noise and JPEG compression after the blur",
    "flatness": "photographs with little texture left",
    "whole": "scenes that are all in focus or all blurred",
}
"""What a scene can be made without, to see what it gives."""

_RADII = 2.0, 18.0  # of the blur, in pixels; where it changes with depth, at a unit of it, and up to four times that
_NEAR_SHARE = 0.1, 0.6  # of the image
_PATCH_SHARE = 0.02, 0.2  # of the image
_MOST_PATCHES = 3  # in a photograph
_NOISE = 5.0  # largest deviation of the noise, in grey levels
_QUALITY = 60, 96  # of JPEG
_GAMMA = 2.2
_GROWTH = 1.6  # from one radius that is computed to the next, where the blur changes over the image

Plane = Float32[ndarray, "h w"]
Light = Float32[ndarray, "c h w"]


class Scene(NamedTuple):
    """A picture with its mask, and the quality of JPEG to store it by."""

    image: HostImage
    mask: HostMap
    quality: int


def scene(
    rng: Generator,
    far: HostImage,
    near: UInt8[ndarray, "near_h near_w 3"],
    *,
    without: str | None = None,
    patches: bool = False,
) -> Scene:
    """Returns a random scene of the size of `far`; its mask is 255 where the blur is below `SHARP_BELOW`.

    Where an object stands before the rest, the blur that counts is the object's where it covers more than half of the
    light, and the far layer's elsewhere, under the object's soft edge as well.

    Args:
      rng: of all that is random.
      far: a photograph that is clear everywhere.
      near: another one, of any size, of which a part stands before it.
      without: one of `INGREDIENTS` to leave out, None for none.
      patches: whether each photograph gets none to three patches without texture, of 2 to 20 % of the image, of one
        colour with soft shades and a sharp outline before the blur, so that what is smooth is not always blurred.  All
        else stays the same.
    """
    size = far.shape[0], far.shape[1]
    plan = _plan(rng, without)
    aperture = Aperture(rng, gaussian=without == "aperture")
    radii = _far_radii(rng, plan, size, constant=without == "depth")
    patched = partial(_patched, rng.spawn(1)[0], most=_MOST_PATCHES if patches else 0)
    light = _blurred_by(aperture, patched(_light(rng, far, flat=without != "flatness")), radii)
    focus = radii < SHARP_BELOW
    if plan in ("near in focus", "far in focus") or (plan != "plane in focus" and rng.random() < 0.5):
        radius = 0.0 if plan in ("near in focus", "all in focus") else _radius(rng)
        shape, photograph = _shape(rng, size)[None], _light(rng, resize_image(near, size), flat=without != "flatness")
        front, opacity = _in_front(aperture, patched(photograph), shape, radius, soft=without != "edges")
        light = front + (1 - opacity) * light
        focus = np.where(opacity[0] > 0.5, radius < SHARP_BELOW, focus)
    image, quality = _developed(rng, light, noise=without != "camera"), int(rng.integers(*_QUALITY))
    return Scene(image, np.where(focus, np.uint8(255), np.uint8(0)), 100 if without == "camera" else quality)


def version_name(source: str, version: int) -> str:
    """Returns the name of an example, such as ``100007_layered_3``."""
    return f"{source}_layered_{version}"


class Aperture:
    """What a point out of focus looks like: a disk, or a polygon of 5 to 8 blades.

    Args:
      rng: of its shape.
      gaussian: a Gaussian with the deviation of the disk instead, half its radius, cut off at three deviations.
    """

    def __init__(self, rng: Generator, *, gaussian: bool = False) -> None:
        self._gaussian = gaussian
        self._blades = int(rng.choice([0, 5, 6, 7, 8], p=[0.4, 0.15, 0.15, 0.15, 0.15]))
        self._turn = rng.uniform(0, 2 * np.pi)

    def image(self, radius: float) -> Plane:
        """Returns its image, of sum 1, with an edge one pixel wide.

        Args:
          radius: of the disk, or of the circle about the polygon, in pixels.
        """
        reach = int(np.ceil(1.5 * radius if self._gaussian else radius))
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
        distance = np.hypot(x, y)
        if self._blades and not self._gaussian:
            sides = self._turn + 2 * np.pi * np.arange(self._blades) / self._blades
            across = np.max([x * np.cos(side) + y * np.sin(side) for side in sides], axis=0)
            distance = across / np.cos(np.pi / self._blades)
        image = np.exp(-2 * (distance / radius) ** 2) if self._gaussian else np.clip(radius + 0.5 - distance, 0, 1)
        return (image / image.sum()).astype(np.float32)

    def blurred(self, light: Light, radius: float) -> Light:
        """Returns `light` out of focus, mirrored at its borders; as it is where `radius` is below half a pixel."""
        if radius < 0.5:
            return light
        kernel = self.image(radius)
        reach, (height, width) = kernel.shape[0] // 2, light.shape[1:]
        padded = np.pad(light, ((0, 0), (reach, reach), (reach, reach)), mode="symmetric")
        size = [fft.next_fast_len(n, real=True) for n in padded.shape[1:]]
        spectrum = np.asarray(fft.rfft2(padded, s=size)) * np.asarray(fft.rfft2(kernel, s=size))
        result = np.asarray(fft.irfft2(spectrum, s=size))
        return np.maximum(result[:, 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width], 0)


def _radius(rng: Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(_RADII))))


def _plan(rng: Generator, without: str | None) -> str:
    """One of `PLANS`; where that is left out, an object in focus before something blurred."""
    if without not in (None, *INGREDIENTS):
        raise ValueError(f"a scene can be made without one of {', '.join(INGREDIENTS)}, not without {without!r}")
    plan = str(rng.choice(list(PLANS), p=list(PLANS.values())))
    left_out = {"depth": ("plane in focus",), "whole": ("all in focus", "all blurred")}.get(without or "", ())
    return "near in focus" if plan in left_out else plan


def _far_radii(rng: Generator, plan: str, size: tuple[int, int], *, constant: bool) -> Plane:
    """Blur of the far layer: none, the same everywhere, or growing in both directions from a plane of focus."""
    if plan in ("far in focus", "all in focus"):
        return np.zeros(size, np.float32)
    if plan != "plane in focus" and (plan == "all blurred" or rng.random() < 0.6 or constant):
        return np.full(size, _radius(rng), np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in size)
    depth = np.float32(np.sin(angle)) * y[:, None] + np.float32(np.cos(angle)) * x + 0.3 * _waves(rng, size, 0.2)
    nearest = rng.uniform(depth.min(), depth.max()) if plan == "plane in focus" else depth.min() - rng.uniform(0, 0.5)
    depth = np.abs(depth - np.float32(nearest))
    in_focus = rng.uniform(0.05, 0.3) if plan == "plane in focus" else 0.0
    return np.float32(_radius(rng)) * np.maximum(depth - np.float32(in_focus), 0) / np.float32(1 - in_focus)


def _blurred_by(aperture: Aperture, light: Light, radii: Plane) -> Light:
    """The layer with a blur of its own at each pixel: between the two nearest of a few radii, linear."""
    smallest, largest = float(radii.min()), float(radii.max())
    if smallest == largest:
        return aperture.blurred(light, largest)
    levels = [0.0, 0.5]
    while levels[-1] < largest:
        levels.append(levels[-1] * _GROWTH)
    first = max(0, int(np.searchsorted(levels, smallest, side="right")) - 1)
    result = np.zeros_like(light)
    for level in range(first, len(levels)):
        before, after = levels[max(level - 1, 0)], levels[min(level + 1, len(levels) - 1)]
        here = levels[level]
        rising = (radii - before) / max(here - before, 1e-6) if level else np.ones_like(radii)
        falling = (after - radii) / max(after - here, 1e-6) if level < len(levels) - 1 else np.ones_like(radii)
        share = np.clip(np.where(radii < here, rising, falling), 0, 1)
        if share.any():
            result += share * aperture.blurred(light, here)
    return result


def _in_front(
    aperture: Aperture, light: Light, shape: Float32[ndarray, "1 h w"], radius: float, *, soft: bool
) -> tuple[Light, Float32[ndarray, "1 h w"]]:
    """The light of a layer cut to a shape, and its opacity: both blurred, or cut after the blur where not `soft`."""
    if soft:
        return aperture.blurred(shape * light, radius), aperture.blurred(shape, radius)
    return shape * aperture.blurred(light, radius), shape


def _shape(rng: Generator, size: tuple[int, int], shares: tuple[float, float] = _NEAR_SHARE) -> Plane:
    """Opacity of an object with a smooth outline somewhere in the image, its edge about a pixel wide."""
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in size)
    down, right = rng.uniform(-0.7, 0.7, 2)
    tall, wide = rng.uniform(0.5, 1.5, 2)
    field = -np.hypot((y[:, None] - down) / tall, (x - right) / wide) + rng.uniform(0.2, 0.8) * _waves(rng, size, 0.15)
    share = rng.uniform(*shares)
    field -= np.quantile(field, 1 - share)
    slope = np.hypot(*np.gradient(field))
    return np.clip(0.5 + field / np.maximum(slope, 1e-3), 0, 1).astype(np.float32)


def _waves(rng: Generator, size: tuple[int, int], extent: float) -> Plane:
    """Smooth noise of deviation 1, its waves about `extent` of the image long."""
    coarse = ndimage.gaussian_filter(rng.standard_normal((48, 48)).astype(np.float32), 48 * extent / 2, mode="wrap")
    field = np.asarray(ndimage.zoom(coarse, (size[0] / 48, size[1] / 48), order=1, grid_mode=True, mode="nearest"))
    return (field / field.std()).astype(np.float32)


def _light(rng: Generator, image: HostImage, *, flat: bool) -> Light:
    """An image in linear light, sometimes with little texture left where it may be `flat`, or mirrored."""
    values = np.moveaxis(image, -1, 0).astype(np.float32) / 255
    if rng.random() < 0.15:
        mean, contrast = values.mean(axis=(1, 2), keepdims=True), np.exp(rng.uniform(np.log(0.05), 0))
        values = mean + np.float32(contrast) * (values - mean) if flat else values
    if rng.random() < 0.5:
        values = values[:, :, ::-1]
    return values**_GAMMA


def _patched(rng: Generator, light: Light, *, most: int) -> Light:
    """The same with at most so many surfaces without texture, each of the mean colour of what it hides."""
    size = light.shape[1], light.shape[2]
    for _ in range(int(rng.integers(most + 1))):
        shape = _shape(rng, size, _PATCH_SHARE)
        colour = (shape * light).sum(axis=(1, 2), keepdims=True) / shape.sum()
        shades = 1 + np.float32(rng.uniform(0, 0.2)) * _waves(rng, size, 0.4)
        light = light + shape * (np.clip(colour * shades, 0, 1) - light)
    return light


def _developed(rng: Generator, light: Light, *, noise: bool) -> HostImage:
    """The picture in sRGB encoding, with noise if asked for."""
    values = 255 * np.clip(light, 0, 1) ** np.float32(1 / _GAMMA)
    deviation = np.float32(rng.uniform(0, _NOISE) * rng.uniform(0, 1))
    values += (deviation if noise else np.float32(0)) * rng.standard_normal(values.shape, np.float32)
    return np.moveaxis(np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8), 0, -1)
