import numpy as np
import pytest
from scipy import ndimage

from btbnet_jax.sources import layered
from btbnet_jax.sources.layered import INGREDIENTS, PLANS, SHARP_BELOW, Aperture, Scene, scene

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


def test_without_soft_edges_a_blurred_object_ends_from_one_pixel_to_the_next(monkeypatch: pytest.MonkeyPatch):
    """A white object before a black wall: what is neither is the edge."""
    monkeypatch.setattr(layered, "PLANS", {"far in focus": 1.0})
    wall, white = np.zeros((96, 128, 3), np.uint8), np.full((96, 128, 3), 255, np.uint8)
    grey = {}
    for without in (None, "edges"):
        images = [scene(np.random.default_rng(seed), wall, white, without=without).image for seed in range(8)]
        grey[without] = np.mean([(image > 60) & (image < 220) for image in images])
    assert grey["edges"] < 0.25 * grey[None]


def test_without_an_aperture_s_shape_the_blur_is_a_gaussian_of_the_disk_s_deviation():
    image = Aperture(np.random.default_rng(0), gaussian=True).image(10.0)
    y, x = np.mgrid[-15:16, -15:16]
    assert image.sum() == pytest.approx(1, abs=1e-6)
    assert (image * x**2).sum() == pytest.approx(5.0**2, rel=0.05)  # cut off at three deviations
    np.testing.assert_allclose(image / image.max(), np.exp(-(x**2 + y**2) / 50), rtol=1e-4)


def test_without_depth_the_blur_of_a_layer_is_one():
    radii = [
        layered._far_radii(rng, layered._plan(rng, "depth"), SIZE, constant=True)
        for rng in map(np.random.default_rng, range(40))
    ]
    assert all(np.ptp(one) == 0 for one in radii)
    assert any(
        np.ptp(layered._far_radii(np.random.default_rng(n), "near in focus", SIZE, constant=False)) for n in range(9)
    )


def test_without_a_camera_there_is_no_noise_and_hardly_any_compression():
    flat = np.full((*SIZE, 3), 100, np.uint8)
    noisy, clean = (
        [scene(np.random.default_rng(seed), flat, flat, without=without) for seed in range(8)]
        for without in (None, "camera")
    )
    assert all(np.ptp(made.image) <= 1 and made.quality == 100 for made in clean)
    assert max(np.ptp(made.image) for made in noisy) > 10


def test_without_flatness_photographs_keep_their_contrast():
    lights = [
        [layered._light(np.random.default_rng(seed), FAR, flat=flat).std() for seed in range(40)]
        for flat in (True, False)
    ]
    assert min(lights[0]) < 0.9 * min(lights[1])
    assert np.ptp(lights[1]) < 1e-6


def test_without_whole_scenes_every_mask_has_both():
    masks = [scene(np.random.default_rng(seed), FAR, NEAR, without="whole").mask for seed in range(60)]
    assert all(0 < (mask > 0).mean() < 1 for mask in masks)


def test_a_patch_has_no_texture_and_an_outline_of_a_pixel_and_nothing_else_changes():
    light = layered._light(np.random.default_rng(0), FAR, flat=False)
    patched = layered._patched(np.random.default_rng(1), light, most=3)
    changed = np.abs(patched - light).max(axis=0) > 0
    inner = np.asarray(ndimage.minimum_filter(changed, 5), np.bool_)
    before, after = (
        np.abs(np.asarray(ndimage.laplace(channel), np.float32))[inner].mean() for channel in (light[0], patched[0])
    )
    assert 0.02 < inner.mean() < 0.6
    assert after < 0.05 * before
    np.testing.assert_array_equal(patched[:, ~changed], light[:, ~changed])
    assert ((patched >= 0) & (patched <= 1)).all()
    np.testing.assert_array_equal(layered._patched(np.random.default_rng(1), light, most=0), light)


def test_patches_change_no_mask_and_only_photographs_that_have_some(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(layered, "PLANS", {"near in focus": 1.0})
    changed = []
    for seed in range(24):
        plain, patched = (scene(np.random.default_rng(seed), FAR, NEAR, patches=patches) for patches in (False, True))
        np.testing.assert_array_equal(plain.mask, patched.mask)
        assert plain.quality == patched.quality
        changed.append((plain.image != patched.image).any(axis=2).mean())
    assert 0 in changed  # one of sixteen has none in either
    assert np.median(changed) > 0.1


PLAN_OF_INGREDIENT = dict.fromkeys(INGREDIENTS, "near in focus") | {"edges": "far in focus", "whole": "all blurred"}


@pytest.mark.parametrize("ingredient", INGREDIENTS)
def test_a_scene_is_made_without_what_is_to_be_left_out(ingredient: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(layered, "PLANS", {PLAN_OF_INGREDIENT[ingredient]: 1.0})
    pairs = [
        [scene(np.random.default_rng(seed), FAR, NEAR, without=it) for it in (None, ingredient)] for seed in range(20)
    ]
    assert any((whole.image != without.image).any() for whole, without in pairs)


def test_an_ingredient_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"one of edges, aperture.* not without 'salt'"):
        scene(np.random.default_rng(0), FAR, NEAR, without="salt")


def test_the_near_photograph_may_have_another_size():
    assert scene(np.random.default_rng(0), FAR, NEAR[:20, :31]).image.shape == (*SIZE, 3)


def test_a_plane_of_focus_has_both_sides_of_the_border(monkeypatch: pytest.MonkeyPatch):
    made = scenes("plane in focus", monkeypatch)
    assert all(0 < (one.mask > 0).mean() < 1 for one in made)
    assert SHARP_BELOW == 1.0
