"""Generated clear images, for which nothing has to be downloaded: dead leaves.

Leaves of many shapes and sizes fall on each other, and each hides what lies below it.  Such images share with
natural ones the edges of occlusion, the independence of scale and the spectrum, and they are sharp everywhere.

Source: Lee, Mumford, Huang, "Occlusion Models for Natural Images", IJCV 2001: sizes distributed as r^-3.
Assumption: shapes, textures and colours are our choice.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from numpy.random import Generator

from btbnet_jax.types import HostImage

NUM_SCENES = {"train": 120, "test": 30}

_SIZE = 320
_SMALLEST, _LARGEST = 6.0, 120.0  # radii of leaves, in pixels
_REACH = 1.2  # no leaf goes further from its centre, in radii
_COVER = 2.0  # areas of all leaves, over the area of the image
_TILE = 256  # side of a texture, which is periodic
_NUM_TEXTURES = 4

Field = Float32[ndarray, "h w"]


class _Box(NamedTuple):
    """The part of an image that a leaf can reach, and the leaf's own coordinates there, turned with it."""

    part: tuple[slice, slice]
    u: Field
    v: Field


def scene(split: str, index: int, *, height: int = _SIZE, width: int = _SIZE) -> HostImage:
    """Returns a clear image, the same for the same arguments; those of two splits have nothing in common.

    Args:
      split: "train" or "test".
      index: of the image, 0 or more.
      height: rows.
      width: columns.

    Raises:
      ValueError: no such split.
    """
    if split not in NUM_SCENES:
        raise ValueError(f"there are scenes of {' and '.join(NUM_SCENES)}, not of {split}")
    rng = np.random.default_rng([list(NUM_SCENES).index(split), index])
    tiles = 2 + max(height, width, round(2 * _REACH * _LARGEST)) // _TILE  # so that a part may begin anywhere
    textures = [np.rot90(np.tile(_texture(rng), (tiles, tiles)), turns) for turns in range(_NUM_TEXTURES)]
    image = np.empty((height, width, 3), np.float32)
    image[:] = _surface(rng, textures, (height, width))
    area, covered = height * width, 0.0
    while covered < _COVER * area:
        radius = _radius(rng)
        covered += np.pi * radius**2
        if box := _box(rng, radius, (height, width)):
            opacity = np.clip(0.5 - _distance(rng, radius, box), 0, 1)[..., None]  # an edge one pixel wide
            below = image[box.part]
            below += opacity * (_surface(rng, textures, box.u.shape) - below)
    return np.floor(np.clip(image, 0, 255) + 0.5).astype(np.uint8)


def _radius(rng: Generator) -> float:
    """A radius whose density falls with the cube: the area that leaves of a size cover is the same for all sizes."""
    smallest, largest = _SMALLEST**-2, _LARGEST**-2
    return (smallest - rng.random() * (smallest - largest)) ** -0.5


def _box(rng: Generator, radius: float, size: tuple[int, int]) -> _Box | None:
    """Where a leaf fell, or None where the image has no part of it."""
    centre = rng.uniform(-radius, np.array(size) + radius)
    reach = _REACH * radius + 1
    first = np.maximum(0, np.floor(centre - reach)).astype(int)
    last = np.minimum(size, np.ceil(centre + reach)).astype(int)
    angle = rng.uniform(0, 2 * np.pi)
    if (first >= last).any():
        return None
    y = np.arange(first[0], last[0], dtype=np.float32)[:, None] - np.float32(centre[0])
    x = np.arange(first[1], last[1], dtype=np.float32)[None] - np.float32(centre[1])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return _Box((slice(first[0], last[0]), slice(first[1], last[1])), x * cos + y * sin, y * cos - x * sin)


def _distance(rng: Generator, radius: float, box: _Box) -> Field:
    """Pixels from the border of a leaf, negative within it: an ellipse, a rectangle, a polygon or a blob."""
    u, v = box.u, box.v
    kind, aspect = rng.integers(4), rng.uniform(0.35, 1)
    if kind == 0:
        along, across = u / radius, v / (radius * aspect)
        norm = np.hypot(along, across)
        slope = np.hypot(along / radius, across / (radius * aspect))
        return norm * (norm - 1) / np.maximum(slope, 1e-6)
    if kind == 1:
        return np.maximum(np.abs(u), np.abs(v) + 0.8 * radius * (1 - aspect)) - 0.8 * radius
    if kind == 2:
        distance = np.hypot(u, v) - _REACH * radius
        for side, away in rng.uniform((0, 0.5), (2 * np.pi, 1), (rng.integers(4, 8), 2)).astype(np.float32):
            np.maximum(distance, u * np.cos(side) + v * np.sin(side) - away * np.float32(radius), out=distance)
        return distance
    turn, border = np.arctan2(v, u), np.full_like(u, 0.8)
    for waves in range(2, 6):
        border += rng.uniform(0, 0.3 / waves) * np.cos(waves * turn + rng.uniform(0, 2 * np.pi))
    return np.hypot(u, v) - np.float32(radius) * border


def _surface(
    rng: Generator, textures: list[Float32[ndarray, "tiled tiled"]], size: tuple[int, int]
) -> Float32[ndarray, "h w 3"]:
    """A colour, shaded from one side and covered with a texture."""
    light = rng.uniform(25, 225)
    yellow, green = rng.normal(0, 35), rng.normal(0, 15)  # colours of nature lie along blue and yellow
    colour = light + yellow * np.array([0.6, 0.3, -0.9]) + green * np.array([-0.5, 0.6, -0.1])
    contrast = np.exp(rng.uniform(np.log(0.04), np.log(0.4))) * (0.3 * light + 40)
    tint = contrast * rng.uniform(0.7, 1.3, 3)
    down, right = (rng.uniform(-0.15, 0.15, 2) * light).astype(np.float32)
    rows, columns = (np.arange(-1, 1, 2 / length, dtype=np.float32)[:length] for length in size)
    shading = down * rows[:, None] + right * columns
    first, left = rng.integers(_TILE, size=2)
    grain = textures[rng.integers(len(textures))][first : first + size[0], left : left + size[1]]
    surface = grain[..., None] * tint.astype(np.float32)
    surface += shading[..., None]
    surface += colour.astype(np.float32)
    return surface


def _texture(rng: Generator) -> Field:
    """Noise whose amplitude falls with the frequency as in nature, or stripes that such noise bends; deviation 1."""
    y, x = np.meshgrid(np.fft.fftfreq(_TILE), np.fft.rfftfreq(_TILE), indexing="ij")
    frequency = np.hypot(y, x)
    frequency[0, 0] = np.inf
    noise = np.fft.rfft2(rng.standard_normal((_TILE, _TILE)))
    field = np.fft.irfft2(noise * frequency ** -rng.uniform(0.5, 1.3), s=(_TILE, _TILE))
    field /= field.std()
    if rng.random() < 0.4:
        across, down = np.meshgrid(np.arange(_TILE), np.arange(_TILE))
        waves = rng.integers(-48, 49, 2)  # whole periods in a tile
        stripes = np.sin(2 * np.pi * (waves[0] * across + waves[1] * down) / _TILE + field)
        field = stripes / max(stripes.std(), 1e-6)
    return field.astype(np.float32)
