from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btbnet_jax.config import NetworkConfig
from btbnet_jax.network import FNet, RRNet
from btbnet_jax.network.frrnet import passing_on
from tests.reference_network import Params, apply, convolution, count, param_shapes, random_params, sigmoid

CHANNELS = NetworkConfig(width=1 / 16).channels
RNG = np.random.default_rng(0)


class Case(NamedTuple):
    """Two images of different true sizes, their maps, and parameters of RRNet."""

    params: Params
    maps: jax.Array
    images: jax.Array
    valid: jax.Array


@pytest.fixture(scope="module")
def case() -> Case:
    valid = jnp.zeros((2, 6, 8, 1), bool).at[0].set(True).at[1, :4, :5].set(True)
    maps = jnp.where(valid, jnp.asarray(RNG.uniform(size=(2, 6, 8, 1)), jnp.float32), 0)
    images = jnp.where(valid, jnp.asarray(RNG.uniform(size=(2, 6, 8, 3)), jnp.float32), 0)
    return Case(random_params(RRNet(channels=CHANNELS), maps, images), maps, images, valid)


def refined(case: Case, num_steps: int, *, remat: bool = False) -> jax.Array:
    network = RRNet(num_steps, CHANNELS, remat=remat)
    return apply(network, case.params, case.maps, case.images, case.valid)


def test_fnet_has_the_papers_parameters():
    params = param_shapes(FNet(), jnp.zeros((1, 4, 4, 3)), jnp.zeros((1, 4, 4, 3)))
    pairs = [(3 + 3, 64), (64, 128), (128, 64), (64, 1)]  # three maps and the image
    assert [params[f"conv{n}"]["kernel"].shape for n in (1, 2, 3, 4)] == [(3, 3, *pair) for pair in pairs]
    assert count(params) == sum(9 * c_in * c_out + c_out for c_in, c_out in pairs) == 151_745


def test_rrnet_has_the_papers_parameters():
    params = param_shapes(RRNet(), jnp.zeros((1, 4, 4, 1)), jnp.zeros((1, 4, 4, 3)))
    pairs = [(1 + 3, 64), (64, 128), (128, 64), (64, 1)]  # one map and the image
    assert count(params) == sum(9 * c_in * c_out + c_out for c_in, c_out in pairs) == 150_593


def test_a_fresh_fnet_passes_on_the_mean_of_its_maps():
    maps, images = (jnp.asarray(RNG.uniform(size=(2, 5, 6, c)), jnp.float32) for c in (3, 3))
    fnet = FNet(NetworkConfig(width=1 / 4).channels)
    params = passing_on(random_params(fnet, maps, images), 3)
    last = params["conv4"]["kernel"]
    alone = params | {"conv4": params["conv4"] | {"kernel": jnp.zeros_like(last).at[1, 1, 0].set(last[1, 1, 0])}}
    for layer in (1, 2, 3):
        alone[f"conv{layer}"] = alone[f"conv{layer}"] | {"bias": jnp.zeros_like(alone[f"conv{layer}"]["bias"])}
    expected = 6 * (np.mean(maps, axis=-1, keepdims=True) - 0.5)
    np.testing.assert_allclose(apply(fnet, alone, maps, images), expected, atol=1e-5)
    assert (jnp.abs(last[:, :, 1:]) > 0).all(), "the other channels would never learn"


def test_fnet_is_that_of_the_paper_in_numpy():
    maps, images = (jnp.asarray(RNG.uniform(size=(2, 5, 6, c)), jnp.float32) for c in (2, 3))
    fnet = FNet(CHANNELS)
    params = random_params(fnet, maps, images)
    x = np.concatenate([maps, images], axis=-1)[1]
    for layer in (1, 2, 3, 4):
        x = convolution(x, params[f"conv{layer}"], relu=layer < 4)
    np.testing.assert_allclose(apply(fnet, params, maps, images)[1], x, atol=1e-5)


def test_recurrent_steps_are_those_of_the_paper_in_numpy(case: Case):
    image, current, expected = np.asarray(case.images[0]), np.asarray(case.maps[0]), []
    for _ in range(3):
        x = np.concatenate([current, image], axis=-1)
        for layer in (1, 2, 3, 4):
            x = convolution(x, case.params["step"][f"conv{layer}"], relu=layer < 4)
        expected.append(x)
        current = sigmoid(x)
    np.testing.assert_allclose(refined(case, 3)[:, 0], expected, atol=1e-5)


def test_scan_is_a_python_loop_in_values_and_gradients(case: Case):
    weights = jnp.asarray(RNG.normal(size=(3, 2, 6, 8, 1)), jnp.float32)
    rrnet, fnet = RRNet(3, CHANNELS), FNet(CHANNELS)

    def by_scan(params: Params, maps: jax.Array, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = apply(rrnet, params, maps, images, case.valid)
        return jnp.sum(weights * logits), logits

    def by_loop(params: Params, maps: jax.Array, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        steps = []
        for _ in range(3):
            steps.append(apply(fnet, params["step"], maps, images, case.valid))
            maps = jnp.where(case.valid, jax.nn.sigmoid(steps[-1]), 0)
        return jnp.sum(weights * jnp.stack(steps)), jnp.stack(steps)

    gradients, logits = jax.jit(jax.grad(by_scan, (0, 1, 2), has_aux=True))(*case[:3])
    expected_gradients, expected = jax.jit(jax.grad(by_loop, (0, 1, 2), has_aux=True))(*case[:3])
    np.testing.assert_allclose(logits, expected, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), gradients, expected_gradients)


def test_parameters_do_not_depend_on_the_number_of_steps():
    inputs = jnp.zeros((1, 4, 4, 1)), jnp.zeros((1, 4, 4, 3))
    shapes = [param_shapes(RRNet(num_steps), *inputs) for num_steps in range(7)]
    assert all(tree == shapes[3] for tree in shapes)


def test_more_steps_go_on_where_fewer_end(case: Case):
    np.testing.assert_allclose(refined(case, 6)[:2], refined(case, 2), atol=1e-6)


def test_no_steps_give_no_logits(case: Case):
    assert refined(case, 0).shape == (0, 2, 6, 8, 1)


def test_rematerialised_steps_are_the_same(case: Case):
    np.testing.assert_allclose(refined(case, 2, remat=True), refined(case, 2), atol=1e-6)
