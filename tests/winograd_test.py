from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btbnet_jax.network import winograd
from btbnet_jax.network.strips import strips_of
from btbnet_jax.network.winograd import (
    POINTS,
    matrices,
    transform_kernel,
    winograd_convolution,
)
from tests.reference_network import convolution, random_features, random_layer

USUAL = tuple(map(Fraction, (0, 1, -1, 2, -2)))


@pytest.mark.parametrize("points", [POINTS, USUAL])
def test_four_outputs_of_six_inputs_and_three_weights_are_their_sums(points: tuple[Fraction, ...]):
    of_outputs, of_weights, of_inputs = matrices(points)
    rng = np.random.default_rng(0)
    inputs, weights = rng.normal(size=6), rng.normal(size=3)
    found = of_outputs @ ((of_weights @ weights) * (of_inputs @ inputs))
    np.testing.assert_allclose(found, np.correlate(inputs, weights), atol=1e-13)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (4, 4), (5, 7), (50, 130)])
def test_convolution_is_that_of_float64(shape: tuple[int, int], relu: bool):
    x, params = random_features(2, *shape, 5), random_layer((5, 3))
    found = winograd_convolution(jnp.asarray(x), transform_kernel(params["kernel"]), params["bias"], relu=relu)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, [convolution(image, params, relu=relu) for image in x], atol=2e-5)


@pytest.mark.parametrize("tiles", [1, 40, 90])
def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch, tiles: int):
    monkeypatch.setattr(winograd, "tiles_of_strip", lambda inputs, outputs: tiles)
    strips, _ = strips_of(8, 18, tiles)
    x, params = random_features(2, 29, 34, 5), random_layer((5, 3))
    valid = np.zeros((2, 29, 34, 1), bool)
    valid[0, :26, :11], valid[1] = True, True
    function: Any = winograd_convolution
    arguments = jnp.asarray(x), transform_kernel(params["kernel"]), params["bias"], valid
    anew = jax.jit(lambda *arguments: function.__wrapped__(*arguments))  # JAX would remember a function's other strips
    assert strips == {1: 8, 40: 4, 90: 2}[tiles]
    assert f"length={strips}" in str(jax.make_jaxpr(anew)(*arguments))
    found = anew(*arguments)
    expected = [convolution(image, params, relu=False) for image in x]
    np.testing.assert_allclose(found, np.where(valid, expected, 0), atol=2e-5)


def test_error_at_512_channels_is_what_is_said():
    x, params = np.maximum(random_features(1, 20, 24, 512), 0), random_layer((512, 32))
    found = winograd_convolution(jnp.asarray(x), transform_kernel(params["kernel"]), params["bias"])
    error = np.abs(found[0] - convolution(x[0], params, relu=False))
    assert error.max() < 4e-5
    assert error.max() > 1e-6  # it is another sum than the direct one


def test_features_are_zero_outside_the_image():
    x, params = random_features(1, 11, 14, 4), random_layer((4, 3))
    valid = np.zeros((1, 11, 14, 1), bool)
    valid[:, :9, :6] = True
    found = winograd_convolution(
        jnp.asarray(x), transform_kernel(params["kernel"]), params["bias"], valid=jnp.asarray(valid)
    )
    np.testing.assert_array_equal(jnp.any(found != 0, axis=-1, keepdims=True), valid)


def test_points_make_a_smaller_error_than_the_usual_ones():
    """Rounding is amplified by no more than the product of the matrices' row sums; that of our points is smaller."""
    bounds = [np.prod([np.abs(matrix).sum(1).max() for matrix in matrices(points)]) for points in (POINTS, USUAL)]
    assert bounds[0] < bounds[1]
