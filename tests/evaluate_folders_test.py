import json
from pathlib import Path

import numpy as np

from btbnet_jax.images import read_mask, write_png
from btbnet_jax.sources import shi
from tests.script_calls import Call, table


def test_maps_are_scored_by_a_folder_of_masks_without_a_data_set(
    evaluate: Call, white_maps: dict[str, Path], tmp_path: Path
):
    masks = tmp_path / "masks"
    masks.mkdir()
    for path in white_maps["right"].glob("train*.png"):
        write_png(masks / f"{path.stem}_gt.png", 255 - read_mask(path))
    arguments = ["--focus=black", "--size=0", f"--maps=right={white_maps['right']}"]
    status, output, errors = evaluate(
        f"--masks={masks}", *arguments, f"--blur_maps=turned={white_maps['right']}", "--baselines=all"
    )
    assert (status, errors) == (0, "")
    assert "left out are 3 files of no image here" in output
    scores = {row["method"]: row for row in json.loads((tmp_path / "out" / "results.json").read_text())["scores"]}
    assert {name: row["mae"] for name, row in scores.items() if name in ("right", "turned")} == {
        "right": 0,
        "turned": 1,
    }
    assert "hifst" not in scores  # which needs the images


def test_a_folder_with_masks_of_test_images_needs_to_be_the_final_look_too(evaluate: Call, tmp_path: Path):
    for folder in ("masks", "maps"):
        (tmp_path / folder).mkdir()
        for name in (shi.TEST[0], "another"):
            write_png(tmp_path / folder / f"{name}.png", np.tile(np.array([0, 255], np.uint8), (8, 4)))
    arguments = ["--masks=masks", "--maps=mine=maps", "--size=0", "--test_log=log.csv"]
    status, _, errors = evaluate(*arguments)
    assert (status, "a test split is for the last figure" in errors) == (1, True), errors
    status, _, errors = evaluate(*arguments, "--final")
    assert (status, len(table(tmp_path / "log.csv"))) == (0, 1), errors


def test_masks_that_are_all_black_are_noted(evaluate: Call, tmp_path: Path):
    (tmp_path / "masks").mkdir()
    write_png(tmp_path / "masks" / "a.png", np.zeros((8, 8), np.uint8))
    status, output, errors = evaluate("--masks=masks", "--maps=mine=masks", "--size=0")
    assert (status, errors, "note: 1 of 1 masks have no pixel" in output) == (0, "", True)


def test_masks_that_are_mostly_in_focus_are_scored_where_that_is_said_to_be_right(evaluate: Call, tmp_path: Path):
    (tmp_path / "masks").mkdir()
    for number in range(8):
        write_png(tmp_path / "masks" / f"{number}.png", np.tile(np.array([0, 255, 255, 255], np.uint8), (8, 2)))
    arguments = ["--masks=masks", "--maps=mine=masks", "--size=0"]
    status, _, errors = evaluate(*arguments)
    assert (status, "wrong polarity suspected" in errors, "--nopolarity_check" in errors) == (1, True, True), errors
    status, _, errors = evaluate("--masks=masks", "--blur_maps=mine=absent")
    assert (status, errors) == (1, "evaluate.py: no maps in absent:\n- it is not a folder")  # which is told first
    status, _, errors = evaluate(*arguments, "--nopolarity_check")
    assert (status, errors) == (0, "")
