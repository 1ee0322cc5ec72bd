"""`btbnet detect`, called again: what is done, what is kept, and the report that knows it."""

import csv
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from btbnet_jax.detect import Detector
from btbnet_jax.images import quantise, read_mask, write_png
from btbnet_jax.weights import load_weights, save_weights
from tests.detect_results import results, rows
from tests.raw_sets import noise


def test_a_second_run_does_only_what_is_missing(detect, tmp_path: Path):
    assert detect("a.png", "album")[0] == 0
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "focus").rglob("*_focus.png")}
    (tmp_path / "focus" / "b_focus.png").unlink()
    status, _, errors = detect("a.png", "album")
    assert (status, "3 of 3 pictures done (2 before), in " in errors) == (0, True), errors
    changed = [path.name for path, time in first.items() if path.stat().st_mtime_ns != time]
    assert changed == ["b_focus.png"]


def test_results_are_not_taken_for_photographs_the_next_time(detect, tmp_path: Path):
    for _ in range(2):
        status, _, errors = detect(".", "--output", "album/results")
        assert (status, "3 of 3 pictures done" in errors) == (0, True), errors
    assert results(tmp_path / "album" / "results") == [
        "a_focus.png",
        "album/b_focus.png",
        "album/deep/c_focus.png",
        "report.csv",
    ]


def test_what_is_written_is_in_the_report_before_the_next_is_computed(
    detect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    compute, reported = Detector.detect, []

    def watched(*arguments: Any, **options: Any) -> Any:
        for _ in range(200):
            reported.append(len(rows(tmp_path / "focus")))
            if reported[-1] == len(seen):
                break
            time.sleep(0.05)
        seen.append(1)
        return compute(*arguments, **options)

    seen: list[int] = []
    monkeypatch.setattr(Detector, "detect", watched)
    assert detect("album", "--batch", "1")[0] == 0
    assert (reported[-1], len(seen)) == (1, 2)


def test_nothing_is_overwritten_unasked(detect, tmp_path: Path):
    (tmp_path / "focus").mkdir()
    (tmp_path / "focus" / "a_focus.png").write_text("mine")
    status, _, errors = detect("a.png", "album/b.png")
    assert (status, "focus/a_focus.png is there already" in errors) == (1, True), errors
    assert (tmp_path / "focus" / "a_focus.png").read_text() == "mine"
    assert (tmp_path / "focus" / "b_focus.png").exists()
    assert detect("a.png", "--overwrite")[0] == 0
    assert read_mask(tmp_path / "focus" / "a_focus.png").shape == (20, 24)


def test_a_result_of_other_settings_is_not_taken_for_done(detect):
    assert detect("a.png", "--kind", "mask")[0] == 0
    status, _, errors = detect("a.png", "--kind", "mask", "--threshold", "0.9")
    assert (status, "is there already, of other settings or of another picture" in errors) == (1, True), errors


def test_the_result_of_another_picture_is_not_taken_for_done(
    detect, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        write_png(tmp_path / folder / "photo.png", noise((20, 24)))
    where = ("--output", str(tmp_path / "maps"))
    monkeypatch.chdir(tmp_path / "one")
    assert detect("photo.png", *where)[0] == 0
    monkeypatch.chdir(tmp_path / "other")
    status, _, errors = detect("photo.png", *where)
    assert (status, "photo_focus.png is there already, of other settings or" in errors) == (1, True), errors
    assert detect("photo.png", *where, "--overwrite")[0] == 0
    monkeypatch.chdir(tmp_path / "one")
    assert detect("photo.png", *where)[0] == 1
    expected = quantise(Detector.load(str(small_weights))(tmp_path / "other" / "photo.png").focus_map)
    np.testing.assert_array_equal(read_mask(tmp_path / "maps" / "photo_focus.png"), expected)


def test_exact_maps_are_a_setting_of_their_own(detect, small_weights: Path, tmp_path: Path):
    weights = load_weights(small_weights)
    config = dataclasses.replace(weights.config, precision="default")  # with "highest" all are exact
    save_weights(tmp_path / "default.safetensors", weights._replace(config=config))
    given = ("a.png", "--weights", "default.safetensors")
    assert detect(*given)[0] == 0
    assert "is there already, of other settings" in detect(*given, "--exact")[2]
    assert "is there already, of other settings" in detect(*given, "--half")[2]
    assert detect(*given, "--exact", "--overwrite")[0] == 0
    assert results(tmp_path / "focus") == ["a_focus.png", "report.csv"]


def test_what_was_done_before_and_what_was_refused_are_not_counted_together(detect, tmp_path: Path):
    status, _, errors = detect("absent.jpg", "a.png")
    assert (status, "1 of 1 picture done: " in errors) == (1, True), errors
    status, _, errors = detect("a.png", "--invert")
    assert (status, "0 of 1 picture done; " in errors) == (1, True), errors
    (tmp_path / "empty").mkdir()
    status, _, errors = detect("empty", "--output", "other")
    assert (status, errors.startswith("btbnet: empty: no pictures in it")) == (1, True), errors
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_a_report_is_written_where_it_is_asked_for(detect, tmp_path: Path, suffix: str):
    assert detect("album", "--report", f"found.{suffix}")[0] == 0
    if suffix == "csv":
        with (tmp_path / "found.csv").open(newline="") as file:
            files = [row["file"] for row in csv.DictReader(file)]
    else:
        files = [row["file"] for row in json.loads((tmp_path / "found.json").read_text())["pictures"]]
    assert files == ["album/b.png", "album/deep/c.png"]
    status, _, errors = detect("album", "--report", f"found.{suffix}")
    assert (status, f"found.{suffix} is there already" in errors) == (1, True), errors
    assert detect("album", "--report", f"found.{suffix}", "--overwrite")[0] == 0


def test_names_that_are_not_utf_8_come_out_as_they_are(detect, tmp_path: Path):
    name = b"\xff.png".decode("utf-8", "surrogateescape")
    (tmp_path / name).write_bytes((tmp_path / "a.png").read_bytes())
    assert detect(name, "--kind", "none", "--report", "found.csv")[0] == 0
    assert b"\n\xff.png,," in (tmp_path / "found.csv").read_bytes()


def test_a_report_in_json_has_numbers_and_one_that_cannot_be_written_is_refused_before_the_work(detect, tmp_path: Path):
    assert detect("a.png", "--report", "found.json")[0] == 0
    (row,) = json.loads((tmp_path / "found.json").read_text())["pictures"]
    assert (row["height"], row["width"], row["error"], type(row["focus"])) == (20, 24, None, float)
    (tmp_path / "file").touch()
    status, _, errors = detect("album", "--output", "new", "--report", "file/found.csv")
    assert (status, "cannot write into file: " in errors) == (1, True), errors
    assert not (tmp_path / "new").exists()
