import functools
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from btbnet_jax.resize import MAX_SIDE, resize, resize_weights, scaled_size, valid_pixels

RNG = np.random.default_rng(0)


resized = jax.jit(resize, static_argnames="shape")


def random_images(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.uniform(size=shape), jnp.float32)


def matrix(n_in: Any, n_out: Any, rows: range, columns: range) -> Any:
    weights = jax.jit(functools.partial(resize_weights, n_in=n_in, n_out=n_out))
    return weights(jnp.arange(rows.start, rows.stop), jnp.arange(columns.start, columns.stop))


def resized_line(line: np.ndarray, n_out: int) -> np.ndarray:
    """Bilinear resizing with anti-aliasing in float64: a triangle around each position of the output."""
    ratio = len(line) / n_out
    radius = max(1.0, ratio)
    values = []
    for i in range(n_out):
        centre = (i + 0.5) * ratio - 0.5
        taps = np.arange(max(0, int(np.floor(centre - radius))), min(len(line), int(np.ceil(centre + radius)) + 1))
        weights = np.clip(1 - np.abs(taps - centre) / radius, 0, None)
        values.append(weights @ line[taps] / weights.sum())
    return np.array(values)


@pytest.mark.parametrize("scale", ["1", "4/5", "3/5", "2/5", "1/3", "3/2", "1/16"])
def test_scaled_size_rounds_the_exact_product_half_up(scale: str):
    exact = Fraction(scale)
    expected = [max(1, int(n * exact + Fraction(1, 2))) for n in range(1, 400)]
    assert [scaled_size(n, exact) for n in range(1, 400)] == expected
    np.testing.assert_array_equal(scaled_size(jnp.arange(1, 400), exact), expected)
    np.testing.assert_array_equal(scaled_size(np.arange(1, 400), exact), expected)


@pytest.mark.parametrize("scale", ["4/5", "1/3", "3/2", "1/16"])
def test_scaled_size_of_a_symbolic_dimension_is_one(scale: str):
    (n,) = export.symbolic_shape("n")
    ones = export.export(jax.jit(lambda x: jnp.ones(scaled_size(x.shape[0], Fraction(scale)))))
    exported = ones(jax.ShapeDtypeStruct((n,), jnp.float32))
    lengths = [exported.call(jnp.zeros(length)).shape[0] for length in (1, 2, 7)]
    assert lengths == [scaled_size(length, Fraction(scale)) for length in (1, 2, 7)]


@pytest.mark.parametrize(
    ("shape", "new_shape"),
    [((5, 7), (6, 4)), ((1, 1), (3, 2)), ((8, 3), (1, 1)), ((3, 20), (11, 5)), ((13, 9), (13, 23))],
)
def test_small_images_are_resized_as_by_jax(shape: tuple[int, int], new_shape: tuple[int, int]):
    images = random_images(2, *shape, 3)
    expected = jax.image.resize(images, (2, *new_shape, 3), "bilinear", antialias=True)
    np.testing.assert_allclose(resized(images, new_shape), expected, atol=1e-6)


@pytest.mark.parametrize("n", [427, 1333, 3999])
@pytest.mark.parametrize("scale", ["3/5", "5/4"])
def test_large_images_are_resized_as_in_float64(n: int, scale: str):
    line = RNG.uniform(size=n).astype(np.float32)
    n_out = scaled_size(n, Fraction(scale))
    expected = resized_line(line.astype(np.float64), n_out)
    result = resized(jnp.asarray(line).reshape(1, 1, n, 1), (1, n_out))
    np.testing.assert_allclose(result.ravel(), expected, atol=1e-6)


def test_a_map_of_one_value_keeps_it():
    maps = jnp.full((1, 9, 14, 1), 0.7)
    np.testing.assert_allclose(resized(maps, (31, 5)), np.full((1, 31, 5, 1), 0.7), rtol=1e-6)


@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (1, 9), (9, 1), (320, 192), (192, 320), (MAX_SIDE, 1)])
def test_weights_of_every_row_sum_to_one(n_in: int, n_out: int):
    weights = matrix(n_in, n_out, range(n_out), range(n_in))
    np.testing.assert_allclose(np.asarray(weights, np.float64).sum(axis=1), np.ones(n_out), rtol=1e-6)
    assert float(weights.min()) >= 0


def test_positions_are_exact_up_to_the_longest_side():
    # Halving: rows draw with 1, 3, 3, 1 eighths from the 4 columns around them.
    row = MAX_SIDE // 2 - 2
    weights = matrix(MAX_SIDE - 1, (MAX_SIDE - 1) // 2, range(row, row + 1), range(2 * row - 1, 2 * row + 3))
    np.testing.assert_array_equal(weights, [[0.125, 0.375, 0.375, 0.125]])


@pytest.mark.parametrize(("n_in", "n_out"), [(40, 24), (24, 40)])
def test_a_tile_uses_a_slice_of_the_whole_matrix(n_in: int, n_out: int):
    whole = matrix(n_in, n_out, range(n_out), range(n_in))
    rows = range(8, 13)
    columns = range(rows.start * n_in // n_out - 3, rows.stop * n_in // n_out + 3)
    tile = matrix(n_in, n_out, rows, columns)
    np.testing.assert_array_equal(tile, whole[rows.start : rows.stop, columns.start : columns.stop])


def test_positions_outside_of_the_image_weigh_nothing():
    framed = matrix(6, 4, range(-2, 7), range(-3, 10))
    expected = np.zeros((9, 13), np.float32)
    expected[2:6, 3:9] = matrix(6, 4, range(4), range(6))
    np.testing.assert_array_equal(framed, expected)


def test_sizes_known_only_when_run_give_the_same_weights():
    traced = jax.jit(lambda n_in, n_out: matrix(n_in, n_out, range(24), range(40)))
    np.testing.assert_array_equal(traced(37, 23)[:23, :37], matrix(37, 23, range(23), range(37)))


@pytest.mark.parametrize("wrong", [0, -1, MAX_SIDE + 1])
def test_sides_that_cannot_be_resized_are_refused(wrong: int):
    for n_in, n_out in ((wrong, 4), (4, wrong)):
        with pytest.raises(ValueError, match=f"resizing handles 1 to 32767 pixels a side, not {wrong}"):
            matrix(n_in, n_out, range(1), range(1))


def test_an_empty_image_is_refused():
    with pytest.raises(ValueError, match="not 0"):
        resize(jnp.zeros((1, 0, 5, 3)), (2, 5))


def test_images_in_larger_arrays_are_resized_as_by_themselves():
    sizes, new_sizes = [(9, 12), (1, 5), (4, 1)], [(5, 16), (3, 2), (1, 1)]
    arrays = np.full((3, 9, 12, 2), np.float32(100))
    images = [random_images(1, *size, 2) for size in sizes]
    for array, image in zip(arrays, images, strict=True):
        array[: image.shape[1], : image.shape[2]] = image[0]
    size, new_size = jnp.asarray(sizes), jnp.asarray(new_sizes)
    results = resized(jnp.asarray(arrays), (6, 17), size=size, new_size=new_size)
    for result, image, (height, width) in zip(results, images, new_sizes, strict=True):
        np.testing.assert_allclose(result[:height, :width], resized(image, (height, width))[0], atol=1e-6)
    np.testing.assert_array_equal(jnp.where(valid_pixels((6, 17), new_size), 0, results), np.zeros((3, 6, 17, 2)))


def test_a_place_without_an_image_becomes_zeros():
    result = resized(jnp.ones((1, 4, 4, 1)), (2, 2), size=jnp.zeros((1, 2), int), new_size=jnp.ones((1, 2), int))
    np.testing.assert_array_equal(result, np.zeros((1, 2, 2, 1)))


def test_resizing_computes_in_float32():
    assert resized(jnp.ones((1, 4, 4, 1), jnp.bfloat16), (2, 2)).dtype == jnp.float32


def test_exported_resizing_takes_images_of_any_size():
    h, w = export.symbolic_shape("h, w")

    def half(images: jax.Array) -> jax.Array:
        return resize(images, (scaled_size(images.shape[1], Fraction(1, 2)), images.shape[2]))

    exported = export.export(jax.jit(half))(jax.ShapeDtypeStruct((1, h, w, 3), jnp.float32))
    for shape in ((1, 1), (7, 4)):
        images = random_images(1, *shape, 3)
        np.testing.assert_allclose(exported.call(images), jax.jit(half)(images), atol=1e-6)


def test_valid_pixels_are_those_of_the_images_at_the_top_left():
    expected = np.zeros((2, 3, 4, 1), bool)
    expected[0, :2, :3] = True
    np.testing.assert_array_equal(valid_pixels((3, 4), jnp.asarray([[2, 3], [0, 0]])), expected)
