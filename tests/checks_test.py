from pathlib import Path

import numpy as np
import pytest

from btbnet_jax.images import write_png
from btbnet_jax.sources.checks import Pair, SourceError, check_pairs, listed
from tests.raw_sets import mask, noise


def written(folder: Path, masks: list[np.ndarray], *, focus_is_white: bool = True) -> list[Pair]:
    pairs = []
    for number, truth in enumerate(masks):
        pair = Pair(str(number), folder / f"{number}.png", folder / f"{number}_mask.png", focus_is_white)
        write_png(pair.image, noise())
        write_png(pair.mask, truth)
        pairs.append(pair)
    return pairs


def test_good_pairs_have_no_problem(tmp_path: Path):
    assert check_pairs(written(tmp_path, [mask(white=0.25)] * 8)) == []


def test_every_damaged_file_is_named(tmp_path: Path):
    pairs = written(tmp_path, [mask(white=0.25)] * 8)
    pairs[2].image.write_bytes(pairs[2].image.read_bytes()[:60])
    pairs[5].mask.write_bytes(b"<!doctype html>")
    first, second = check_pairs(pairs)
    assert first.startswith(f"{pairs[2].image}: damaged")
    assert second.startswith(f"{pairs[5].mask}: a web page")


def test_a_mask_of_another_size_is_named_with_both_sizes(tmp_path: Path):
    pairs = written(tmp_path, [mask(white=0.25), mask(white=0.25, size=(8, 9))])
    (problem,) = check_pairs(pairs)
    assert problem == f"{pairs[1].mask} has 8 × 9 pixels, but {pairs[1].image} has 8 × 8"


@pytest.mark.parametrize("focus_is_white", [True, False])
def test_nearly_all_masks_mostly_in_focus_are_suspected_of_the_wrong_polarity(tmp_path: Path, focus_is_white: bool):
    in_focus, blurred = mask(white=0.75), mask(white=0.25)
    if not focus_is_white:
        in_focus, blurred = blurred, in_focus
    pairs = written(tmp_path, [in_focus] * 7 + [blurred], focus_is_white=focus_is_white)
    (problem,) = check_pairs(pairs)
    assert "wrong polarity suspected" in problem
    assert "7 of 8 masks" in problem
    assert check_pairs(pairs, check_polarity=False) == []


def test_three_quarters_of_the_masks_mostly_in_focus_are_let_through(tmp_path: Path):
    assert check_pairs(written(tmp_path, [mask(white=0.75)] * 6 + [mask(white=0.25)] * 2)) == []


def test_a_few_masks_say_nothing_about_polarity(tmp_path: Path):
    assert check_pairs(written(tmp_path, [mask(white=0.75)] * 7)) == []


def test_masks_of_0_and_1_are_found_out(tmp_path: Path):
    (problem,) = check_pairs(written(tmp_path, [mask(white=0.25) // 255] * 2))
    assert "brightest grey of all masks is 1 of 255" in problem


def test_a_set_may_be_blurred_everywhere(tmp_path: Path):
    assert check_pairs(written(tmp_path, [mask(white=0)] * 9)) == []


def test_five_names_are_listed_and_the_rest_is_counted():
    assert listed(["b", "a"]) == "a, b"
    assert listed("gfedcba") == "a, b, c, d, e and 2 more"


def test_an_error_has_a_line_for_each_problem():
    assert str(SourceError("x cannot be built", ["one", "two"])) == "x cannot be built:\n- one\n- two"
