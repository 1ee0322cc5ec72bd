import numpy as np
import pytest

from btbnet_jax import metrics
from btbnet_jax.data import Examples
from btbnet_jax.difficulty import Difficulty, breakdown, difficulty
from btbnet_jax.histograms import LevelCounts, merge
from tests.small_sets import build_pairs

MASK = np.zeros((12, 16), np.uint8)
MASK[:, :4] = 255


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """A ramp of 10 levels a pixel in focus, and one of 2 levels outside; and the same without any ramp in focus."""
    folder = tmp_path_factory.mktemp("data")
    columns = np.arange(16)
    steep = np.where(columns < 4, 10 * columns, 100 + 2 * columns)
    even = np.where(columns < 4, 120, 100 + 2 * columns)
    images = {
        name: np.broadcast_to(row.astype(np.uint8)[None, :, None], (12, 16, 3)).copy()
        for name, row in (("even", even), ("steep", steep))
    }
    build_pairs(folder, "ramps", {name: (image, MASK) for name, image in images.items()})
    return Examples(folder, "pairs/ramps", "train")


def test_the_measures_are_those_of_numpy(examples: Examples):
    found = difficulty(examples, size=0)
    for index in range(2):
        luma = examples[index][0].astype(np.float64)[..., 0] / 255
        padded = np.pad(luma, 1, mode="edge")
        gradient = np.hypot(padded[2:, 1:-1] - padded[:-2, 1:-1], padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
        expected = 0.25, gradient[:, :4].mean(), gradient[:, 4:].mean()
        np.testing.assert_allclose([values[index] for values in found], expected, rtol=1e-4)


def test_what_has_more_texture_in_focus_has_the_larger_gradient_there(examples: Examples):
    found = difficulty(examples, size=0)
    assert found.focus_gradient[1] > 1.4 * found.focus_gradient[0]


def test_the_share_in_focus_does_not_depend_on_the_size_and_fillers_of_a_batch_are_left_out(examples: Examples):
    resized = difficulty(examples, size=16, batch_size=3)
    assert [len(values) for values in resized] == [2, 2, 2]
    np.testing.assert_allclose(resized.focus_share, difficulty(examples, size=0).focus_share, rtol=1e-6)


def test_the_breakdown_has_the_figures_of_each_third():
    mask = np.array([[255, 0]], np.uint8)
    errors = [0, 51, 102, 153, 204, 255]
    counts = merge(LevelCounts.from_maps(str(k), np.array([[255, e]], np.uint8), mask) for k, e in enumerate(errors))
    rising = np.arange(6.0)
    rows = breakdown(Difficulty(rising, -rising, rising), {"one": counts}, [metrics.mae])
    assert [(row["measure"], row["third"]) for row in rows] == [
        (measure, third) for measure in Difficulty._fields for third in ("low", "middle", "high")
    ]
    assert [round(float(row["mae"]), 6) for row in rows[:3]] == [0.05, 0.25, 0.45]
    assert [round(float(row["mae"]), 6) for row in rows[3:6]] == [0.45, 0.25, 0.05]
    assert rows[0]["values"] == "0.000 to 1.000"


def test_two_images_have_no_thirds():
    counts = merge(LevelCounts.from_maps(str(k), MASK, MASK) for k in range(2))
    with pytest.raises(ValueError, match="three images or more, not 2"):
        breakdown(Difficulty(*(np.zeros(2),) * 3), {"one": counts}, [metrics.mae])
