import numpy as np

from btbnet_jax.augment import crop_start, orient, with_grain


def test_right_angles_make_the_eight_arrangements_of_a_square():
    expected = ["12 34", "21 43", "24 13", "42 31", "43 21", "34 12", "31 42", "13 24"]
    square = np.array([[1, 2], [3, 4]], np.uint8)
    turned = [orient(square, version, of=8) for version in range(8)]
    assert [" ".join("".join(map(str, row)) for row in array.tolist()) for array in turned] == expected


def test_version_0_is_the_image_itself():
    image = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
    for of in (1, 8, 16):
        np.testing.assert_array_equal(orient(image, 0, of=of), image)


def test_the_papers_orientations_turn_by_multiples_of_45_degrees_and_mirror():
    rows, columns = np.mgrid[:40, :40] - 19.5
    spot = (255 * np.exp(-((rows + 4) ** 2 + (columns - 7) ** 2) / 8)).astype(np.uint8)  # to the right, above
    angles = []
    for version in range(16):
        turned = orient(spot, version, of=16).astype(float)
        middle = (turned.shape[0] - 1) / 2
        y, x = (np.mgrid[: turned.shape[0], : turned.shape[1]] * turned).sum(axis=(1, 2)) / turned.sum() - middle
        angles.append(np.degrees(np.arctan2(-y, x)))
    start = np.degrees(np.arctan2(4, 7))
    expected = [angle for turn in range(8) for angle in (start + 45 * turn, 180 - start - 45 * turn)]
    np.testing.assert_allclose((np.array(angles) - expected + 180) % 360 - 180, 0, atol=1)


def test_no_orientation_shows_a_filled_corner():
    for shape in ((24, 24, 3), (17, 30, 3), (17, 30), (5, 4)):
        for version in range(16):
            turned = orient(np.full(shape, 200, np.uint8), version, of=16)
            assert turned.size
            np.testing.assert_array_equal(turned, 200)


def test_every_pixel_is_the_middle_of_a_crop_as_often_as_any_other():
    rng = np.random.default_rng(0)
    starts = np.bincount([crop_start(20, 12, rng) for _ in range(20_000)], minlength=9) / 20_000
    expected = np.array([7, *[1] * 7, 6]) / 20  # 12 // 2 before the middle; the first 7 and the last 6 are moved inside
    np.testing.assert_allclose(starts, expected, atol=0.01)
    assert {crop_start(10, 12, rng) for _ in range(100)} == {0}


def test_grain_has_all_deviations_up_to_the_largest_and_changes_no_mean():
    grey = np.full((64, 64, 3), 128, np.uint8)
    noises = [with_grain(grey, 20.0, np.random.default_rng(seed)) - 128.0 for seed in range(100)]
    deviations = np.array([noise.std() for noise in noises])
    assert deviations.max() < 20.5
    assert (deviations > 15).sum() > 5  # an eighth of all
    assert (deviations < 5).sum() > 35  # a half
    assert np.abs([noise.mean() for noise in noises]).max() < 3
    strong = [noise for noise, deviation in zip(noises, deviations, strict=True) if deviation > 5]
    neighbours = [np.corrcoef(noise[:, 1:, 0].ravel(), noise[:, :-1, 0].ravel())[0, 1] for noise in strong]
    channels = [np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1] for noise in strong]
    for found, highest in ((neighbours, 0.5), (channels, 0.8)):  # from fine to coarse, and from coloured to grey
        assert min(found) < 0.2
        assert max(found) > highest


def test_grain_stays_within_the_range_and_of_none_the_image_stays_the_same():
    image = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (40, 30, 3))
    assert set(np.unique(with_grain(image, 1.0, np.random.default_rng(1)))) <= {*range(9), *range(247, 256)}
    np.testing.assert_array_equal(with_grain(image, 0.0, np.random.default_rng(1)), image)
