"""The builders, run on made-up data sets; what they check is tested with the rules of each set."""

import io
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from btbnet_jax.builders import (
    BuildError,
    DutBuilder,
    PairsBuilder,
    PairsConfig,
    ShiBuilder,
    SimulatedBuilder,
    SourceError,
    build,
    open_source,
)
from btbnet_jax.images import encode_png, read_image, read_mask, write_png
from btbnet_jax.sources import generated, shi
from btbnet_jax.sources.layered import INGREDIENTS
from btbnet_jax.sources.simulated import blurred_versions, source_name, version_name
from tests.raw_sets import mask, noise, write_numbered, write_shi, zipped


def jpeg(array: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with `shi`, from archives beside one that is damaged, and `dut`, from folders."""
    root = tmp_path_factory.mktemp("sets")
    raw = write_shi(root / "raw" / "shi")
    zipped(raw / "image", root / "downloads" / "BlurDatasetImage.zip")
    zipped(raw / "gt", root / "downloads" / "BlurDatasetGT.zip")
    (root / "downloads" / "holiday.zip").write_text("<html>Sign in to download</html>")
    build(ShiBuilder(data_dir=root / "data"), manual_dir=root / "downloads")
    write_numbered(root / "dut", ("dut500-source", "dut500-gt"), 500)
    build(DutBuilder(data_dir=root / "data"), manual_dir=root / "dut")
    return root / "data"


def test_shi_comes_out_of_its_archives_whatever_lies_beside_them_with_604_and_100(built: Path):
    names = {split: [example["name"] for example in open_source(built, "shi", split)] for split in ("train", "test")}
    assert {split: len(set(of)) for split, of in names.items()} == {"train": 604, "test": 100}
    assert set(names["test"]) == set(shi.TEST)


def test_archives_of_a_split_that_is_optional_are_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_numbered(tmp_path / "dut", ("dut500-source", "dut500-gt"), 500)
    (tmp_path / "dut" / "1204source.zip").write_text("<html>Sign in to download</html>")
    notes: list[str] = []
    monkeypatch.setattr("btbnet_jax.builders.pairs.logging.warning", lambda *words: notes.append(words[-1]))
    assert build(DutBuilder(data_dir=tmp_path / "data"), manual_dir=tmp_path / "dut") == {"test": 500}
    assert ["1204source.zip: a web page" in note for note in notes] == [True]


def test_in_focus_is_255_whatever_the_published_polarity(built: Path):
    for name in ("shi", "dut"):  # a quarter is in focus in the first as in the second
        example = open_source(built, name, "test")[0]
        image = Image.open(io.BytesIO(example["mask"]))
        assert (image.format, image.mode) == ("PNG", "L")
        blurred_first = name == "shi"
        expected = mask(white=0.75) ^ 255 if blurred_first else mask(white=0.25)
        np.testing.assert_array_equal(read_mask(example["mask"]), expected)


def test_a_build_leaves_nothing_but_the_set(built: Path):
    assert sorted(path.name for path in built.iterdir()) == ["dut", "shi"]


def test_building_again_changes_nothing(built: Path):
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*")}
    assert build(ShiBuilder(data_dir=built)) == {"train": 604, "test": 100}
    assert {path: path.stat().st_mtime_ns for path in built.rglob("*")} == before


def test_tfds_reads_a_set_without_our_code(built: Path):
    options: dict[str, Any] = {"split": "test"}  # TFDS' types know none of the arguments
    assert len(tfds.builder_from_directory(built / "shi" / "1.0.0").as_data_source(**options)) == 100
    assert "tensorflow" not in sys.modules


def test_a_source_pickles_slices_and_ends(built: Path):
    source = open_source(built, "dut", "test")
    copy = pickle.loads(pickle.dumps(source))
    assert copy[3] == source[3]
    assert source[-1] == source[499]
    assert [example["name"] for example in source[2:5]] == [source[index]["name"] for index in (2, 3, 4)]
    with pytest.raises(IndexError):
        source[500]


def test_a_part_of_a_split_opens(built: Path):
    assert len(open_source(built, "dut", "test[:10]")) == 10


def test_the_official_folders_register_with_tfds(built: Path):
    import datasets.dut
    import datasets.pairs
    import datasets.shi
    import datasets.simulated

    assert issubclass(datasets.shi.Builder, ShiBuilder)
    assert tfds.builder("shi", data_dir=built).info.splits["test"].num_examples == 100
    assert tfds.builder("dut", data_dir=built).info.splits["test"].num_examples == 500
    assert list(datasets.simulated.Builder.builder_configs) == [
        *("generated", "photographs", "photographs_on_the_fly", "layered", "layered_with_patches"),
        *(f"layered_without_{ingredient}" for ingredient in INGREDIENTS),
    ]
    assert list(datasets.pairs.Builder.builder_configs) == ["focus_white", "focus_black"]


def test_images_are_kept_byte_for_byte_only_where_every_decoder_agrees_on_them(tmp_path: Path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    turned, pixels = Image.Exif(), noise((16, 8))
    turned[0x0112] = 6
    files = {
        "plain.jpg": jpeg(pixels),
        "turned.jpg": jpeg(pixels, exif=turned.tobytes()),
        "grey.jpg": jpeg(pixels[..., 0]),
        "picture.png": encode_png(pixels),
    }
    for name, data in files.items():
        (tmp_path / "images" / name).write_bytes(data)
        size = (8, 16) if name == "turned.jpg" else (16, 8)
        write_png(tmp_path / "masks" / Path(name).with_suffix(".png"), mask(white=0.25, size=size))
    build(PairsBuilder(data_dir=tmp_path / "data", config="focus_white"), manual_dir=tmp_path)
    examples = {example["name"]: example for example in open_source(tmp_path / "data", "pairs/focus_white", "train")}
    assert examples["plain"]["image"] == files["plain.jpg"]
    for name in ("turned.jpg", "grey.jpg", "picture.png"):
        stored = examples[Path(name).stem]["image"]
        assert stored.startswith(b"\x89PNG")
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(stored))), read_image(files[name]))


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs" / "images"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(jpeg(noise((9, 12))))
    Image.fromarray(noise((8, 8))).save(folder / "b.tif")
    return folder.parent


def test_simulated_photographs_are_the_same_bits_stored_or_on_the_fly(tmp_path: Path, photographs: Path):
    for config in ("photographs", "photographs_on_the_fly"):
        build(SimulatedBuilder(data_dir=tmp_path / "data", config=config), manual_dir=photographs)
    stored = {example["name"]: example for example in open_source(tmp_path / "data", "simulated/photographs", "train")}
    sources = open_source(tmp_path / "data", "simulated/photographs_on_the_fly", "train")
    assert (len(stored), len(sources)) == (40, 2)
    for source in sources:
        assert sorted(source) == ["image", "name"]
        for version, image, truth in blurred_versions(read_image(source["image"])):
            example = stored[version_name(source["name"], version)]
            np.testing.assert_array_equal(read_image(example["image"]), image)
            np.testing.assert_array_equal(read_mask(example["mask"]), truth)
    assert sources[0]["image"] == (photographs / "images" / "a.jpg").read_bytes()


def test_layered_scenes_are_stored_as_jpeg_and_depend_on_the_photographs_alone(tmp_path: Path, photographs: Path):
    for folder in ("one", "other"):
        builder = SimulatedBuilder(data_dir=tmp_path / folder, config="layered")
        assert build(builder, manual_dir=photographs) == {"train": 16}
    one, other = (list(open_source(tmp_path / folder, "simulated/layered", "train")) for folder in ("one", "other"))
    assert one == other
    assert {source_name(example["name"]) for example in one} == {"a", "b"}
    assert len({example["image"] for example in one}) == 16
    for example in one:
        assert example["image"].startswith(b"\xff\xd8")
        assert read_image(example["image"]).shape[:2] == read_mask(example["mask"]).shape


@pytest.mark.parametrize(("changed", "least"), [("layered_without_camera", 1.0), ("layered_with_patches", 0.5)])
def test_scenes_that_are_changed_are_the_same_scenes_otherwise(
    tmp_path: Path, photographs: Path, changed: str, least: float
):
    for config in ("layered", changed):
        build(SimulatedBuilder(data_dir=tmp_path, config=config), manual_dir=photographs)
    one, other = (list(open_source(tmp_path, f"simulated/{config}", "train")) for config in ("layered", changed))
    assert [example["name"] for example in one] == [example["name"] for example in other]
    assert [example["mask"] for example in one] == [example["mask"] for example in other]
    assert np.mean([before["image"] != after["image"] for before, after in zip(one, other, strict=True)]) >= least


def test_a_built_set_is_not_taken_for_one_of_other_photographs(tmp_path: Path, photographs: Path):
    def built_from(folder: Path) -> dict[str, int]:
        return build(SimulatedBuilder(data_dir=tmp_path, config="photographs_on_the_fly"), manual_dir=folder)

    assert built_from(photographs) == built_from(photographs) == {"train": 2}
    with pytest.raises(BuildError, match="was built from something else"):
        built_from(tmp_path / "others")
    write_png(photographs / "images" / "later.png", noise())
    with pytest.raises(BuildError, match=r"files: 2, whose .* -> 3, whose"):
        built_from(photographs)
    shutil.rmtree(photographs)  # what it was made of is no longer needed
    assert built_from(photographs) == {"train": 2}


def test_photographs_come_out_of_archives_too(tmp_path: Path, photographs: Path):
    zipped(photographs / "images", photographs / "BSDS.zip")
    builder = SimulatedBuilder(data_dir=tmp_path / "data", config="photographs_on_the_fly")
    assert build(builder, manual_dir=photographs) == {"train": 2}


def test_generated_scenes_need_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(generated, "NUM_SCENES", {"train": 2, "test": 1})
    assert build(SimulatedBuilder(data_dir=tmp_path)) == {"train": 2, "test": 1}
    for split, count in (("train", 2), ("test", 1)):
        source = open_source(tmp_path, "simulated/generated", split)
        assert [example["name"] for example in source] == [f"{split}_{n:04d}" for n in range(count)]
        np.testing.assert_array_equal(read_image(source[0]["image"]), generated.scene(split, 0))


def own_pairs(folder: Path, *, count: int = 8, white: float = 0.25) -> PairsConfig:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        write_png(folder / "images" / f"{number}.png", noise())
        write_png(folder / "masks" / f"{number}_mask.png", mask(white=white))
    return PairsConfig(name="mine", focus="white", images=folder / "images", masks=folder / "masks")


@pytest.mark.parametrize(("focus", "expected"), [("white", 64), ("black", 191)])
def test_pairs_of_ones_own_take_the_polarity_that_is_said(tmp_path: Path, focus, expected: int):
    config = own_pairs(tmp_path / "raw", count=2)
    config.focus = focus
    assert build(PairsBuilder(data_dir=tmp_path / "data", config=config)) == {"train": 2}
    example = open_source(tmp_path / "data", "pairs/mine", "train")[0]
    assert round(read_mask(example["mask"]).mean()) == expected  # a quarter or three of 255


def test_pairs_need_a_known_polarity_and_both_folders(tmp_path: Path):
    with pytest.raises((ValueError, TypeError), match="white"):  # by the types already, where they are checked
        PairsConfig(name="mine", focus=cast(Any, "grey"))
    with pytest.raises(ValueError, match="or neither"):
        PairsConfig(name="mine", images=tmp_path)


def test_lists_in_the_manual_folder_divide_pairs(tmp_path: Path):
    own_pairs(tmp_path / "raw")
    (tmp_path / "raw" / "test.txt").write_text("3\n5\n")
    builder = PairsBuilder(data_dir=tmp_path / "data", config="focus_white")
    assert build(builder, manual_dir=tmp_path / "raw") == {"test": 2, "train": 6}


def test_wrong_polarity_suspected_stops_a_build_unless_it_is_told_not_to(tmp_path: Path):
    config = own_pairs(tmp_path / "raw", white=0.75)
    with pytest.raises(SourceError, match="wrong polarity suspected"):
        build(PairsBuilder(data_dir=tmp_path / "data", config=config))
    assert list((tmp_path / "data").rglob("*.array_record*")) == []
    config.check_polarity = False
    assert build(PairsBuilder(data_dir=tmp_path / "data", config=config)) == {"train": 8}


def test_one_error_names_all_that_is_wrong_and_what_to_do(tmp_path: Path):
    write_shi(tmp_path / "raw")
    (tmp_path / "raw" / "gt" / "out_of_focus0002.png").unlink()
    write_png(tmp_path / "raw" / "gt" / "out_of_focus0003.png", mask(white=0.5, size=(8, 9)))
    (tmp_path / "raw" / "image" / "out_of_focus0004.png").write_bytes(jpeg(noise((64, 64)))[:900])
    with pytest.raises(SourceError) as caught:
        build(ShiBuilder(data_dir=tmp_path / "data"), manual_dir=tmp_path / "raw")
    headline, *lines = str(caught.value).splitlines()
    assert headline == "shi cannot be built:"
    expected = (
        "lacks 1 of 704: out_of_focus0002",
        "8 × 9 pixels",
        "out_of_focus0004.png: damaged",
        "BlurDatasetGT.zip",
    )
    for line, words in zip(lines, expected, strict=True):
        assert words in line


def test_a_web_page_saved_as_an_archive_is_named(tmp_path: Path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "BlurDatasetGT.zip").write_text("<html>Sign in to download</html>")
    with pytest.raises(SourceError, match=r"BlurDatasetGT\.zip: a web page"):
        build(ShiBuilder(data_dir=tmp_path / "data"), manual_dir=tmp_path / "raw")


@pytest.mark.parametrize("builder", [ShiBuilder, DutBuilder])
def test_a_folder_that_is_empty_or_absent_is_named_with_what_to_do(tmp_path: Path, builder: type[ShiBuilder]):
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "absent"):
        with pytest.raises(SourceError, match=rf"(?s){folder}.*download"):
            build(builder(data_dir=tmp_path / "data"), manual_dir=tmp_path / folder)


def test_a_folder_without_photographs_says_what_it_holds(tmp_path: Path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "thesis.pdf").touch()
    with pytest.raises(SourceError, match=r"holds 1 file \(thesis\.pdf\)"):
        build(SimulatedBuilder(data_dir=tmp_path / "data", config="photographs"), manual_dir=tmp_path / "raw")


def test_a_refused_build_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    config = PairsConfig(name="mine", images=tmp_path / "empty", masks=tmp_path / "absent")
    with pytest.raises(SourceError):
        build(PairsBuilder(data_dir=tmp_path / "data", config=config))
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write into .*file/data"):
        build(ShiBuilder(data_dir=tmp_path / "file" / "data"), manual_dir=tmp_path)
