import csv
import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from btbnet_jax import metrics, report, results
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
    counts = {"BTBNet": counts_of("a right", "b half"), "other": counts_of("a wrong", "b wrong")}
    details = {"data": "pairs/small", "size": 16, "config": None}
    return folder, results.write_results(folder, counts, subject="BTBNet", title="a title", details=details)


def test_the_scores_of_all_methods_are_returned_and_written(written: tuple[Path, list[dict[str, Any]]]):
    folder, rows = written
    assert [row["method"] for row in rows] == ["BTBNet", "other"]
    # An F of 1, and one with a precision and a recall of 1/2, which is 1/2.
    assert [(row["mae"], row["adaptive"]) for row in rows] == [(0.25, pytest.approx(0.75)), (1.0, 0.0)]
    assert {"max_of_mean", "blur_at_half", "iou_blur_at_half_pooled"} < rows[0].keys()
    lines = (folder / "scores.md").read_text().splitlines()
    assert lines[0].startswith("| method | mae | adaptive |")
    # Both images can be drawn twice.
    assert lines[2].startswith("| BTBNet | 0.250 [0.000, 0.500] | 0.750 [0.500, 1.000] |")
    assert lines[3].startswith("| other | 1.000 [1.000, 1.000] | 0.000 [0.000, 0.000] |")


def test_the_differences_are_those_of_the_subject_from_the_others(written: tuple[Path, list[dict[str, Any]]]):
    lines = (written[0] / "differences.md").read_text().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("| BTBNet minus | mae | adaptive |")
    assert lines[2].startswith("| other | -0.750 [-1.000, -0.500] | +0.750 [+0.500, +1.000] |")


def test_the_json_holds_what_is_needed_to_repeat_it(written: tuple[Path, list[dict[str, Any]]]):
    folder, rows = written
    values = json.loads((folder / "results.json").read_text())
    assert values["scores"] == rows
    assert (values["data"], values["size"], values["config"], values["num_images"]) == ("pairs/small", 16, None, 2)
    assert {"btbnet_jax", "jax", "device"} < values["versions"].keys()


def test_every_image_has_a_line_for_each_method(written: tuple[Path, list[dict[str, Any]]]):
    with (written[0] / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["image"], float(row["mae"]), float(row["adaptive"])) for row in rows] == [
        ("BTBNet", "a", 0.0, 1.0),
        ("BTBNet", "b", 0.5, pytest.approx(0.5)),
        ("other", "a", 1.0, 0.0),
        ("other", "b", 1.0, 0.0),
    ]
    assert {metric.__name__ for metric in metrics.PROTOCOLS} < rows[0].keys()


def test_what_makes_images_hard_is_written_with_the_figures_of_thirds(tmp_path: Path):
    counts = {"BTBNet": counts_of("a right", "b half", "c wrong")}
    measures = Difficulty(np.array([0.1, 0.2, 0.3]), np.array([3.0, 2.0, 1.0]), np.zeros(3))
    results.write_results(tmp_path, counts, subject="BTBNet", title="", details={}, measures=measures)
    lines = (tmp_path / "breakdown.md").read_text().splitlines()
    assert lines[0].startswith("| measure | third | values | method | mae | adaptive |")
    assert lines[2].startswith("| focus_share | low | 0.100 to 0.100 | BTBNet | 0.000 | 1.000 |")
    assert lines[5].startswith("| focus_gradient | low | 1.000 to 1.000 | BTBNet | 1.000 | 0.000 |")
    assert "focus_share,focus_gradient,blur_gradient" in (tmp_path / "images.csv").read_text().splitlines()[0]
    assert not (tmp_path / "differences.md").exists()


def test_the_curves_are_written_as_figures_and_as_pictures(written: tuple[Path, list[dict[str, Any]]]):
    folder, _ = written
    with (folder / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["BTBNet"] * 256 + ["other"] * 256
    assert (float(rows[255]["precision"]), float(rows[255]["recall"])) == (0.75, 0.75)
    assert image_size(folder / "curves.png")[1] > 500
    assert "a title" in (folder / "curves.svg").read_text()
    assert sorted(path.name for path in folder.iterdir()) == [
        *("curves.csv", "curves.png", "curves.svg", "differences.md", "images.csv", "results.json", "scores.md")
    ]


def titles_of_panel(examples: Examples, kinds: list[str], each: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The titles of the rows, after the rows were compared with the images that they name."""
    shown: dict[str, Any] = {}
    monkeypatch.setattr(report, "panel", lambda path, rows, **titles: shown.update(path=path, rows=rows, **titles))
    names = [examples.name(index) for index in range(len(kinds))]
    counts = merge(LevelCounts.from_maps(name, MAPS[kind], MASK) for name, kind in zip(names, kinds, strict=True))
    methods = {"ones": baseline_method(all_in_focus)}
    path = Path("panel.png")
    results.write_panel(path, counts, methods, examples.only(range(len(kinds))), size=16, each=each)
    assert (shown["path"], shown["column_titles"]) == (path, ["image", "mask", "ones"])
    titles = [title.split("\n") for title in shown["row_titles"]]
    assert {title[2] for title in titles} == {"adaptive F"}
    for (_, name, *_), row in zip(titles, shown["rows"], strict=True):
        expected = examples.only([names.index(name)])[0][1]
        assert abs(row[1].mean() - expected.mean()) < 12  # resized
    return [f"{rank}: {kinds[names.index(name)]} {figure}" for rank, name, _, figure in titles]


def test_the_panel_shows_the_best_the_median_and_the_worst(small_data: Path, monkeypatch: pytest.MonkeyPatch):
    examples = Examples(small_data, "pairs/small", "train")
    kinds = ["wrong", "half", "right", "nearly", "half"]
    # Precision 1 and recall 1/2: F = 1.3 · 0.5 / (0.3 + 0.5)
    expected = ["best: right 1.000", "median: half 0.500", "worst: wrong 0.000"]
    assert titles_of_panel(examples, kinds, 1, monkeypatch) == expected
    assert titles_of_panel(examples, kinds[:4], 2, monkeypatch) == [
        *("best: right 1.000", "best: nearly 0.812", "median: half 0.500", "worst: wrong 0.000")
    ]


def test_the_panel_of_a_single_image_shows_it_once(small_data: Path, monkeypatch: pytest.MonkeyPatch):
    examples = Examples(small_data, "pairs/small", "train")
    assert titles_of_panel(examples, ["half"], 3, monkeypatch) == ["best: half 0.500"]


def test_the_panel_of_differences_shows_the_images_with_the_widest_spread_of_f(
    small_data: Path, monkeypatch: pytest.MonkeyPatch
):
    shown: dict[str, Any] = {}
    monkeypatch.setattr(report, "panel", lambda path, rows, **titles: shown.update(path=path, rows=rows, **titles))
    examples = Examples(small_data, "pairs/small", "train").only(range(3))
    names = [examples.name(index) for index in range(3)]
    kinds = {"ones": ("right", "right", "half"), "zeros": ("nearly", "wrong", "half")}
    counts = {
        label: merge(LevelCounts.from_maps(name, MAPS[kind], MASK) for name, kind in zip(names, of, strict=True))
        for label, of in kinds.items()
    }
    methods = {"ones": baseline_method(all_in_focus), "zeros": baseline_method(all_blurred)}
    results.write_differing(Path("panel.png"), counts, methods, examples, size=16, num=2)
    assert shown["column_titles"] == ["image", "mask", "ones", "zeros"]
    assert shown["row_titles"] == [f"{names[1]}\nadaptive F\n1.000\n0.000", f"{names[0]}\nadaptive F\n1.000\n0.812"]


def test_a_panel_by_masks_alone_does_not_show_them_as_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shown: dict[str, Any] = {}
    monkeypatch.setattr(report, "panel", lambda path, rows, **titles: shown.update(path=path, rows=rows, **titles))
    write_png(tmp_path / "a.png", np.repeat(MASK, 4, axis=0))
    examples = folder_examples(tmp_path)
    results.write_panel(
        Path("panel.png"), counts_of("a half"), {"ones": baseline_method(all_in_focus)}, examples, size=0
    )
    assert shown["column_titles"] == ["mask", "ones"]
    np.testing.assert_array_equal(shown["rows"][0][0], np.repeat(MASK, 4, axis=0))
    assert (shown["rows"][0][1] == 255).all()


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
