import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from btbnet_jax.builders import PairsBuilder, PairsConfig, SimulatedBuilder, build
from btbnet_jax.bundle import BundleError, limits, pack
from btbnet_jax.bundle.packing import RECIPE
from btbnet_jax.bundle.photographs import photographs, with_shorter_side
from btbnet_jax.bundle.runner import SETS
from btbnet_jax.config import DataConfig
from btbnet_jax.data import Examples, hold_out
from btbnet_jax.images import read_image, resize_image
from btbnet_jax.sources import shi
from btbnet_jax.sources.layered import VERSIONS, version_name
from tests.script_calls import ROOT
from tests.small_bundles import SIZE, build_sets, small_project
from tests.small_sets import build_pairs, half_in_focus

Packed = tuple[Path, str]
Places = dict[str, Any]  # the arguments `project` and `data_dir` of `pack`


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """The arguments that name a small project and its data."""
    folder = tmp_path_factory.mktemp("places")
    return {"project": small_project(folder / "project"), "data_dir": build_sets(folder)}


@pytest.fixture(scope="module")
def packed(places: Places, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """A bundle of both stages, and what was said of it."""
    path = tmp_path_factory.mktemp("bundle") / "small.pyz"
    return path, pack(path, **places)


def members(path: Path) -> set[str]:
    return set(zipfile.ZipFile(path).namelist())


def rebuilt(path: Path, folder: Path) -> Path:
    """Builds the sets from the photographs of a bundle, as its runner does."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    data = folder / "data"
    name = SETS["shi"].partition("/")[2]
    config = PairsConfig(name=name, images=data / "pairs" / "images", masks=data / "pairs" / "masks")
    build(PairsBuilder(data_dir=folder / "built", config=config))
    clear = SimulatedBuilder(data_dir=folder / "built", config=SETS["simulated"].partition("/")[2])
    build(clear, manual_dir=data / "clear")
    return folder / "built"


def test_no_test_image_is_in_a_bundle(packed: Packed):
    stems = {Path(name).stem for name in members(packed[0]) if name.startswith("data/")}
    assert not stems & set(shi.TEST)
    assert stems == {f"out_of_focus{number:04d}" for number in range(1, 705)} - set(shi.TEST) | {"0", "1"}


def test_a_set_with_test_images_is_not_packed(tmp_path: Path):
    name = shi.TEST[3]
    build_pairs(tmp_path, "tested", {name: half_in_focus(0), "other": half_in_focus(1)}, test=("other",))
    for split, words in (
        ("train", rf"1 of Shi's test images are in pairs/tested, train \({name}\)"),
        ("test", "to test by"),
    ):
        data = DataConfig(name="pairs/tested", split=split, validation="none", size=16)
        with pytest.raises(BundleError, match=words):
            photographs(tmp_path, {"shi": data}, 10**6)


def test_what_is_built_of_a_bundle_trains_and_validates_by_the_same_images_in_the_same_order(
    packed: Packed, places: Places, tmp_path: Path
):
    built = rebuilt(packed[0], tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    before, after = (
        hold_out(Examples(folder, name, "train"), "shi60")
        for folder, name in ((places["data_dir"], "shi"), (built, SETS["shi"]))
    )
    assert [part.digest() for part in before] == [part.digest() for part in after]
    assert len(after[1]) == 60
    assert set(manifest["sets"]["shi"]["held_out"]) < set(manifest["sets"]["shi"]["names"])
    assert sorted(manifest["sets"]["shi"]["held_out"]) == sorted(shi.VALIDATION)


def test_scenes_are_made_of_the_clear_photographs_of_a_bundle(packed: Packed, tmp_path: Path):
    examples = Examples(rebuilt(packed[0], tmp_path), SETS["simulated"], "train")
    names = [version_name(source, version) for source in ("0", "1") for version in range(VERSIONS)]
    assert [examples.name(index) for index in range(len(examples))] == names
    assert json.loads((tmp_path / "manifest.json").read_text())["sets"]["simulated/layered"]["names"] == ["0", "1"]


def test_of_pairs_training_sees_its_masks_exactly_and_its_images_but_for_their_jpeg(
    packed: Packed, places: Places, tmp_path: Path
):
    before, after = (
        Examples(folder, name, "train")
        for folder, name in ((places["data_dir"], "shi"), (rebuilt(packed[0], tmp_path), SETS["shi"]))
    )
    for index in (0, 603):
        image, mask = (resize_image(array, (SIZE, SIZE)) for array in before[index])
        np.testing.assert_array_equal(after[index][1], mask)
        assert after[index][0].shape == image.shape
        luma = [picture @ np.array([0.299, 0.587, 0.114]) for picture in (after[index][0], image)]  # of noise: JPEG
        assert np.abs(luma[0] - luma[1]).mean() < 2  # resolves colours half as well


def test_clear_photographs_keep_their_shape(packed: Packed):
    with zipfile.ZipFile(packed[0]) as archive:
        sizes = [read_image(io.BytesIO(archive.read(f"data/clear/{number}.jpg"))).shape[:2] for number in range(2)]
    assert sizes == [(16, 21), (12, 14)]
    assert with_shorter_side(np.zeros((321, 481, 3), np.uint8), 320).shape == (320, 480, 3)


def test_the_program_the_code_and_the_recipes_are_in_a_bundle_and_released_weights_are_not(packed: Packed):
    names = members(packed[0])
    wanted = {"train.py", *RECIPE.values(), "btbnet_jax/loop.py", "btbnet_jax/sources/lists/shi_valid60.txt"}
    assert {"__main__.py", "manifest.json", *(f"code/{name}" for name in wanted)} <= names
    assert not [name for name in names if name.endswith((".safetensors", ".pyc"))]
    program = zipfile.ZipFile(packed[0]).read("__main__.py")
    assert program == (ROOT / "btbnet_jax" / "bundle" / "runner.py").read_bytes()


def test_what_weighs_what_stands_in_the_table(packed: Packed):
    path, said = packed
    rows = dict(re.findall(r"^(.+?) +(\d+\.\d\d)(?:  |$)", said, re.M))
    assert rows["bundle"] == f"{path.stat().st_size / 1e6:.2f}"
    assert {"code", "photographs with blur, 604", "masks, 604", "clear photographs, 2", "data in all"} < set(rows)
    assert "JPEG quality 95" in said


def test_the_same_content_is_the_same_bundle(packed: Packed, places: Places, tmp_path: Path):
    pack(tmp_path / "again.pyz", **places)
    assert (tmp_path / "again.pyz").read_bytes() == packed[0].read_bytes()


def test_photographs_are_packed_in_the_highest_quality_that_fits(places: Places):
    data = {"simulated": DataConfig(name=SETS["simulated"], validation="none", size=16)}
    best = photographs(places["data_dir"], data, 10**6)
    weight = sum(map(len, best.files.values()))
    assert best.quality == 95
    assert photographs(places["data_dir"], data, weight).quality == 95
    less = photographs(places["data_dir"], data, weight - 1)
    assert 45 <= less.quality < 95
    assert sum(map(len, less.files.values())) < weight
    with pytest.raises(BundleError, match=r"2 photographs do not fit into the 0\.00 MB .* quality of 45: leave out"):
        photographs(places["data_dir"], data, 1000)


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("MOST_DATA", "photographs do not fit into"),
        ("MOST_BUNDLE", r"the bundle without photographs: .* allowed: leave out wheels(.|\n)*code +0\.\d\d"),
    ],
)
def test_what_is_over_a_limit_is_refused(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, words: str
):
    monkeypatch.setattr(limits, limit, 200_000)
    with pytest.raises(BundleError, match=words):
        pack(tmp_path / "large.pyz", **places)
    assert not (tmp_path / "large.pyz").exists()


def test_a_weight_over_its_limit_is_named_with_what_to_do():
    with pytest.raises(BundleError, match=r"^bundle: 60\.10 MB, and at most 60\.00 MB are allowed: leave out wheels"):
        limits.check("bundle", 60_100_000, limits.MOST_BUNDLE, "leave out wheels")
    limits.check("bundle", 60_000_000, limits.MOST_BUNDLE, "")
    assert (limits.MOST_DATA, limits.LARGEST_PIECE, limits.MOST_PIECES) == (20_000_000, 15_999_999, 8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: {"project": folder}, r"train\.py.* not found: give the folder of this repository"),
        (lambda folder: {"wheels": folder}, "holds no wheels"),
        (lambda folder: {"wheels": wheels(folder, "one-1", "One-2")}, "has one more than once"),
        (lambda folder: {"stages": ["shi", "simulated"]}, "stages are some of simulated, shi, in this order"),
        (lambda folder: {"stages": []}, "not none"),
        (
            lambda folder: {"stages": ["shi"]},
            r"goes on from what the stage before has learned: give that \(--weights\)",
        ),
    ],
)
def test_what_cannot_be_packed_is_named(
    places: Places, tmp_path: Path, change: Callable[[Path], dict[str, Any]], words: str
):
    options: dict[str, Any] = {**places, **change(tmp_path)}
    with pytest.raises(BundleError, match=words):
        pack(tmp_path / "small.pyz", **options)


def wheels(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / f"{name}-py3-none-any.whl").touch()
    return folder


def test_every_recipe_warms_its_optimiser_up():
    for name in RECIPE.values():
        flags = (Path(__file__).parents[1] / name).read_text("utf-8").splitlines()
        assert [int(flag.partition("=")[2]) > 0 for flag in flags if flag.startswith("--warmup_steps=")] == [True]
