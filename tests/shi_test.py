import os
from pathlib import Path

import pytest

from btbnet_jax.sources import shi
from btbnet_jax.sources.shi import find_shi
from tests.raw_sets import write_shi


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shi(tmp_path_factory.mktemp("shi"))


def test_the_published_folders_give_604_to_train_on_and_100_to_test(raw: Path):
    findings = find_shi([raw])
    assert findings.problems == []
    assert {name: len(pairs) for name, pairs in findings.splits.items()} == {"train": 604, "test": 100}


def test_image_and_mask_of_a_pair_have_one_name_and_white_means_blurred(raw: Path):
    for pairs in find_shi([raw]).splits.values():
        for pair in pairs:
            assert (pair.image.parent.name, pair.mask.parent.name) == ("image", "gt")
            assert pair.name == pair.image.stem == pair.mask.stem
            assert not pair.focus_is_white


def test_the_lists_name_100_to_test_and_60_to_validate_which_are_trained_on_otherwise(raw: Path):
    splits = {name: {pair.name for pair in pairs} for name, pairs in find_shi([raw]).splits.items()}
    assert len(shi.TEST) == 100
    assert set(shi.TEST) == splits["test"]
    assert len(set(shi.VALIDATION)) == 60
    assert set(shi.VALIDATION) < splits["train"]


def test_the_first_test_name_is_the_first_of_the_authors_release():
    assert shi.TEST[:2] == ("out_of_focus0037", "out_of_focus0117")


def test_folders_are_found_at_any_depth_and_in_capitals(tmp_path: Path):
    write_shi(tmp_path / "a" / "BlurDataset")
    (tmp_path / "a" / "BlurDataset" / "image").rename(tmp_path / "a" / "Image")
    (tmp_path / "a" / "BlurDataset" / "gt").rename(tmp_path / "GT")
    findings = find_shi([tmp_path])
    assert (findings.problems, len(findings.splits["train"])) == ([], 604)


def test_missing_halves_are_counted_and_the_first_five_are_named(tmp_path: Path):
    write_shi(tmp_path)
    for number in range(10, 17):
        (tmp_path / "gt" / f"out_of_focus{number:04d}.png").unlink()
    (tmp_path / "image" / "out_of_focus0704.png").unlink()
    image, masks = find_shi([tmp_path]).problems
    assert image == f"{tmp_path / 'image'} lacks 1 of 704: out_of_focus0704"
    assert masks.startswith(f"{tmp_path / 'gt'} lacks 7 of 704: out_of_focus0010, ")
    assert masks.endswith("out_of_focus0014 and 2 more")


def test_a_missing_folder_is_named_with_what_there_is(tmp_path: Path):
    write_shi(tmp_path)
    (tmp_path / "gt").rename(tmp_path / "masks")
    (problem,) = find_shi([tmp_path]).problems
    assert "no folder 'gt'" in problem
    assert "2 folders (image, masks)" in problem


def test_two_files_for_one_image_are_a_problem(tmp_path: Path):
    write_shi(tmp_path)
    (tmp_path / "image" / "out_of_focus0001.jpg").touch()
    (problem,) = find_shi([tmp_path]).problems
    assert "out_of_focus0001.jpg, out_of_focus0001.png" in problem


@pytest.mark.skipif("BTBNET_DATA" not in os.environ, reason="BTBNET_DATA names no folder of real data")
def test_the_real_data_set_is_whole():
    findings = find_shi([Path(os.environ["BTBNET_DATA"], "shi")])
    assert findings.problems == []
    assert {name: len(pairs) for name, pairs in findings.splits.items()} == {"train": 604, "test": 100}
