import os
from pathlib import Path

import numpy as np
import pytest

from btbnet_jax.images import resize_image, write_png
from btbnet_jax.sources import shi
from btbnet_jax.sources.dut import find_dut
from tests.raw_sets import mask, noise, write_numbered, write_shi

TEST_FOLDERS = ("dut500-source", "dut500-gt")
TRAIN_FOLDERS = ("1204source", "1204gt")


def test_the_published_folders_give_500_to_test_and_white_means_in_focus(tmp_path: Path):
    write_numbered(tmp_path / "DUT", TEST_FOLDERS, 500)
    findings = find_dut([tmp_path])
    assert findings.problems == findings.notes == []
    assert list(findings.splits) == ["test"]
    assert [pair.name for pair in findings.splits["test"]] == [str(n) for n in range(1, 501)]
    assert all(pair.image.stem == pair.mask.stem and pair.focus_is_white for pair in findings.splits["test"])


def test_shis_test_images_in_the_same_folder_are_not_duts(tmp_path: Path):
    write_numbered(tmp_path, TEST_FOLDERS, 500)
    write_numbered(tmp_path, ("xu100-source", "xu100-gt"), 100)
    assert len(find_dut([tmp_path]).splits["test"]) == 500


def test_missing_halves_are_counted(tmp_path: Path):
    write_numbered(tmp_path, TEST_FOLDERS, 500)
    (tmp_path / "dut500-gt" / "181.png").unlink()
    assert find_dut([tmp_path]).problems == [f"{tmp_path / 'dut500-gt'} lacks 1 of 500: 181"]


def test_a_folder_with_other_things_is_told_what_it_holds(tmp_path: Path):
    (tmp_path / "holidays").mkdir()
    (problem,) = find_dut([tmp_path]).problems
    assert "no folder 'dut500-source'" in problem
    assert "1 folder (holidays)" in problem


def test_the_1204_are_left_out_with_a_note_where_they_cannot_be_told_apart(tmp_path: Path):
    write_numbered(tmp_path, TEST_FOLDERS, 500)
    write_numbered(tmp_path, TRAIN_FOLDERS, 1204)
    findings = find_dut([tmp_path])
    assert (findings.problems, list(findings.splits)) == ([], ["test"])
    assert "dut_train600.txt" in findings.notes[0]


def test_a_list_says_which_600_are_duts(tmp_path: Path):
    write_numbered(tmp_path, TEST_FOLDERS, 500)
    write_numbered(tmp_path, TRAIN_FOLDERS, 1204)
    (tmp_path / "dut_train600.txt").write_text("\n".join(f"{n}.bmp" for n in range(2, 1202, 2)))
    train = find_dut([tmp_path]).splits["train"]
    assert [pair.name for pair in train] == [f"train_{n}" for n in range(2, 1202, 2)]
    assert {pair.image.parent.name for pair in train} == {"1204source"}


def test_a_list_of_the_wrong_length_or_with_unknown_names_is_a_problem(tmp_path: Path):
    write_numbered(tmp_path, TEST_FOLDERS, 500)
    write_numbered(tmp_path, TRAIN_FOLDERS, 1204)
    (tmp_path / "dut_train600.txt").write_text("1\n2\n1205\n")
    unknown, length = find_dut([tmp_path]).problems
    assert "names 1 that are not there: 1205" in unknown
    assert "3 names, not 600" in length


def test_with_shis_images_at_hand_those_that_look_like_them_are_left_out(tmp_path: Path):
    write_numbered(tmp_path, TEST_FOLDERS, 500)
    write_shi(tmp_path)
    for folder in TRAIN_FOLDERS:
        (tmp_path / folder).mkdir()
    trained_on = [f"out_of_focus{n:04d}" for n in range(1, 705) if f"out_of_focus{n:04d}" not in shi.TEST]
    order = np.random.default_rng(1).permutation(1204) + 1
    for number, name in zip(order[:604], trained_on, strict=True):
        image = resize_image(noise((4, 6)), (24, 36))
        write_png(tmp_path / "image" / f"{name}.png", image)
        write_png(tmp_path / "1204source" / f"{number}.png", resize_image(image, (32, 32)))
    for number in order[604:]:
        write_png(tmp_path / "1204source" / f"{number}.png", resize_image(noise((4, 4)), (32, 32)))
    for number in order:
        write_png(tmp_path / "1204gt" / f"{number}.png", mask(white=0.25, size=(32, 32)))
    findings = find_dut([tmp_path])
    assert findings.problems == []
    assert {pair.name for pair in findings.splits["train"]} == {f"train_{number}" for number in order[604:]}


def test_where_too_few_look_like_shis_nothing_is_guessed(tmp_path: Path):
    write_numbered(tmp_path, TEST_FOLDERS, 500)
    write_shi(tmp_path)
    write_numbered(tmp_path, TRAIN_FOLDERS, 1204)
    (problem,) = find_dut([tmp_path]).problems
    assert "0 of the 1204 images" in problem


@pytest.mark.skipif("BTBNET_DATA" not in os.environ, reason="BTBNET_DATA names no folder of real data")
def test_the_real_data_set_is_whole():
    findings = find_dut([Path(os.environ["BTBNET_DATA"], "dut500")])
    assert (findings.problems, len(findings.splits["test"])) == ([], 500)
