import os
from pathlib import Path

import pytest

from btbnet_jax.images import write_png
from btbnet_jax.sources.photographs import check_photographs, find_photographs
from tests.raw_sets import noise


def touched(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_photographs_are_found_at_any_depth_and_named_by_their_stems(tmp_path: Path):
    touched(tmp_path, "images/train/100075.jpg", "images/val/3096.jpg", "ucid00001.TIF", "notes.txt", ".x.jpg")
    found = find_photographs([tmp_path])
    assert {name: path.name for name, path in found.items()} == {
        "100075": "100075.jpg",
        "3096": "3096.jpg",
        "ucid00001": "ucid00001.TIF",
    }


def test_stems_that_repeat_are_told_apart_by_their_folders_and_suffixes(tmp_path: Path):
    touched(tmp_path, "a/1.jpg", "b/1.jpg", "b/2.jpg", "3.jpg", "3.png")
    assert set(find_photographs([tmp_path])) == {"a-1", "b-1", "2", "3", "3-png"}


def test_the_berkeley_archives_examples_of_code_are_no_sources(tmp_path: Path):
    touched(tmp_path, "BSR/BSDS500/data/images/train/1.jpg", "BSR/bench/data/images/2.jpg", "BSR/documentation/3.png")
    assert set(find_photographs([tmp_path])) == {"1"}


def test_damaged_photographs_are_all_named(tmp_path: Path):
    write_png(tmp_path / "good.png", noise())
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:50])
    problems = check_photographs(find_photographs([tmp_path]))
    assert len(problems) == 2
    assert "cut.png: damaged" in problems[0]
    assert "empty.jpg: an empty file" in problems[1]


@pytest.mark.skipif("BTBNET_DATA" not in os.environ, reason="BTBNET_DATA names no folder of real data")
def test_the_berkeley_set_has_500_photographs():
    assert len(find_photographs([Path(os.environ["BTBNET_DATA"], "bsds500")])) == 500


@pytest.mark.parametrize("name", ["image/out_of_focus0026.jpg", "gt/motion0001.png", "DUT/dut500-source/7.jpg"])
def test_photographs_of_the_blurred_sets_are_no_clear_sources(tmp_path: Path, name: str):
    touched(tmp_path, name)
    write_png(tmp_path / "clear.png", noise())
    (problem,) = check_photographs(find_photographs([tmp_path]))
    assert problem.startswith("1 of 2 images are photographs with blur")
    assert str((tmp_path / name).parent) in problem
