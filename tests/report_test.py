import csv
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from btbnet_jax import images, report
from btbnet_jax.metrics import Curve

RNG = np.random.default_rng(0)
ROWS = [{"method": "BTBNet", "mae": 0.1074, "images": 100}, {"method": "a|b", "mae": 0.25}]


def falling_curve(best: float) -> Curve:
    threshold = np.arange(256) / 255
    return Curve(threshold, best * np.ones(256), 1 - threshold, best * (1 - threshold))


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


def everywhere(precision: float, *, up_to: int) -> Curve:
    """Of a constant map, whose precision and recall are the same at every threshold up to its level."""
    reached = np.arange(256) <= up_to
    return Curve(
        np.arange(256) / 255, precision * reached, 1.0 * reached, 1.3 * precision / (0.3 * precision + 1) * reached
    )


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_curves_make_the_same_file(tmp_path: Path, kind: str):
    curves = {f"method {i}": falling_curve(i / 10) for i in range(10)}
    files = [tmp_path / f"{i}.{kind}" for i in range(2)]
    for file in files:
        report.precision_recall_plot(file, curves)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_plot_names_each_method_with_its_protocol_and_figure(tmp_path: Path):
    path = tmp_path / "curves.svg"
    report.precision_recall_plot(
        path, {"ours": falling_curve(0.876), "theirs": falling_curve(0.543)}, title="Test <images>"
    )
    text = path.read_text(encoding="utf-8")
    for words in ("ours   0.876", "theirs   0.543", "max_of_mean", "Test &lt;images&gt;", "precision", "threshold"):
        assert words in text


@pytest.mark.parametrize(
    "curves",
    [
        {"all_blurred": everywhere(0.3, up_to=0), "all_in_focus": everywhere(0.3, up_to=255)},
        {"one": falling_curve(0.8), "other": falling_curve(0.8)},
    ],
)
def test_curves_that_lie_on_each_other_can_all_be_seen(tmp_path: Path, curves: dict[str, Curve]):
    report.precision_recall_plot(tmp_path / "curves.png", curves)
    shown = images.read_image(tmp_path / "curves.png")[:, :740]  # without the legend
    for colour in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0)):
        of_both = [(half == colour).all(axis=-1).sum() for half in (shown[:, :400], shown[:, 400:])]
        assert min(of_both) >= 10, of_both


def test_a_method_that_finds_nothing_can_be_drawn(tmp_path: Path):
    nothing = Curve(np.arange(256) / 255, np.zeros(256), np.zeros(256), np.zeros(256))
    path = tmp_path / "curves.png"
    report.precision_recall_plot(path, {"nothing": nothing})
    assert images.read_image(path).size


def test_a_panel_shows_each_picture_in_its_place(tmp_path: Path):
    red, green, blue = (np.full((20, 10, 3), colour, np.uint8) for colour in np.diag([255, 255, 255]))
    mask = np.full((10, 20), 20, np.uint8)  # darker than the text
    path = tmp_path / "panel.png"
    report.panel(path, [[red, green], [mask, blue]], column_titles=["a", "b"], row_titles=["first", "second\n0.9"])
    shown = images.read_image(path).astype(int)
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "mask": (20, 20, 20)}
    centres = {}
    for name, colour in colours.items():
        rows, columns = np.nonzero((shown == colour).all(axis=-1))
        # 240 pixels on the larger side, less a frame of one pixel around.
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == ((118, 238) if name == "mask" else (238, 118))
        centres[name] = (rows.mean(), columns.mean())
    assert centres["red"][0] == centres["green"][0] < centres["mask"][0] == centres["blue"][0]
    assert centres["red"][1] == centres["mask"][1] < centres["green"][1] == centres["blue"][1]


def test_a_panel_of_many_grainy_pictures_stays_below_2_megabytes(tmp_path: Path):
    path = tmp_path / "panel.png"
    rows = [[100 + noise(100, 150, 3) // 8, 100 + noise(100, 150) // 8]] * 30
    report.panel(path, rows, column_titles=["image", "map"], row_titles=["grain"] * 30)
    assert 5e5 < path.stat().st_size < 2e6


@pytest.mark.parametrize(("columns", "titles"), [(["a"], ["x"]), (["a", "b"], []), (["a", "b"], ["x", "y"])])
def test_a_panel_with_titles_that_do_not_fit_is_refused(tmp_path: Path, columns: list[str], titles: list[str]):
    with pytest.raises(ValueError, match="do not make a panel"):
        report.panel(tmp_path / "panel.png", [[noise(8, 8), noise(8, 8)]], column_titles=columns, row_titles=titles)


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
    curve = falling_curve(1 / 3)
    report.write_curve_csv(tmp_path / "curves.csv", {"ours": curve, "theirs": falling_curve(0.5)})
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
