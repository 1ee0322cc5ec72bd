import numpy as np
import pytest

from btbnet_jax import images


def test_resizing_keeps_constants_and_means_and_antialiases():
    constant = np.full((7, 5, 3), 77, np.uint8)
    np.testing.assert_array_equal(images.resize_image(constant, (3, 11)), np.full((3, 11, 3), 77))
    stripes = np.tile(np.array([0, 255], np.uint8), (16, 8))
    small = images.resize_image(stripes, (4, 4))
    assert small.shape == (4, 4)
    assert np.abs(small[:, 1:-1].astype(int) - 127).max() <= 1  # without antialiasing they are 0 or 255


def test_quantising_rounds_half_up():
    levels = images.quantise(np.array([0, 0.00195, 0.00197, 0.5, 1], np.float32))
    assert levels.tolist() == [0, 0, 1, 128, 255]  # floor(255 m + 0.5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01, 255])
def test_quantising_refuses_what_is_no_map(value: float):
    with pytest.raises(ValueError, match="from 0 to 1"):
        images.quantise(np.array([0.5, value], np.float32))


def test_quantising_says_that_values_are_not_numbers():
    with pytest.raises(ValueError, match="2 of this one are not numbers"):
        images.quantise(np.array([0.5, np.nan, np.nan], np.float32))


def test_a_map_is_resized_without_rounding_to_8_bits():
    ramp = np.tile(np.linspace(0, 0.001, 16, dtype=np.float32), (4, 1))
    larger = images.resize_map(ramp, (8, 32))
    assert larger.shape == (8, 32)
    assert len(np.unique(larger)) > 20
    np.testing.assert_allclose(images.resize_map(larger, (4, 16)).mean(), ramp.mean(), rtol=1e-5)
    assert images.resize_map(ramp, (4, 16)) is ramp
