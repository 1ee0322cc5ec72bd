from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from btbnet_jax.network import Convolution
from btbnet_jax.network.convolution import Direct, convolve
from btbnet_jax.network.quick import LEAST_CHANNELS, Quick
from tests.reference_network import apply, convolution, random_params

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (6, 4)])
def test_convolution_is_that_of_numpy(shape: tuple[int, int], relu: bool):
    layer = Convolution(5, relu)
    x = RNG.normal(size=(2, *shape, 3)).astype(np.float32)
    params = random_params(layer, jnp.asarray(x))
    expected = [convolution(image, params, relu=relu) for image in x]
    np.testing.assert_allclose(apply(layer, params, jnp.asarray(x)), expected, atol=1e-5)


def test_features_are_zero_outside_the_image():
    layer = Convolution(4, relu=False)
    x = jnp.asarray(RNG.normal(size=(1, 4, 5, 3)), jnp.float32)
    valid = jnp.zeros((1, 4, 5, 1), bool).at[:, :2, :3].set(True)
    y = apply(layer, random_params(layer, x), x, valid)
    np.testing.assert_array_equal(jnp.any(y != 0, axis=-1, keepdims=True), valid)


@pytest.mark.parametrize(("num_inputs", "num_outputs"), [(3, 8), (8, 1), (6, 4), (8, 16)])
def test_channels_in_whole_blocks_change_nothing(num_inputs: int, num_outputs: int, monkeypatch: pytest.MonkeyPatch):
    x, kernel, gradient = (
        jnp.asarray(RNG.normal(size=shape), jnp.float32)
        for shape in ((2, 5, 6, num_inputs), (3, 3, num_inputs, num_outputs), (2, 5, 6, num_outputs))
    )

    bias, valid = jnp.arange(num_outputs) - 2.0, jnp.asarray(RNG.random((2, 5, 6, 1)) < 0.5)

    def convolved(x: Any, kernel: Any, gradient: Any) -> Any:
        way = Direct()
        finished = way.convolve(x, kernel, bias, valid, relu=True)
        return finished, way.convolve(x, kernel), way.sums(x, kernel), way.gradients(x, kernel, gradient)

    def all_of_it() -> tuple[Any, str]:
        made = jax.jit(lambda *arrays: convolved(*arrays))  # JAX would remember the other way
        return made(x, kernel, gradient), str(made.lower(x, kernel, gradient).as_text())

    expected, text = all_of_it()
    assert "stablehlo.pad" not in text
    monkeypatch.setattr("btbnet_jax.network.convolution.channels_of_a_block", lambda _: 8)  # as bfloat16 on a GPU
    found, text = all_of_it()
    assert ("stablehlo.pad" in text) == bool(num_inputs % 8 or num_outputs % 8)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-5), found, expected)


def test_kernels_start_from_he_and_biases_from_zero():
    params = jax.jit(Convolution(64).init)(jax.random.key(0), jnp.zeros((1, 1, 1, 32)))["params"]
    np.testing.assert_allclose(jnp.std(params["kernel"]), np.sqrt(2 / (9 * 32)), rtol=0.02)
    np.testing.assert_array_equal(params["bias"], np.zeros(64))


def test_bfloat16_computes_in_it_and_keeps_float32_parameters():
    layer = Convolution(4, dtype=jnp.dtype("bfloat16"))
    x = jnp.asarray(RNG.normal(size=(1, 4, 5, 3)), jnp.float32)
    params = random_params(layer, x)
    y = apply(layer, params, x)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(y[0].astype(jnp.float32), convolution(np.asarray(x[0]), params), atol=0.05)


def test_sums_of_numbers_in_bfloat16_are_taken_in_more_bits():
    """256 ones and another are 256 in it; the largest sum of each kind has more, and stands for itself."""
    x, kernel, gradient = (
        jnp.ones(shape, jnp.bfloat16) for shape in ((1, 40, 40, 64), (3, 3, 64, 32), (1, 40, 40, 32))
    )
    by_inputs, by_kernel = Direct().gradients(x, kernel, gradient)
    assert [float(jnp.max(y)) for y in (Direct().convolve(x, kernel), by_inputs, by_kernel)] == [
        9 * 64,
        9 * 32,
        40 * 40,
    ]
    outcome = jax.grad(lambda bias: jnp.sum(convolve(Direct(), False, False, x, kernel, bias, None)))
    assert set(outcome(jnp.zeros(32, jnp.bfloat16)).tolist()) == {40 * 40}


@pytest.mark.parametrize("way", [Direct(), Quick()])
@pytest.mark.parametrize("channels", [(4, 20), (20, 1)])
def test_strips_of_large_images_change_nothing(way: Direct, channels: tuple[int, int], monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    x, kernel, gradient = (
        jnp.asarray(rng.normal(size=size), jnp.float32)
        for size in ((2, 13, 9, channels[0]), (3, 3, *channels), (2, 13, 9, channels[1]))
    )

    bias, valid = jnp.ones(channels[1]), jnp.asarray(rng.random((2, 13, 9, 1)) < 0.5)

    def layer_and_gradients(x: jax.Array, kernel: jax.Array) -> tuple[Any, ...]:
        return way.convolve(x, kernel, bias, valid, relu=True), *way.gradients(x, kernel, gradient)

    expected = layer_and_gradients(x, kernel)
    monkeypatch.setattr("btbnet_jax.network.convolution.MOST_PIXELS", 4 * 2 * 9)
    assert str(jax.make_jaxpr(layer_and_gradients)(x, kernel)).count("length=4") == 2
    for found, wanted in zip(layer_and_gradients(x, kernel), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("way", [Direct(), Quick()])
def test_strips_are_taken_on_each_device_too(way: Direct, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    channels = 8 if type(way) is Direct else LEAST_CHANNELS
    x = jnp.asarray(rng.normal(size=(2, 65, 64, channels)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 3, channels, channels)) / 20, jnp.float32)
    expected = Direct().convolve(x, kernel)
    monkeypatch.setattr("btbnet_jax.network.convolution.MOST_PIXELS", 30)
    monkeypatch.setattr("btbnet_jax.network.winograd.tiles_of_strip", lambda *_: 6)
    mesh = Mesh(jax.devices()[:1], "tiles")
    layer = jax.shard_map(
        way.convolve, mesh=mesh, in_specs=(PartitionSpec("tiles"), PartitionSpec()), out_specs=PartitionSpec("tiles")
    )
    np.testing.assert_allclose(layer(x, kernel), expected, atol=1e-4)
