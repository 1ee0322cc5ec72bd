import numpy as np

from btbnet_jax.augment import crop_start, orient


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
