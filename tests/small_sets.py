"""Data sets of a few small images, built as a user's own are."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from btbnet_jax.builders import PairsBuilder, PairsConfig, build
from btbnet_jax.images import write_png
from btbnet_jax.types import HostImage, HostMap


def build_pairs(
    data_dir: Path, name: str, pairs: Mapping[str, tuple[HostImage, HostMap]], *, test: tuple[str, ...] = ()
) -> None:
    """Builds pairs/NAME from images and masks, white = in focus, with a test split where names are given."""
    raw = data_dir / "raw" / name
    for folder in ("images", "masks"):
        (raw / folder).mkdir(parents=True)
    for stem, (image, mask) in pairs.items():
        write_png(raw / "images" / f"{stem}.png", image)
        write_png(raw / "masks" / f"{stem}.png", mask)
    config = PairsConfig(name=name, images=raw / "images", masks=raw / "masks", check_polarity=False)
    if test:
        (raw / "test.txt").write_text("\n".join(test))
        config.test_names = raw / "test.txt"
    build(PairsBuilder(data_dir=data_dir, config=config))


def half_in_focus(number: int, size: tuple[int, int] = (24, 24)) -> tuple[HostImage, HostMap]:
    """A picture with stripes where it is in focus, on one side of a slanted edge, and nearly even on the other."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[: size[0], : size[1]]
    slope, share = rng.uniform(-0.5, 0.5), rng.uniform(0.35, 0.6)
    focus = columns + slope * (rows - size[0] / 2) < share * size[1]
    stripes = np.where((rows + columns) // 2 % 2, 60, -60)
    image = rng.integers(90, 160, 3) + np.where(focus, stripes, 0)[..., None] + rng.integers(-8, 9, (*size, 3))
    return image.astype(np.uint8), np.where(focus, 255, 0).astype(np.uint8)
