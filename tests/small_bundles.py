"""This project with small flag files, and data sets with the names of Shi's and a few clear photographs."""

from pathlib import Path

import numpy as np

from btbnet_jax.builders import ShiBuilder, SimulatedBuilder, build
from btbnet_jax.bundle.packing import RECIPE
from btbnet_jax.images import write_png
from tests.raw_sets import write_shi
from tests.small_sets import half_in_focus

ROOT = Path(__file__).parents[1]
SIZE = 16
SMALL = (
    "--width=0.03125 --scales=1/2 --recurrent_steps=2 --dtype=float32 --precision=highest --batch_size=2 "
    "--accumulate=1 --noshare_streams --steps=3 --warmup_steps=2 --log_every=1"
)
"""Flags of train.py that make a stage small."""


def small_project(folder: Path) -> Path:
    """Writes the files of this project that a bundle holds, with recipes for images of `SIZE`."""
    (folder / "configs").mkdir(parents=True)
    for name in RECIPE.values():
        text = (ROOT / name).read_text("utf-8")
        assert "--size=320\n" in text
        (folder / name).write_text(text.replace("--size=320\n", f"--size={SIZE}\n"), "utf-8")
    (folder / "train.py").write_bytes((ROOT / "train.py").read_bytes())
    (folder / "btbnet_jax").symlink_to(ROOT / "btbnet_jax")
    return folder


def build_sets(folder: Path) -> Path:
    """Builds the data sets that a bundle is packed from, and returns the folder that they are in.

    Of four clear photographs, two are packed, which is half of them.
    """
    build(ShiBuilder(data_dir=folder / "data"), manual_dir=write_shi(folder / "shi"))
    (folder / "clear").mkdir()
    for number, size in enumerate([(24, 32), (12, 14), (40, 30), (30, 40)]):
        write_png(folder / "clear" / f"{number}.png", np.asarray(half_in_focus(number, size)[0]))
    config = "photographs_on_the_fly"
    build(SimulatedBuilder(data_dir=folder / "data", config=config), manual_dir=folder / "clear")
    return folder / "data"
