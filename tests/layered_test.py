import numpy as np
import pytest
from scipy import ndimage

from btbnet_jax.sources import layered
from btbnet_jax.sources.layered import PLANS, SHARP_BELOW, Aperture, Scene, scene

SIZE = (48, 64)
FAR, NEAR = (np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8) for seed in (0, 1))


def scenes(plan: str, monkeypatch: pytest.MonkeyPatch, count: int = 8) -> list[Scene]:
    monkeypatch.setattr(layered, "PLANS", {plan: 1.0})
    return [scene(np.random.default_rng(seed), FAR, NEAR) for seed in range(count)]


def test_the_shares_of_all_plans_are_one():
    assert sum(PLANS.values()) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(8))
def test_the_image_of_an_aperture_has_sum_1_and_its_radius(seed: int):
    aperture = Aperture(np.random.default_rng(seed))
    image = aperture.image(6.0)
    assert image.sum() == pytest.approx(1, abs=1e-6)
    y, x = np.nonzero(image)
    assert np.hypot(y - 6, x - 6).max() <= 6.9  # the circle about it, and half a pixel of edge at a corner
    area = image.max() ** -1  # as all inner pixels are alike
    pentagon, disk = 2.5 * np.sin(2 * np.pi / 5) * 36, np.pi * 36.5
    assert 0.9 * pentagon < area < 1.1 * disk


def test_blurring_is_the_convolution_with_that_image_mirrored_at_the_borders():
    aperture = Aperture(np.random.default_rng(3))
    light = np.random.default_rng(4).random((2, 15, 21), np.float32)
    expected = [ndimage.convolve(channel, aperture.image(3.3), mode="reflect") for channel in light.astype(np.float64)]
    np.testing.assert_allclose(aperture.blurred(light, 3.3), expected, atol=1e-5)


def test_what_is_in_focus_is_not_touched():
    light = np.random.default_rng(0).random((3, 9, 8), np.float32)
    assert Aperture(np.random.default_rng(0)).blurred(light, 0.0) is light


def test_a_blur_of_its_own_at_each_pixel_lies_between_those_of_constant_radius():
    aperture = Aperture(np.random.default_rng(1))
    light = np.random.default_rng(2).random((1, 30, 40), np.float32)
    radii = np.tile(np.linspace(0, 6, 40, dtype=np.float32), (30, 1))
    found = layered._blurred_by(aperture, light, radii)
    np.testing.assert_allclose(found[..., 0], light[..., 0], atol=1e-6)
    level = 0.5 * layered._GROWTH**5  # a radius that is computed: there the result is that of a constant blur
    radii[:, 20:] = level
    found = layered._blurred_by(aperture, light, radii)
    np.testing.assert_allclose(found[..., 20:], aperture.blurred(light, level)[..., 20:], atol=1e-5)
    assert found.min() >= light.min() - 1e-6
    assert found.max() <= light.max() + 1e-6


@pytest.mark.parametrize(("plan", "level"), [("all in focus", 255), ("all blurred", 0)])
def test_scenes_that_are_all_sharp_or_all_blurred_have_such_masks(
    plan: str, level: int, monkeypatch: pytest.MonkeyPatch
):
    assert all((made.mask == level).all() for made in scenes(plan, monkeypatch))


@pytest.mark.parametrize("plan", ["near in focus", "far in focus", "plane in focus"])
def test_what_the_mask_calls_blurred_has_lost_its_detail(plan: str, monkeypatch: pytest.MonkeyPatch):
    sharp, blurred = [], []
    for made in scenes(plan, monkeypatch, 16):
        detail = np.abs(ndimage.laplace(made.image.astype(np.float32).mean(axis=2)))
        inner = ndimage.minimum_filter(made.mask, 5) > 0
        outer = ndimage.maximum_filter(made.mask, 5) == 0
        sharp += [detail[inner].mean()] if inner.any() else []
        blurred += [detail[outer].mean()] if outer.any() else []
    assert min(len(sharp), len(blurred)) >= 8
    assert np.median(sharp) > 3 * np.median(blurred)


def test_a_scene_is_made_of_the_size_and_type_of_a_photograph_and_only_by_its_numbers():
    one, other = (scene(np.random.default_rng(7), FAR, NEAR) for _ in range(2))
    assert one.image.shape == (*SIZE, 3)
    assert one.image.dtype == one.mask.dtype == np.uint8
    assert set(np.unique(one.mask)) <= {0, 255}
    assert 60 <= one.quality < 96
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.mask, other.mask)


def test_the_near_photograph_may_have_another_size():
    assert scene(np.random.default_rng(0), FAR, NEAR[:20, :31]).image.shape == (*SIZE, 3)


def test_a_plane_of_focus_has_both_sides_of_the_border(monkeypatch: pytest.MonkeyPatch):
    made = scenes("plane in focus", monkeypatch)
    assert all(0 < (one.mask > 0).mean() < 1 for one in made)
    assert SHARP_BELOW == 1.0
