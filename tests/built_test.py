import json
import shutil
from pathlib import Path

import pytest

from btbnet_jax.builders import BuildError, DutBuilder, build, check_built, open_source
from tests.raw_sets import write_numbered


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("built")
    write_numbered(root / "raw", ("dut500-source", "dut500-gt"), 500)
    build(DutBuilder(data_dir=root / "data"), manual_dir=root / "raw")
    return root / "data"


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(whole, tmp_path / "data")


def test_a_whole_set_passes(data: Path):
    assert check_built(data / "dut" / "1.0.0") == {"test": 500}


def test_a_set_that_is_not_built_is_named_with_those_that_are_and_the_command(data: Path):
    with pytest.raises(BuildError) as caught:
        open_source(data, "shi", "test")
    assert f"no data set 'shi' is built in {data}, which has dut" in str(caught.value)
    assert f"python -m btbnet_jax data shi --manual-dir FOLDER --data-dir {data}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("simulated/layered", "simulated --config layered --manual-dir FOLDER"),
        ("simulated/generated", "simulated --config generated"),
        ("pairs/mine", "pairs --name mine"),
    ],
)
def test_the_command_builds_the_set_that_is_not_there(data: Path, name: str, words: str):
    with pytest.raises(BuildError, match=f"data {words} --data-dir"):
        open_source(data, name, "train")


def test_an_absent_data_folder_has_none(tmp_path: Path):
    with pytest.raises(BuildError, match="which has none"):
        open_source(tmp_path / "absent", "simulated/generated", "train")


def test_an_unknown_split_is_named_with_those_there_are(data: Path):
    for split in ("train", "validation[:5]"):
        with pytest.raises(BuildError, match="it has test"):
            open_source(data, "dut", split)


def test_an_interrupted_build_is_named_with_what_to_delete(data: Path):
    (data / "dut" / "1.0.0").rename(data / "dut" / "incomplete.ABC_1.0.0")
    with pytest.raises(BuildError, match=r"interrupted.*delete .*incomplete\.ABC_1\.0\.0"):
        open_source(data, "dut", "test")


@pytest.mark.parametrize("damage", ["no info", "no features", "no splits", "no records", "empty folder"])
def test_a_set_built_in_part_says_what_to_delete_when_it_is_opened_or_built_again(data: Path, damage: str):
    folder = data / "dut" / "1.0.0"
    info = folder / "dataset_info.json"
    match damage:
        case "no info":
            info.unlink()
        case "no features":
            (folder / "features.json").unlink()
        case "no splits":
            info.write_text(json.dumps(json.loads(info.read_text()) | {"splits": []}))
        case "no records":
            next(folder.glob("*.array_record*")).unlink()
        case "empty folder":
            shutil.rmtree(folder)
            folder.mkdir()
    with pytest.raises(BuildError, match=f"delete the folder {folder}"):
        open_source(data, "dut", "test")
    with pytest.raises(BuildError, match=f"delete the folder {folder}"):
        build(DutBuilder(data_dir=data), manual_dir=data)


def test_a_set_whose_description_is_cut_short_says_what_to_delete_when_it_is_opened(data: Path):
    info = data / "dut" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text()[:200])
    with pytest.raises(BuildError, match=f"delete the folder {info.parent}"):
        open_source(data, "dut", "test")


def test_a_set_with_other_numbers_than_it_is_known_to_have_is_refused(data: Path):
    info = data / "dut" / "1.0.0" / "dataset_info.json"
    values = json.loads(info.read_text())
    values["splits"][0]["shardLengths"][0] = "49"
    info.write_text(json.dumps(values))
    with pytest.raises(BuildError, match="499"):
        check_built(info.parent)
