import numpy as np
import pytest

from btbnet_jax.images import binary_mask, overlay, side_by_side
from tests.raw_sets import noise

IMAGE = noise((4, 6))


def luma(image: np.ndarray) -> np.ndarray:
    """Brightness in a grey print, as BT.601 has it."""
    return image @ np.array([0.299, 0.587, 0.114])


def test_what_is_in_focus_keeps_its_colours_and_what_is_blurred_is_darker_and_blue():
    focus_map = np.zeros((4, 6), np.float32)
    focus_map[:, 3:] = 1
    drawn = overlay(IMAGE, focus_map)
    np.testing.assert_array_equal(drawn[:, 3:], IMAGE[:, 3:])
    assert drawn[:, :3].mean() < IMAGE[:, :3].mean()
    grey = np.full((1, 1, 3), 128, np.uint8)
    red, green, blue = overlay(grey, np.zeros((1, 1), np.float32))[0, 0]
    assert red < green < blue < 128


def test_what_is_blurred_loses_more_than_half_of_its_brightness_in_a_grey_print_too():
    colours = np.stack(np.meshgrid(*[np.arange(0, 256, 51, dtype=np.uint8)] * 3), axis=-1).reshape(6, 36, 3)
    drawn = luma(overlay(colours, np.zeros((6, 36), np.float32)))
    assert (drawn < 17.5 + luma(colours) / 2).all()  # black turns to a dark blue, and all else gets darker
    assert drawn.max() < 110


def test_an_overlay_lies_between_the_photograph_and_its_tint_in_proportion_to_the_map():
    flat = np.full((1, 256, 3), (200, 100, 50), np.uint8)
    ramp = np.arange(256, dtype=np.float64)[None] / 255
    drawn = overlay(flat, ramp)[0].astype(float)
    expected = drawn[0] + ramp[0, :, None] * (drawn[255] - drawn[0])
    np.testing.assert_allclose(drawn, expected, atol=0.51)


def test_an_image_of_many_rows_is_drawn_as_each_row_alone():
    image, focus_map = noise((600, 2)), np.random.default_rng(0).random((600, 2), np.float32)
    rows = [overlay(image[row : row + 1], focus_map[row : row + 1]) for row in range(600)]
    np.testing.assert_array_equal(overlay(image, focus_map), np.concatenate(rows))


def test_a_map_stands_beside_its_photograph_with_a_gap_between():
    drawn = side_by_side(IMAGE, np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6))
    assert drawn.shape == (4, 6 + 8 + 6, 3)
    np.testing.assert_array_equal(drawn[:, :6], IMAGE)
    assert (drawn[:, 6:14] == 255).all()
    assert (drawn[0, 14].tolist(), drawn[-1, -1].tolist()) == ([0] * 3, [255] * 3)


@pytest.mark.parametrize("draw", [overlay, side_by_side])
def test_a_map_of_another_size_or_range_is_refused(draw):
    with pytest.raises(ValueError, match=r"the size of its photograph, \[4, 6\], not \[6, 4\]"):
        draw(IMAGE, np.zeros((6, 4), np.float32))
    with pytest.raises(ValueError, match="from 0 to 1"):
        draw(IMAGE, np.full((4, 6), 255, np.float32))


def test_a_mask_is_white_from_the_threshold_on():
    focus_map = np.array([[0, 0.25, 0.5, 0.75, 1]], np.float32)
    assert binary_mask(focus_map).tolist() == [[0, 0, 255, 255, 255]]
    assert binary_mask(focus_map, 0.75).tolist() == [[0, 0, 0, 255, 255]]
    assert binary_mask(focus_map, 0.0).tolist() == [[255] * 5]


@pytest.mark.parametrize("threshold", [-0.1, 1.1, 128.0, float("nan")])
def test_a_threshold_is_from_0_to_1(threshold: float):
    with pytest.raises(ValueError, match="from 0 to 1"):
        binary_mask(np.zeros((1, 1), np.float32), threshold)


def test_a_mask_of_what_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="not numbers"):
        binary_mask(np.array([[np.nan]], np.float32))
