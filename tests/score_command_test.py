import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from btbnet_jax import metrics
from btbnet_jax.cli import main
from btbnet_jax.histograms import LevelCounts, merge
from btbnet_jax.images import read_map, write_png
from btbnet_jax.sources import shi

Score = Callable[..., tuple[int, str, str]]


@pytest.fixture
def score(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Score:
    """`btbnet score` in a folder with `masks`, and with `good` and `bad` maps of them."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for folder in ("masks", "good", "bad"):
        Path(folder).mkdir()
    for name, size in (("a", (20, 30)), ("b", (25, 16)), ("c", (9, 40))):
        mask = np.zeros(size, np.uint8)
        mask[: size[0] // 3] = 255
        write_png(Path("masks", f"{name}.png"), mask)
        write_png(Path("good", f"{name}_focus.png"), np.where(mask, 200, 40).astype(np.uint8))
        write_png(Path("bad", f"{name}.png"), rng.integers(0, 256, size, np.uint8))

    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(["score", *arguments])
        output, errors = capsys.readouterr()
        return status, output, errors

    return call


def figures(output: str, method: str) -> list[float]:
    return next(
        [float(word) for word in line.split()[1:]] for line in output.splitlines() if line.strip().startswith(method)
    )


def test_the_table_has_all_protocols_of_every_folder(score: Score):
    status, output, _ = score("good", "noise=bad", "--masks", "masks")
    rng = np.random.default_rng(0)
    counts = []
    for name, size in (("a", (20, 30)), ("b", (25, 16)), ("c", (9, 40))):
        mask = np.zeros(size, np.uint8)
        mask[: size[0] // 3] = 255
        counts.append(LevelCounts.from_maps(name, rng.integers(0, 256, size, np.uint8), mask))
    assert status == 0
    assert figures(output, "noise") == [round(value, 3) for value in metrics.scores(merge(counts)).values()]
    assert figures(output, "good")[1] == 1.0


def test_the_constant_maps_stand_beside_every_method(score: Score):
    output = score("good", "--masks", "masks")[1]
    # A third of the rows is in focus, rounded down: 6 of 20, 8 of 25, 3 of 9.
    in_focus = (6 / 20 + 8 / 25 + 3 / 9) / 3
    assert figures(output, "all_blurred")[0] == round(in_focus, 3)
    assert figures(output, "all_in_focus")[0] == round(1 - in_focus, 3)


def test_polarities_are_those_that_are_said(score: Score):
    expected = figures(score("good", "--masks", "masks")[1], "good")
    Path("black").mkdir()
    for path in Path("good").iterdir():
        write_png(Path("black", path.name), 255 - read_map(path))
    assert figures(score("good=black", "--masks", "masks", "--maps-focus", "black")[1], "good") == expected
    assert figures(score("black", "--masks", "masks")[1], "black") != expected


def test_maps_keep_the_names_of_their_images_whatever_the_masks_are_called(score: Score, tmp_path: Path):
    for folder, ending in (("masks", "_gt"), ("good", "_map")):
        for number, path in enumerate(sorted(Path(folder).iterdir())):
            path.rename(path.with_name(f"img_{number}{ending}.png"))
    assert score("good", "--masks", "masks", "--output", "out")[0] == 0
    with Path("out", "images.csv").open(newline="") as file:
        assert {row["image"] for row in csv.DictReader(file)} == {"img_0", "img_1", "img_2"}
    Path("good", "img_0_map.png").rename(Path("good", "0.png"))
    status, _, errors = score("good", "--masks", "masks", "--output", "out")
    assert (status, errors) == (0, "")
    status, _, errors = score("good", "--masks", "masks", "--size", "8", "--resize-maps", "--output", "out")
    assert (status, "out holds an evaluation with other flags" in errors) == (1, True)


def test_an_output_folder_gets_tables_curves_and_pictures(score: Score, tmp_path: Path):
    status, output, _ = score("good", "bad", "--masks", "masks", "--size", "16", "--resize-maps", "--output", "out")
    assert status == 0
    assert "out" in output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"scores.md", "images.csv", "curves.png", "results.json", "best_median_worst.png", "differing.png"} <= names
    assert json.loads((tmp_path / "out" / "results.json").read_text())["size"] == 16


def test_black_masks_are_noted(score: Score, tmp_path: Path):
    assert "note:" not in score("good", "--masks", "masks")[1]
    write_png(tmp_path / "masks" / "a.png", np.zeros((20, 30), np.uint8))
    assert "note: 1 of 3 masks have no pixel that counts as in focus" in score("good", "--masks", "masks")[1]


def test_a_lone_folder_is_shown_beside_the_constant_maps(score: Score, tmp_path: Path):
    assert score("good", "--masks", "masks", "--output", "out")[0] == 0
    assert (tmp_path / "out" / "differing.png").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["good", "--masks", "absent"], "absent"),
        (["absent", "--masks", "masks"], "it is not a folder"),
        (["good", "good", "--masks", "masks"], "with a name that no other method has"),
        (["all_blurred=good", "--masks", "masks"], "with a name that no other method has"),
        (["good", "--masks", "masks", "--size", "-1"], "--size is 0 or more, not -1"),
        (["good", "--masks", "masks", "--mask-threshold", "2"], "--mask-threshold is from 0 to 1, not 2.0"),
    ],
)
def test_what_cannot_be_scored_is_said(score: Score, arguments: list[str], words: str):
    status, _, errors = score(*arguments)
    assert status == 1
    assert words in errors


def test_folders_of_maps_are_looked_for_before_masks_are_read(score: Score, tmp_path: Path):
    (tmp_path / "masks" / "a.png").write_bytes(b"damaged")
    status, _, errors = score("good", "absent", "--masks", "masks")
    assert (status, "no maps in absent" in errors, "a.png" in errors) == (1, True, False)


def test_test_images_are_scored_only_for_the_last_figure_and_logged(score: Score, tmp_path: Path):
    for folder, name in (("masks", "a.png"), ("good", "a_focus.png")):
        path = tmp_path / folder / name
        path.rename(path.with_name(f"{shi.TEST[0]}.png"))
    status, _, errors = score("good", "--masks", "masks")
    assert status == 1
    assert "add --final" in errors
    assert not (tmp_path / "results").exists()
    assert score("good", "--masks", "masks", "--final")[0] == 0
    with (tmp_path / "results" / "test_log.csv").open(newline="") as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["good"]
