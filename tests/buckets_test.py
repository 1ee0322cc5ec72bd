import numpy as np
import pytest

from btbnet_jax.buckets import Buckets


def sizes(seed: int, num: int = 200) -> list[tuple[int, int]]:
    rng = np.random.default_rng(seed)
    return [(int(height), int(width)) for height, width in rng.integers(1, 641, (num, 2))]


@pytest.mark.parametrize("seed", range(5))
def test_every_photograph_fits_its_shape(seed: int):
    buckets = Buckets(largest=640 * 640)
    for height, width in sizes(seed):
        shape = buckets.choose((height, width))
        assert shape[0] >= height
        assert shape[1] >= width
        assert shape in buckets.shapes


@pytest.mark.parametrize("seed", range(5))
def test_six_shapes_serve_all_photographs_up_to_the_largest(seed: int):
    buckets = Buckets(largest=640 * 640)
    buckets.choose((640, 640))
    for size in sizes(seed):
        buckets.choose(size)
    assert len(buckets.shapes) <= 6


def test_sizes_that_are_nearly_the_same_share_a_shape():
    buckets = Buckets(largest=640 * 640)
    for height in (427, 425, 426, 428, 424):
        assert buckets.choose((height, 640)) == (432, 640)


def test_a_small_photograph_does_not_go_into_a_large_array():
    buckets = Buckets(largest=640 * 640)
    buckets.choose((640, 640))
    assert buckets.choose((100, 150)) == (112, 160)


def test_the_last_shape_covers_all_that_came_before():
    buckets = Buckets(largest=640 * 640, most=2)
    buckets.choose((100, 640))
    assert buckets.choose((640, 30)) == (640, 640)
    assert buckets.choose((30, 30)) == (112, 640)


def test_photographs_of_other_shapes_make_no_array_that_is_larger_than_they_may_be_together():
    buckets = Buckets(largest=2 * 512 * 512, most=2)
    buckets.choose((2048, 256))
    assert buckets.choose((256, 2048)) == (256, 2048)
    assert buckets.choose((200, 2000)) == (256, 2048)


def test_what_nothing_covers_gets_a_shape_even_so():
    buckets = Buckets(largest=640 * 640, most=1)
    buckets.choose((16, 16))
    assert buckets.choose((20, 10)) == (32, 16)


def test_no_shape_is_counted_twice():
    buckets = Buckets(largest=640 * 640)
    for _ in range(10):
        buckets.choose((1, 1))
    assert buckets.shapes == [(16, 16)]
