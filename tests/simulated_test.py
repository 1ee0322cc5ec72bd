import numpy as np
import pytest
from scipy import ndimage

from btbnet_jax.sources import simulated
from btbnet_jax.sources.simulated import blurred_version, blurred_versions

IMAGE = np.random.default_rng(0).integers(0, 256, (21, 16, 3), np.uint8)


def convolved(image: np.ndarray) -> np.ndarray:
    """One pass as the definition has it: the sampled Gaussian on 7 × 7 points, normalised, on a mirrored image."""
    y, x = np.mgrid[-3:4, -3:4]
    kernel = np.exp(-(x**2 + y**2) / (2 * 2.0**2))
    kernel /= kernel.sum()
    channels = [ndimage.convolve(image[..., c], kernel, mode="mirror") for c in range(3)]
    return np.stack(channels, axis=-1)


@pytest.mark.parametrize("level", range(5))
def test_a_level_is_that_many_passes_of_the_7_by_7_gaussian(level: int):
    expected = IMAGE.astype(np.float64)
    for _ in range(level + 1):
        expected = convolved(expected)
    image, _ = blurred_version(IMAGE, level)
    np.testing.assert_allclose(image[:10], expected[:10], atol=0.5001)  # one rounding


@pytest.mark.parametrize(
    ("version", "blurred"),
    [(0, np.s_[:10, :]), (5, np.s_[10:, :]), (10, np.s_[:, :8]), (15, np.s_[:, 8:])],
)
def test_the_mask_is_white_exactly_where_the_image_is_untouched(version: int, blurred: tuple[slice, slice]):
    for level in range(5):
        image, mask = blurred_version(IMAGE, version + level)
        expected = np.full((21, 16), 255, np.uint8)
        expected[blurred] = 0
        np.testing.assert_array_equal(mask, expected)
        np.testing.assert_array_equal(image[mask == 255], IMAGE[mask == 255])
        assert (image[mask == 0] != IMAGE[mask == 0]).mean() > 0.9


def test_all_versions_together_equal_each_by_itself_bit_for_bit():
    versions = list(blurred_versions(IMAGE))
    assert sorted(version for version, _, _ in versions) == list(range(20))
    for version, image, mask in versions:
        alone, its_mask = blurred_version(IMAGE, version)
        np.testing.assert_array_equal(image, alone)
        np.testing.assert_array_equal(mask, its_mask)


@pytest.mark.parametrize("level", [0, 255])
def test_blur_keeps_a_constant_image(level: int):
    constant = np.full((9, 9, 3), level, np.uint8)
    for version in range(20):
        np.testing.assert_array_equal(blurred_version(constant, version)[0], constant)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (3, 5)])
def test_images_smaller_than_the_blur_are_blurred_too(size: tuple[int, int]):
    image = np.full((*size, 3), 9, np.uint8)
    for version, blurred, mask in blurred_versions(image):
        assert (blurred.shape, mask.shape) == (image.shape, size), version


def test_versions_beyond_the_20_are_refused():
    for version in (-1, 20):
        with pytest.raises(ValueError, match="0 to 19"):
            blurred_version(IMAGE, version)


def test_names_are_unique_and_lead_back_to_the_source():
    names = [simulated.version_name("100007_left", version) for version in range(20)]
    assert len(set(names)) == 20
    assert simulated.version_name("100007", 2) == "100007_upper_3"
    assert {simulated.source_name(name) for name in names} == {"100007_left"}
    assert simulated.source_name("out_of_focus0001") == "out_of_focus0001"
