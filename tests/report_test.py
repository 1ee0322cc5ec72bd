import csv
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from btbnet_jax import report
from btbnet_jax.metrics import Curve

ROWS = [{"method": "BTBNet", "mae": 0.1074, "images": 100}, {"method": "a|b", "mae": 0.25}]


def test_a_markdown_table_has_three_digits_and_numbers_on_the_right():
    assert report.markdown_table(ROWS, ["method", "mae", "images"]) == (
        "| method | mae | images |\n| --- | ---: | ---: |\n| BTBNet | 0.107 | 100 |\n| a\\|b | 0.250 |  |\n"
    )


def test_a_printed_table_keeps_long_names_whole_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]):
    names = [f"a_rather_long_name_of_a_protocol_{i}" for i in range(9)]
    report.print_table([{"method": "[bold]", **dict.fromkeys(names, 0.5)}], ["method", *names], title="Shi")
    printed = capsys.readouterr().out
    for words in ("Shi", "[bold]", "0.500", *names):
        assert words in printed


def test_a_curve_file_holds_every_digit(tmp_path: Path):
    curve = Curve(*(np.arange(4 * 256) / 3).reshape(4, 256))
    report.write_curve_csv(tmp_path / "curves.csv", {"ours": curve, "theirs": curve})
    with (tmp_path / "curves.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["ours"] * 256 + ["theirs"] * 256
    for field in Curve._fields:
        np.testing.assert_array_equal([float(row[field]) for row in rows[:256]], getattr(curve, field))


def test_json_comes_back_as_it_was(tmp_path: Path):
    values = {"adaptive": 1 / 3, "names": ["ä", None, True], "config": {"scales": ["4/5"]}}
    report.write_json(tmp_path / "scores.json", values)
    assert json.loads((tmp_path / "scores.json").read_text(encoding="utf-8")) == values


def test_a_figure_that_is_not_a_number_is_no_json(tmp_path: Path):
    with pytest.raises(ValueError, match="nan"):
        report.write_json(tmp_path / "scores.json", {"adaptive": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def half_written(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    path = tmp_path / "scores.json"
    report.write_json(path, {"mae": 0.5})
    monkeypatch.setattr(Path, "write_bytes", half_written)
    with pytest.raises(OSError, match="No space left"):
        report.write_json(path, {"mae": 0.1})
    assert list(tmp_path.iterdir()) == [path]
    assert json.loads(path.read_text(encoding="utf-8")) == {"mae": 0.5}


def test_versions_are_those_that_run():
    versions = report.versions()
    assert versions["jax"] == jax.__version__
    assert versions["numpy"] == np.__version__
    assert versions["device"] == f"{jax.device_count()} x cpu"
    assert {"btbnet_jax", "python", "jaxlib", "flax", "pillow", "platform"} <= versions.keys()
