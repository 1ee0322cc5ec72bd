from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btbnet_jax.network import kernel_gradient


def arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def in_float64(x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """What the definition says: for each place of the kernel the inputs there, times the gradient, over all pixels."""
    height, width = x.shape[1:3]
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [[padded[:, i : i + height, j : j + width] for j in range(3)] for i in range(3)]
    return np.array([[np.einsum("bhwc,bhwd->cd", one, gradient) for one in row] for row in shifted])


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (53, 260)])  # the last in several strips of `by_products`
@pytest.mark.parametrize("way", [kernel_gradient.by_products, kernel_gradient.by_winograd])
def test_the_gradient_is_that_of_float64(way, shape: tuple[int, int]):
    x, gradient = arrays((2, *shape, 5), (2, *shape, 3))
    found, expected = jax.jit(way)(jnp.asarray(x), jnp.asarray(gradient)), in_float64(x, gradient)
    assert found.shape == (3, 3, 5, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.sqrt(2 * shape[0] * shape[1]))


def test_the_products_of_bfloat16_are_off_by_no_more_than_their_rounding():
    x, gradient = (jnp.asarray(array, jnp.bfloat16) for array in arrays((2, 53, 260, 5), (2, 53, 260, 3)))
    found = kernel_gradient.by_products(x, gradient)
    assert found.dtype == jnp.float32
    expected = in_float64(np.asarray(x, np.float32), np.asarray(gradient, np.float32))
    off = np.sqrt(np.mean((np.asarray(found) - expected) ** 2))
    assert off < 2**-8 * np.sqrt(2 * 53 * 260)  # products have a deviation of one, each rounded to 8 bits


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gradient_by_the_bias_is_that_of_float64(dtype: str):
    gradient = jnp.asarray(arrays((2, 53, 260, 3))[0], dtype)
    found = kernel_gradient.by_bias(gradient)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, np.asarray(gradient, np.float64).sum(axis=(0, 1, 2)), atol=1e-3)


@pytest.mark.parametrize("tiles", [1, 10, 30])
def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch, tiles: int):
    monkeypatch.setattr(kernel_gradient, "tiles_of_strip", lambda inputs, outputs: tiles)
    x, gradient = arrays((2, 29, 34, 5), (2, 29, 34, 3))
    function: Any = kernel_gradient.by_winograd
    anew = jax.jit(lambda *arguments: function.__wrapped__(*arguments))  # JAX would remember a function's other strips
    assert f"length={ ({1: 8, 10: 4, 30: 2}[tiles]) }" in str(jax.make_jaxpr(anew)(x, gradient))
    found = anew(jnp.asarray(x), jnp.asarray(gradient))
    np.testing.assert_allclose(found, in_float64(x, gradient), atol=5e-4)
