import jax.numpy as jnp
import numpy as np
import pytest

from btbnet_jax.baselines.windows import Border, extended, stretched, window_sum

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("border", "mode"), [("zero", "constant"), ("nearest", "edge"), ("mirror", "symmetric")])
@pytest.mark.parametrize("size", [(5, 7), (1, 7), (3, 1)])
def test_images_are_extended_at_their_own_borders(border: Border, mode: str, size: tuple[int, int]):
    height, width = size
    values = np.full((2, 6, 9, 1), np.nan, np.float32)
    valid = np.zeros(values.shape, bool)
    values[:, :height, :width], valid[:, :height, :width] = RNG.random((2, height, width, 1)), True
    found = np.asarray(extended(jnp.asarray(values), jnp.asarray(valid), 4, border))
    for image, one in zip(found, values, strict=True):
        expected = np.pad(one[:height, :width, 0], 4, mode=mode)  # pyright: ignore
        np.testing.assert_array_equal(image[: height + 8, : width + 8, 0], expected)


def test_nothing_is_read_from_an_image_without_pixels():
    values, valid = jnp.full((1, 4, 4, 1), 2.0), jnp.zeros((1, 4, 4, 1), bool)
    assert extended(values, valid, 2, "zero").shape == (1, 8, 8, 1)
    assert (extended(values, valid, 2, "zero") == 0).all()


def test_windows_are_summed_with_zeros_around_them():
    values = RNG.random((1, 5, 6, 1), np.float32)
    padded = np.pad(values[0, ..., 0], 1)
    expected = [[padded[y : y + 3, x : x + 3].sum() for x in range(6)] for y in range(5)]
    np.testing.assert_allclose(window_sum(jnp.asarray(values), 3)[0, ..., 0], expected, rtol=1e-6)
    inner = window_sum(jnp.asarray(values), 3, padding="VALID")[0, ..., 0]
    np.testing.assert_allclose(inner, np.array(expected)[1:-1, 1:-1], rtol=1e-6)


def test_values_are_stretched_to_0_to_1_in_each_image_and_channel():
    values = jnp.asarray([[[[1.0, 5.0], [3.0, 5.0], [2.0, 5.0], [np.nan, 9.0]]]])
    valid = jnp.asarray([True, True, True, False]).reshape(1, 1, 4, 1)
    np.testing.assert_array_equal(stretched(values, valid)[0, 0], [[0, 0], [1, 0], [0.5, 0], [0, 0]])
