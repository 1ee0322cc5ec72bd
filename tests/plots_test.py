from pathlib import Path

import numpy as np
import pytest

from btbnet_jax import images, plots
from btbnet_jax.metrics import Curve

RNG = np.random.default_rng(0)


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
        plots.precision_recall_plot(file, curves)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_plot_names_each_method_with_its_protocol_and_figure(tmp_path: Path):
    path = tmp_path / "curves.svg"
    plots.precision_recall_plot(
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
    plots.precision_recall_plot(tmp_path / "curves.png", curves)
    shown = images.read_image(tmp_path / "curves.png")[:, :740]  # without the legend
    for colour in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0)):
        of_both = [(half == colour).all(axis=-1).sum() for half in (shown[:, :400], shown[:, 400:])]
        assert min(of_both) >= 10, of_both


def test_a_method_that_finds_nothing_can_be_drawn(tmp_path: Path):
    nothing = Curve(np.arange(256) / 255, np.zeros(256), np.zeros(256), np.zeros(256))
    path = tmp_path / "curves.png"
    plots.precision_recall_plot(path, {"nothing": nothing})
    assert images.read_image(path).size


def test_a_panel_shows_each_picture_in_its_place(tmp_path: Path):
    red, green, blue = (np.full((20, 10, 3), colour, np.uint8) for colour in np.diag([255, 255, 255]))
    mask = np.full((10, 20), 20, np.uint8)  # darker than the text
    path = tmp_path / "panel.png"
    plots.panel(path, [[red, green], [mask, blue]], column_titles=["a", "b"], row_titles=["first", "second\n0.9"])
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
    plots.panel(path, rows, column_titles=["image", "map"], row_titles=["grain"] * 30)
    assert 5e5 < path.stat().st_size < 2e6


def test_a_panel_has_room_for_a_picture_of_hardly_any_width(tmp_path: Path):
    path = tmp_path / "panel.png"
    plots.panel(path, [[noise(1, 900, 3), noise(900, 1)]], column_titles=["image", "map"], row_titles=["thin"])
    assert images.read_image(path).size


@pytest.mark.parametrize(("columns", "titles"), [(["a"], ["x"]), (["a", "b"], []), (["a", "b"], ["x", "y"])])
def test_a_panel_with_titles_that_do_not_fit_is_refused(tmp_path: Path, columns: list[str], titles: list[str]):
    with pytest.raises(ValueError, match="do not make a panel"):
        plots.panel(tmp_path / "panel.png", [[noise(8, 8), noise(8, 8)]], column_titles=columns, row_titles=titles)
