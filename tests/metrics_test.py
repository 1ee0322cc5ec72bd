import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import fbeta_score, jaccard_score, mean_absolute_error, precision_recall_curve

from btbnet_jax import images, metrics
from btbnet_jax.histograms import LevelCounts, merge

RNG = np.random.default_rng(0)


def random_pair() -> tuple[np.ndarray, np.ndarray]:
    """A map and a grey mask that agree a little."""
    mask = RNG.integers(0, 256, (16, 16), np.uint8)
    noise = RNG.integers(0, 256, (16, 16), np.uint8)
    return mask // 2 + noise // 2, mask


def counts_of(*pairs: tuple[np.ndarray, np.ndarray]) -> LevelCounts:
    return merge(LevelCounts.from_maps(str(i), *pair) for i, pair in enumerate(pairs))


def levels(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, np.uint8)


def constant(level: int) -> np.ndarray:
    return np.full((16, 16), level, np.uint8)


def f_by_sklearn(predicted: np.ndarray, positive: np.ndarray) -> float:
    return float(fbeta_score(positive.ravel(), predicted.ravel(), beta=0.3**0.5))


# An independent calculation from HiFST's published maps of Shi's 100 test images at their native size; its MAE
# and blur_at_half agree with the published 0.223 and 0.803 (table 1 of D-DFFNet, ICME 2023).
ANCHORS = {
    "hifst": {
        "mae": 0.2228,
        "adaptive": 0.7594,
        "adaptive_pooled": 0.7758,
        "max_of_mean": 0.7865,
        "mean_of_max": 0.8186,
        "focus_at_half": 0.5681,
        "blur_at_half": 0.8030,
        "iou_blur_at_half_pooled": 0.7621,
        "iou_blur_at_half_mean": 0.7598,
    },
    "all blurred": {
        "mae": 0.295,
        "adaptive": 0.347,
        "adaptive_pooled": 0.353,
        "max_of_mean": 0.353,
        "mean_of_max": 0.347,
        "focus_at_half": 0,
        "blur_at_half": 0.752,
    },
    "all in focus": {
        "mae": 0.705,
        "adaptive": 0.347,
        "adaptive_pooled": 0.353,
        "max_of_mean": 0.353,
        "mean_of_max": 0.347,
        "focus_at_half": 0.347,
        "blur_at_half": 0,
    },
}


@pytest.fixture(scope="module")
def hifst() -> list[tuple[np.ndarray, np.ndarray]]:
    """HiFST's published maps and Shi's masks, which are published with blur = 255."""
    if "BTBNET_DATA" not in os.environ:
        pytest.skip("BTBNET_DATA does not name a folder with the published data sets")
    data = Path(os.environ["BTBNET_DATA"])
    maps = sorted((data / "hifst_maps").glob("*.png"))
    assert len(maps) == 100
    return [(images.read_mask(path), 255 - images.read_mask(data / "shi" / "gt" / path.name)) for path in maps]


@pytest.mark.parametrize("method", ANCHORS)
def test_published_maps_have_their_known_figures(method: str, hifst: list[tuple[np.ndarray, np.ndarray]]):
    if method != "hifst":
        hifst = [(np.full_like(mask, 255 * (method == "all in focus")), mask) for _, mask in hifst]
    scores = metrics.scores(counts_of(*hifst))
    assert {name: scores[name] for name in ANCHORS[method]} == pytest.approx(ANCHORS[method], abs=1e-3)


def test_figures_of_a_map_small_enough_for_paper_and_pencil():
    counts = counts_of((levels([[51, 102, 0], [0, 255, 102]]), levels([[0, 255, 0], [0, 255, 0]])))
    scores = metrics.scores(counts)
    # The mean level is 85 and the adaptive threshold 127.5: only the pixel of 255 reaches it.  P = 1, R = 1/2.
    one_of_two = 1.3 * 0.5 / (0.3 + 0.5)
    # At 102 both pixels in focus are found, and one besides.  P = 2/3, R = 1.
    two_of_three = 1.3 * (2 / 3) / (0.3 * (2 / 3) + 1)
    # The blur at one half: 4 of the 5 pixels below it are blurred.  P = 4/5, R = 1.
    four_of_five = 1.3 * 0.8 / (0.3 * 0.8 + 1)
    assert scores == pytest.approx(
        {
            "mae": (51 + 153 + 102) / 255 / 6,
            "adaptive": one_of_two,
            "adaptive_pooled": one_of_two,
            "max_of_mean": max(one_of_two, two_of_three),
            "mean_of_max": max(one_of_two, two_of_three),
            "blur_at_half": four_of_five,
            "focus_at_half": one_of_two,
            "iou_blur_at_half_pooled": 4 / 5,
            "iou_blur_at_half_mean": 4 / 5,
        }
    )


def test_the_curve_is_scikit_learn_s():
    focus_map, mask = random_pair()
    curve = metrics.curve(counts_of((focus_map, mask)))
    precision, recall, thresholds = precision_recall_curve(mask.ravel() >= 128, focus_map.ravel())
    np.testing.assert_allclose(curve.precision[thresholds], precision[:-1])
    np.testing.assert_allclose(curve.recall[thresholds], recall[:-1])


def test_the_curve_averages_the_images_precision_and_recall():
    pairs = [random_pair() for _ in range(3)]
    each = [metrics.curve(counts_of(pair)) for pair in pairs]
    together = metrics.curve(counts_of(*pairs))
    np.testing.assert_allclose(together.precision, np.mean([curve.precision for curve in each], axis=0))
    np.testing.assert_allclose(together.recall, np.mean([curve.recall for curve in each], axis=0))
    p, r = together.precision, together.recall
    np.testing.assert_allclose((0.3 * p + r) * together.f_measure, 1.3 * p * r)


def test_recall_falls_from_1_as_the_threshold_rises():
    curve = metrics.curve(counts_of(random_pair(), random_pair()))
    assert curve.recall[0] == 1
    assert (np.diff(curve.recall) <= 0).all()


def test_f_by_each_threshold_is_scikit_learn_s():
    pairs = [random_pair() for _ in range(3)]
    predicted = [focus_map >= 1.5 * focus_map.mean() for focus_map, _ in pairs]
    above_mean = [mask >= min(1.5 * mask.mean(), 255) for _, mask in pairs]
    counts = counts_of(*pairs)
    assert metrics.adaptive(counts) == pytest.approx(
        np.mean([f_by_sklearn(p, mask > 25.5) for p, (_, mask) in zip(predicted, pairs, strict=True)])
    )
    assert metrics.adaptive_pooled(counts) == pytest.approx(f_by_sklearn(np.array(predicted), np.array(above_mean)))
    assert metrics.blur_at_half(counts) == pytest.approx(np.mean([f_by_sklearn(m < 128, g < 128) for m, g in pairs]))
    assert metrics.focus_at_half(counts) == pytest.approx(np.mean([f_by_sklearn(m >= 128, g >= 128) for m, g in pairs]))


def test_the_best_f_of_each_image_is_scikit_learn_s():
    pairs = [random_pair() for _ in range(3)]
    curves = [precision_recall_curve(mask.ravel() >= 26, focus_map.ravel()) for focus_map, mask in pairs]
    best = [(1.3 * p * r / (0.3 * p + r)).max() for p, r, _ in curves]
    assert metrics.mean_of_max(counts_of(*pairs)) == pytest.approx(np.mean(best))


def test_overlap_and_error_are_scikit_learn_s():
    pairs = [random_pair() for _ in range(3)]
    maps, masks = np.array(pairs).swapaxes(0, 1).reshape(2, -1)
    counts = counts_of(*pairs)
    assert metrics.mae(counts) == pytest.approx(mean_absolute_error(maps / 255, masks / 255))
    assert metrics.iou_blur_at_half_pooled(counts) == pytest.approx(jaccard_score(masks < 128, maps < 128))
    assert metrics.iou_blur_at_half_mean(counts) == pytest.approx(
        np.mean([jaccard_score(g.ravel() < 128, m.ravel() < 128) for m, g in pairs])
    )


@pytest.mark.parametrize(
    "protocol",
    [metrics.mae, metrics.adaptive, metrics.mean_of_max, metrics.blur_at_half, metrics.iou_blur_at_half_mean],
)
def test_a_mean_is_that_of_the_images_own_figures(protocol: metrics.Protocol):
    counts = counts_of(random_pair(), random_pair(), random_pair())
    assert protocol(counts) == pytest.approx(np.mean([protocol(image) for image in counts.split()]))


def test_the_order_of_images_does_not_matter():
    pairs = [random_pair() for _ in range(4)]
    assert metrics.scores(counts_of(*pairs)) == pytest.approx(metrics.scores(counts_of(*pairs[::-1])), rel=1e-12)


def test_focus_is_scored_like_blur_of_the_other_polarity():
    counts = counts_of(random_pair(), random_pair())
    assert metrics.blur_at_half(counts.swap_polarity()) == metrics.focus_at_half(counts)


def test_a_level_exactly_at_one_and_a_half_times_the_mean_is_positive():
    focus_map = levels([[1, 2, 3]])
    assert metrics.adaptive(counts_of((focus_map, levels([[0, 0, 255]])))) == 1
    # 0.1 has no exact float32; 26 is the first level above a tenth of 255.
    assert metrics.adaptive(counts_of((focus_map, levels([[0, 0, 26]])))) == 1
    assert metrics.adaptive(counts_of((focus_map, levels([[0, 0, 25]])))) == 0


def test_the_pooled_figure_is_exact_beyond_32_bits():
    table = np.zeros((1, 256, 256), np.int32)
    table[0, 255, 255], table[0, 255, 0], table[0, 0, 0] = 2**28 + 1, 2**28 + 3, 2**30
    counts = merge(LevelCounts.from_joint(table, [str(i)]) for i in range(40))
    precision = Fraction(2**28 + 1, 2**29 + 4)
    expected = Fraction(13, 10) * precision / (Fraction(3, 10) * precision + 1)
    assert metrics.adaptive_pooled(counts) == pytest.approx(float(expected), rel=1e-15)
    assert metrics.mae(counts) == pytest.approx((2**28 + 3) / (2**30 + 2**29 + 4), rel=1e-15)


def test_an_empty_map_is_all_in_focus_for_adaptive_thresholds_and_blurred_for_others():
    _, mask = random_pair()
    empty, full = metrics.scores(counts_of((constant(0), mask))), metrics.scores(counts_of((constant(255), mask)))
    for name in ("adaptive", "adaptive_pooled", "max_of_mean", "mean_of_max"):
        assert empty[name] == full[name] > 0
    assert empty["focus_at_half"] == full["blur_at_half"] == 0
    assert empty["blur_at_half"] == pytest.approx(f_by_sklearn(np.ones(256, bool), mask < 128))


def test_a_mask_without_focus_scores_0_for_focus():
    scores = metrics.scores(counts_of((random_pair()[0], constant(0))))
    assert scores["adaptive"] == scores["focus_at_half"] == scores["max_of_mean"] == scores["mean_of_max"] == 0
    assert scores["adaptive_pooled"] == 0
    assert 0 < scores["blur_at_half"] < 1


def test_a_mask_without_blur_scores_0_for_blur():
    scores = metrics.scores(counts_of((constant(255), constant(255))))
    assert scores["blur_at_half"] == scores["iou_blur_at_half_mean"] == scores["iou_blur_at_half_pooled"] == 0
    assert scores["adaptive"] == scores["focus_at_half"] == scores["max_of_mean"] == scores["mean_of_max"] == 1


@pytest.mark.parametrize("protocol", metrics.PROTOCOLS)
def test_no_image_is_no_score(protocol: metrics.Protocol):
    with pytest.raises(ValueError, match="no image"):
        protocol(merge([]))
