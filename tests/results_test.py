import csv
import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from btbnet_jax import metrics, plots, results
from btbnet_jax.baselines import all_blurred, all_in_focus
from btbnet_jax.data import Examples
from btbnet_jax.difficulty import Difficulty
from btbnet_jax.evaluation import baseline_method, folder_examples
from btbnet_jax.histograms import LevelCounts, merge
from btbnet_jax.images import image_size, write_png

MASK = np.array([[255, 255, 0, 0]], np.uint8)
# Of four pixels, two in focus: all, all but one, half and none of the map is right.
MAPS = {
    "right": np.array([[255, 255, 0, 0]], np.uint8),
    "nearly": np.array([[255, 0, 0, 0]], np.uint8),
    "half": np.array([[255, 0, 255, 0]], np.uint8),
    "wrong": np.array([[0, 0, 255, 255]], np.uint8),
}


def counts_of(*kinds: str) -> LevelCounts:
    """Counts of images given by their name and what their maps are, "a right" for instance."""
    pairs = [kind.split() for kind in kinds]
    return merge(LevelCounts.from_maps(name, MAPS[kind], MASK) for name, kind in pairs)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, str | float]]]:
    folder = tmp_path_factory.mktemp("results") / "new" / "folder"
    counts = {"mine": counts_of("a right", "b half"), "other": counts_of("a wrong", "b wrong")}
    details = {"data": "pairs/small", "size": 16, "config": None}
    return folder, results.write_results(folder, counts, subject="mine", title="a title", details=details)


def test_the_scores_of_all_methods_are_returned_and_written(written: tuple[Path, list[dict[str, Any]]]):
    folder, rows = written
    assert [row["method"] for row in rows] == ["mine", "other"]
    # An F of 1, and one with a precision and a recall of 1/2, which is 1/2.
    assert [(row["mae"], row["adaptive"]) for row in rows] == [(0.25, pytest.approx(0.75)), (1.0, 0.0)]
    assert {"max_of_mean", "blur_at_half", "iou_blur_at_half_pooled"} < rows[0].keys()
    lines = (folder / "scores.md").read_text().splitlines()
    assert lines[0].startswith("| method | mae | adaptive |")
    # Both images can be drawn twice.
    assert lines[2].startswith("| mine | 0.250 [0.000, 0.500] | 0.750 [0.500, 1.000] |")
    assert lines[3].startswith("| other | 1.000 [1.000, 1.000] | 0.000 [0.000, 0.000] |")


def test_the_differences_are_those_of_the_subject_from_the_others(written: tuple[Path, list[dict[str, Any]]]):
    lines = (written[0] / "differences.md").read_text().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("| mine minus | mae | adaptive |")
    assert lines[2].startswith("| other | -0.750 [-1.000, -0.500] | +0.750 [+0.500, +1.000] |")


def test_the_json_holds_what_is_needed_to_repeat_it(written: tuple[Path, list[dict[str, Any]]]):
    folder, rows = written
    values = json.loads((folder / "results.json").read_text())
    assert values["scores"] == rows
    assert (values["data"], values["size"], values["config"], values["num_images"]) == ("pairs/small", 16, None, 2)
    assert {"btbnet_jax", "jax", "device"} < values["versions"].keys()


def test_masks_without_a_pixel_in_focus_are_noted(tmp_path: Path):
    masks = [MASK, 0 * MASK, MASK // 11]  # whose brightest levels are 255, 0 and 23
    counts = merge(LevelCounts.from_maps(f"{n}", MAPS["right"], mask) for n, mask in enumerate(masks))
    results.write_results(tmp_path, {"mine": counts}, subject="mine", title="", details={})
    (note,) = json.loads((tmp_path / "results.json").read_text())["notes"]
    assert note.startswith("2 of 3 masks have no pixel that counts as in focus")
    assert results.notes(counts_of("a wrong")) == []


def test_every_image_has_a_line_for_each_method(written: tuple[Path, list[dict[str, Any]]]):
    with (written[0] / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["image"], float(row["mae"]), float(row["adaptive"])) for row in rows] == [
        ("mine", "a", 0.0, 1.0),
        ("mine", "b", 0.5, pytest.approx(0.5)),
        ("other", "a", 1.0, 0.0),
        ("other", "b", 1.0, 0.0),
    ]
    assert {metric.__name__ for metric in metrics.PROTOCOLS} < rows[0].keys()


def test_what_makes_images_hard_is_written_with_the_figures_of_thirds(tmp_path: Path):
    counts = {"mine": counts_of("a right", "b half", "c wrong")}
    measures = Difficulty(np.array([0.1, 0.2, 0.3]), np.array([3.0, 2.0, 1.0]), np.zeros(3))
    results.write_results(tmp_path, counts, subject="mine", title="", details={}, measures=measures)
    lines = (tmp_path / "breakdown.md").read_text().splitlines()
    assert lines[0].startswith("| measure | third | values | method | mae | adaptive |")
    assert lines[2].startswith("| focus_share | low | 0.100 to 0.100 | mine | 0.000 | 1.000 |")
    assert lines[5].startswith("| focus_gradient | low | 1.000 to 1.000 | mine | 1.000 | 0.000 |")
    assert "focus_share,focus_gradient,blur_gradient" in (tmp_path / "images.csv").read_text().splitlines()[0]
    assert not (tmp_path / "differences.md").exists()


def test_the_curves_are_written_as_figures_and_as_pictures(written: tuple[Path, list[dict[str, Any]]]):
    folder, _ = written
    with (folder / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["mine"] * 256 + ["other"] * 256
    assert (float(rows[255]["precision"]), float(rows[255]["recall"])) == (0.75, 0.75)
    assert image_size(folder / "curves.png")[1] > 500
    assert "a title" in (folder / "curves.svg").read_text()
    assert sorted(path.name for path in folder.iterdir()) == [
        *("curves.csv", "curves.png", "curves.svg", "differences.md", "images.csv", "results.json", "scores.md")
    ]


# Precision 1 and recall 1/2: F = 1.3 · 0.5 / (0.3 + 0.5)
F = {"right": 1.0, "nearly": 0.8125, "half": 0.5, "wrong": 0.0}


def ranked(kinds: list[str], each: int) -> list[str]:
    chosen = results.best_median_worst("mine", np.array([F[kind] for kind in kinds]), each=each)
    return [f"{kinds[index]}: {' '.join(title.split())}" for index, title in chosen.items()]


def test_the_panel_shows_the_best_the_median_and_the_worst():
    kinds = ["wrong", "half", "right", "nearly", "half"]
    assert ranked(kinds, 1) == [
        *(
            "right: best adaptive F mine 1.000",
            "half: median adaptive F mine 0.500",
            "wrong: worst adaptive F mine 0.000",
        )
    ]
    assert [line.split()[:2] for line in ranked(kinds[:4], 2)] == [
        *(["right:", "best"], ["nearly:", "best"], ["half:", "median"], ["wrong:", "worst"])
    ]


def test_the_panel_of_a_single_image_shows_it_once():
    assert ranked(["half"], 3) == ["half: best adaptive F mine 0.500"]


def test_the_images_that_differ_are_those_with_the_widest_spread_of_f():
    kinds = {"ones": ("right", "right", "half"), "zeros": ("nearly", "wrong", "half")}
    figures = {name: np.array([F[kind] for kind in of]) for name, of in kinds.items()}
    assert results.most_differing(figures, num=2) == {
        1: "adaptive F\nones 1.000\nzeros 0.000",
        0: "adaptive F\nones 1.000\nzeros 0.812",
    }


METHODS = {"ones": baseline_method(all_in_focus), "zeros": baseline_method(all_blurred)}
Panels = dict[str, dict[str, Any]]


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> Panels:
    """What is drawn, by the name of the file."""
    shown: Panels = {}
    monkeypatch.setattr(plots, "panel", lambda path, rows, **titles: shown.update({path.name: titles | {"rows": rows}}))
    return shown


def write_panels(examples: Examples, kinds: dict[str, list[str]], subjects: list[str], shown: list[str]) -> list[str]:
    """Draws the panels of methods whose maps are of these kinds, and returns the names of the images."""
    names = [examples.name(index) for index in range(len(examples))]
    counts = {
        label: counts_of(*(f"{name} {kind}" for name, kind in zip(names, of, strict=True)))
        for label, of in kinds.items()
    }
    methods = {label: METHODS["zeros" if label == "zeros" else "ones"] for label in shown}
    results.write_panels(Path("out"), counts, methods, subjects, examples, size=16)
    return names


def test_a_lone_subject_is_shown_beside_the_others_where_it_differs_most_from_the_best(
    small_data: Path, panels: Panels
):
    examples = Examples(small_data, "pairs/small", "train").only(range(3))
    kinds = {"mine": ["nearly", "half", "right"], "zeros": ["wrong"] * 3, "best": ["nearly", "right", "nearly"]}
    names = write_panels(examples, kinds, ["mine"], list(kinds))
    assert list(panels) == ["best_median_worst.png", "differing.png"]
    for panel in panels.values():
        assert panel["column_titles"] == ["image", "mask", "mine", "zeros", "best"]
        for row, title in zip(panel["rows"], panel["row_titles"], strict=True):
            expected = examples[names.index(title.split("\n")[0])][1]
            assert abs(row[1].mean() - expected.mean()) < 12  # resized
            assert [picture.mean() for picture in row[2:]] == [255, 0, 255]
    assert panels["differing.png"]["row_titles"] == [
        f"{names[1]}\nadaptive F\nmine 0.500\nbest 1.000",
        f"{names[2]}\nadaptive F\nmine 1.000\nbest 0.812",
        f"{names[0]}\nadaptive F\nmine 0.812\nbest 0.812",
    ]


def test_several_subjects_choose_the_images_that_all_methods_are_shown_of(small_data: Path, panels: Panels):
    examples = Examples(small_data, "pairs/small", "train").only(range(2))
    kinds = {"mine": ["right", "nearly"], "theirs": ["right", "half"], "zeros": ["wrong", "half"]}
    names = write_panels(examples, kinds, ["mine", "theirs"], list(kinds))
    assert panels["differing.png"]["column_titles"] == ["image", "mask", "mine", "theirs", "zeros"]
    assert [title.split("\n")[0] for title in panels["differing.png"]["row_titles"]] == [names[1], names[0]]


def test_a_panel_by_masks_alone_does_not_show_them_as_images(tmp_path: Path, panels: Panels):
    write_png(tmp_path / "a.png", np.repeat(MASK, 4, axis=0))
    examples = folder_examples(tmp_path)
    results.write_panels(
        Path("out"), {"ones": counts_of("a half")}, {"ones": METHODS["ones"]}, ["ones"], examples, size=0
    )
    (panel,) = panels.values()  # there is nothing to differ from
    assert panel["column_titles"] == ["mask", "ones"]
    np.testing.assert_array_equal(panel["rows"][0][0], np.repeat(MASK, 4, axis=0))
    assert (panel["rows"][0][1] == 255).all()


LOOK = dict.fromkeys(results.LOG_COLUMNS[1:], 0.81234) | {"data": "shi", "split": "test", "size": 320}


def test_the_log_has_a_line_for_every_look_with_its_date(tmp_path: Path):
    path = tmp_path / "results" / "log.csv"
    before = datetime.datetime.now(datetime.UTC).date()
    for looks in ([LOOK], [LOOK | {"split": "test[:50]", "adaptive": 1.0}, LOOK]):
        results.log_test(path, looks)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == results.LOG_COLUMNS
    assert [row["split"] for row in rows] == ["test", "test[:50]", "test"]
    assert [row["adaptive"] for row in rows] == ["0.8123", "1.0000", "0.8123"]
    after = datetime.datetime.now(datetime.UTC).date()
    assert all(before <= datetime.date.fromisoformat(row["date"]) <= after for row in rows)


def test_a_log_with_other_columns_is_not_written_into(tmp_path: Path):
    path = tmp_path / "log.csv"
    path.write_text("date,split\n2026-01-01,test\n")
    for write in (results.check_test_log, lambda path: results.log_test(path, [LOOK])):
        with pytest.raises(ValueError, match=r"log\.csv has the columns \['date', 'split'\], not .*'mae'.*: move"):
            write(path)
    assert path.read_text() == "date,split\n2026-01-01,test\n"


def test_a_look_with_other_columns_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="surprise"):
        results.log_test(tmp_path / "log.csv", [LOOK | {"surprise": 1.0}])


def test_a_method_is_beaten_only_by_a_higher_adaptive_f():
    rows = [{"method": name, "adaptive": figure} for name, figure in (("a", 0.5), ("b", 0.5), ("c", 0.6), ("d", 0.4))]
    assert results.beaten(rows, ["a"]) == ["b", "c"]
    assert results.beaten(rows, ["c"]) == []
    assert results.beaten(rows, ["a", "c"]) == ["b"]  # the weaker of the two is compared
