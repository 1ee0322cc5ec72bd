import numpy as np
import pytest

from btbnet_jax import metrics
from btbnet_jax.histograms import LevelCounts, merge
from btbnet_jax.intervals import difference_interval, interval, resamplings

RNG = np.random.default_rng(0)
every_protocol = pytest.mark.parametrize("protocol", metrics.PROTOCOLS, ids=lambda protocol: protocol.__name__)


def random_counts(num: int, noise: float) -> LevelCounts:
    """Of maps that are their masks with noise."""
    parts = []
    for k in range(num):
        mask = np.where(RNG.random((8, 8)) < RNG.random(), np.uint8(255), np.uint8(0))
        focus_map = np.clip(mask + RNG.normal(0, noise * 255, (8, 8)), 0, 255).astype(np.uint8)
        parts.append(LevelCounts.from_maps(str(k), focus_map, mask))
    return merge(parts)


@every_protocol
def test_resampled_figures_are_those_of_the_images_that_were_drawn(protocol: metrics.Protocol):
    counts = random_counts(5, 0.5)
    images = counts.split()
    for drawn in ([0, 0, 2, 3, 3], [4, 4, 4, 4, 4]):
        weights = np.bincount(drawn, minlength=5)[None] / 5
        copies = [LevelCounts((str(k),), *list(vars(images[i]).values())[1:]) for k, i in enumerate(drawn)]
        found = protocol.of_mean(weights @ protocol.of_images(counts))
        np.testing.assert_allclose(found, [protocol(merge(copies))], rtol=1e-12)


@every_protocol
def test_the_figure_lies_in_its_interval_and_equal_images_leave_no_doubt(protocol: metrics.Protocol):
    counts = random_counts(20, 0.5)
    figure, low, high = interval(protocol, counts, resamplings(20))
    assert figure == protocol(counts)
    assert low < figure < high or low == figure == high == 1
    mask = np.repeat([[0, 255]], 4, axis=0).astype(np.uint8)
    equal = merge(LevelCounts.from_maps(str(k), mask // 2 + 40, mask) for k in range(6))
    same = interval(protocol, equal, resamplings(6))
    assert same.low == pytest.approx(same.figure) == same.high


def test_the_interval_of_a_mean_is_about_two_standard_errors_wide_on_each_side():
    counts = random_counts(200, 0.3)
    errors = metrics.mae.of_images(counts)[:, 0]
    figure, low, high = interval(metrics.mae, counts, resamplings(200))
    standard_error = errors.std(ddof=1) / np.sqrt(200)
    assert (high - figure) == pytest.approx(1.96 * standard_error, rel=0.15)
    assert (figure - low) == pytest.approx(1.96 * standard_error, rel=0.15)
    wider = interval(metrics.mae, counts, resamplings(200), level=0.99)
    assert wider.low < low < high < wider.high


def test_a_difference_is_of_the_same_images_and_none_from_itself():
    good, bad = random_counts(40, 0.3), random_counts(40, 0.9)
    weights = resamplings(40)
    figure, low, high = difference_interval(metrics.adaptive, good, bad, weights)
    assert figure == metrics.adaptive(good) - metrics.adaptive(bad)
    assert 0 < low < figure < high
    assert difference_interval(metrics.adaptive, good, good, weights) == (0, 0, 0)
    with pytest.raises(ValueError, match="the same images, in the same order"):
        difference_interval(metrics.adaptive, good, random_counts(39, 0.3), weights)


def test_samples_are_as_large_as_the_set_and_the_same_for_the_same_seed():
    weights = resamplings(7, num=50, seed=3)
    assert weights.shape == (50, 7)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_array_equal(weights, resamplings(7, num=50, seed=3))
    assert (weights != resamplings(7, num=50, seed=4)).any()
    with pytest.raises(ValueError, match="no image"):
        resamplings(0)
