import numpy as np
from raw_sets import noise

from btbnet_jax.images import overlay, side_by_side

IMAGE = noise((4, 6))


def test_what_is_in_focus_keeps_its_colours_and_what_is_blurred_is_darker_and_blue():
    focus_map = np.zeros((4, 6), np.float32)
    focus_map[:, 3:] = 1
    drawn = overlay(IMAGE, focus_map)
    np.testing.assert_array_equal(drawn[:, 3:], IMAGE[:, 3:])
    assert drawn[:, :3].mean() < IMAGE[:, :3].mean()
    grey = np.full((1, 1, 3), 128, np.uint8)
    red, green, blue = overlay(grey, np.zeros((1, 1), np.float32))[0, 0]
    assert red < green < blue < 128


def test_a_map_stands_beside_its_photograph_with_a_gap_between():
    drawn = side_by_side(IMAGE, np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6))
    assert drawn.shape == (4, 6 + 8 + 6, 3)
    np.testing.assert_array_equal(drawn[:, :6], IMAGE)
    assert (drawn[:, 6:14] == 255).all()
    assert (drawn[0, 14].tolist(), drawn[-1, -1].tolist()) == ([0] * 3, [255] * 3)
