import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from btbnet_jax.baselines import BASELINES, CLASSICAL, Baseline, all_blurred, all_in_focus, laplacian_variance

RNG = np.random.default_rng(0)


def random_images(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.random(shape, np.float32))


def valid_everywhere(images: jax.Array) -> jax.Array:
    return jnp.ones((*images.shape[:3], 1), bool)


every_baseline = pytest.mark.parametrize("baseline", BASELINES + CLASSICAL, ids=lambda baseline: baseline.__name__)


@every_baseline
def test_maps_have_the_images_size_and_lie_in_0_to_1(baseline: Baseline):
    images = random_images(2, 12, 9, 3)
    maps = baseline(images, valid_everywhere(images))
    assert maps.shape == (2, 12, 9, 1)
    assert maps.dtype == jnp.float32
    assert 0 <= maps.min() <= maps.max() <= 1


@every_baseline
def test_padding_changes_nothing_whatever_it_holds(baseline: Baseline):
    images = random_images(2, 12, 9, 3)
    border = ((0, 0), (0, 7), (0, 5), (0, 0))
    padded = jnp.pad(images, border, constant_values=np.nan)
    maps = baseline(padded, jnp.pad(valid_everywhere(images), border))
    # HiFST's smallest coefficients are roundings, which differ by the width of an array; its entropy makes them larger.
    tolerance = 0.1 if baseline.__name__ == "hifst" else 1e-5
    np.testing.assert_allclose(maps[:, :12, :9], baseline(images, valid_everywhere(images)), atol=tolerance)
    assert (maps[:, 12:] == 0).all()
    assert (maps[:, :, 9:] == 0).all()


@every_baseline
def test_each_image_has_its_own_map(baseline: Baseline):
    images = random_images(2, 12, 9, 3) * jnp.array([1, 0.1]).reshape(2, 1, 1, 1)
    maps = baseline(images, valid_everywhere(images))
    np.testing.assert_allclose(maps[1:], baseline(images[1:], valid_everywhere(images[1:])), atol=1e-6)


def test_constant_maps_are_constant():
    images = random_images(1, 4, 4, 3)
    assert (all_blurred(images, valid_everywhere(images)) == 0).all()
    assert (all_in_focus(images, valid_everywhere(images)) == 1).all()


def test_the_variance_is_that_of_scipy_s_laplacian_in_each_window():
    images = random_images(1, 12, 9, 3)
    grey = np.asarray(images[0], np.float64) @ [0.299, 0.587, 0.114]
    laplacian = ndimage.laplace(grey, mode="nearest")
    variance = np.array(
        [
            [laplacian[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].var() for x in range(grey.shape[1])]
            for y in range(grey.shape[0])
        ]
    )
    maps = laplacian_variance(images, valid_everywhere(images), window=5)
    np.testing.assert_allclose(maps[0, ..., 0], variance / variance.max(), atol=1e-5)


@pytest.mark.parametrize("baseline", [laplacian_variance, *CLASSICAL], ids=lambda baseline: baseline.__name__)
def test_an_image_of_one_colour_is_all_blurred(baseline: Baseline):
    images = jnp.full((1, 16, 16, 3), 0.3)
    np.testing.assert_allclose(baseline(images, valid_everywhere(images)), 0, atol=1e-5)


@pytest.mark.parametrize("baseline", [laplacian_variance, *CLASSICAL], ids=lambda baseline: baseline.__name__)
def test_the_sharper_half_of_an_image_has_the_higher_values(baseline: Baseline):
    sharp = RNG.random((32, 64, 1))
    blurred = ndimage.gaussian_filter(sharp, (2, 2, 0))
    image = np.where(np.arange(64).reshape(1, 64, 1) < 32, sharp, blurred).repeat(3, axis=2)
    images = jnp.asarray(image, jnp.float32)[None]
    maps = baseline(images, valid_everywhere(images))
    assert maps[0, :, :16].mean() > 2 * maps[0, :, 48:].mean()
