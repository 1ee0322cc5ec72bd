import functools
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btbnet_jax.compiler import compiled
from btbnet_jax.config import NetworkConfig
from btbnet_jax.network import (
    BTBNet,
    Convolution,
    OneDnnConvolution,
    QuickConvolution,
    fastest_convolution,
    init_params,
    quick,
)
from btbnet_jax.network.convolution import Direct
from btbnet_jax.network.quick import LEAST_CHANNELS, LEAST_INPUTS, transform_kernels
from btbnet_jax.network.winograd import TransformedKernel
from tests.reference_network import random_features, random_layer

KINDS = (Convolution, QuickConvolution)


def of_jax(relu: bool, params: Any, x: Any, valid: Any) -> Any:
    """The convolution, to be differentiated by JAX itself."""
    return Direct().convolve(x, params["kernel"], params["bias"], valid, relu=relu)


# In a wide layer, rounding decides of one of its million values whether the ReLU is open.
@pytest.mark.parametrize(
    ("size", "channels", "relu"),
    [
        ((70, 65), LEAST_CHANNELS, False),
        ((9, 14), LEAST_INPUTS, True),
        ((9, 14), 5, True),
        ((9, 14), 5, False),
        ((1, 1), 6, True),
    ],
)
@pytest.mark.parametrize("kind", [*KINDS, OneDnnConvolution])
def test_gradients_are_those_of_jax(kind: type[Convolution], size: tuple[int, int], channels: int, relu: bool):
    x, params = random_features(2, *size, channels), random_layer((channels, channels))
    valid = np.arange(size[0]).reshape(1, -1, 1, 1) < np.array([0.7, 1]).reshape(2, 1, 1, 1) * size[0]
    valid = np.broadcast_to(valid, (2, *size, 1))

    def ours(relu: bool, params: Any, x: Any, valid: Any) -> Any:
        return kind(channels, relu).apply({"params": params}, x, valid)

    results = []
    for function in (ours, of_jax):
        gradients = jax.vjp(functools.partial(function, relu, valid=jnp.asarray(valid)), params, jnp.asarray(x))[1]
        program = compiled(gradients, onednn=function is ours and kind.by_onednn)
        results.append(jax.tree.leaves(program(jnp.asarray(random_features(2, *size, channels, seed=2)))))
    for found, expected in zip(*results, strict=True):
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("channels", "way"),
    [
        ((LEAST_CHANNELS - 1, LEAST_CHANNELS), ""),
        ((LEAST_CHANNELS, 5), "by_products"),
        ((LEAST_CHANNELS,) * 2, "by_winograd"),
    ],
)
def test_the_gradient_of_a_kernel_takes_the_quick_way_of_its_layer(channels: tuple[int, int], way: str):
    x, params = jnp.asarray(random_features(1, 64, 64, channels[0])), random_layer(channels)
    for kind in KINDS:
        apply: Any = kind(channels[1]).apply
        gradient = jax.grad(lambda params, apply=apply: apply({"params": params}, x).sum())
        text = str(jax.make_jaxpr(gradient)(params))
        taken = [name for name in ("by_products", "by_winograd") if name in text]
        assert taken == ([way] if way and kind is QuickConvolution else [])


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_is_kept_for_the_gradient_than_the_features_before_and_after(kind: type[Convolution]):
    x, params = jnp.asarray(random_features(1, 9, 14, 5)), jax.tree.map(jnp.asarray, random_layer((5, 7)))
    gradients = jax.vjp(lambda params, x: kind(7).apply({"params": params}, x), params, x)[1]
    assert sorted(leaf.shape for leaf in jax.tree.leaves(gradients)) == [(1, 9, 14, 5), (1, 9, 14, 7), (3, 3, 5, 7)]


@pytest.mark.parametrize(("channels", "strides"), [((3, 8), "(1, 2)"), ((16, 1), "(1, 16)"), ((16, 16), "(1, 1)")])
def test_layers_of_few_channels_take_several_columns_at_a_time(channels: tuple[int, int], strides: str):
    x, params = jnp.asarray(random_features(1, 9, 14, channels[0])), random_layer(channels)
    plain, quick = (jax.jit(kind(channels[1], False).apply)({"params": params}, x) for kind in KINDS)
    assert f"window_strides={strides}" in str(
        jax.make_jaxpr(QuickConvolution(channels[1]).apply)({"params": params}, x)
    )
    np.testing.assert_allclose(quick, plain, atol=1e-5)


def test_other_layers_and_small_images_take_the_direct_way():
    width = LEAST_CHANNELS
    for channels, size in (((width - 1, width), 64), ((width, width - 1), 64), ((width, width), 63)):
        x, params = random_features(1, size, size, channels[0]), random_layer(channels)
        plain, quick = (jax.jit(kind(channels[1]).apply)({"params": params}, x) for kind in KINDS)
        np.testing.assert_array_equal(plain, quick)


def test_wide_layers_of_large_images_take_winograds_way():
    x, params = random_features(1, 64, 64, LEAST_CHANNELS), random_layer((LEAST_CHANNELS, LEAST_CHANNELS))
    plain, quick = (jax.jit(kind(LEAST_CHANNELS).apply)({"params": params}, x) for kind in KINDS)
    prepared = jax.jit(QuickConvolution(LEAST_CHANNELS).apply)({"params": transform_kernels(params)}, x)
    assert np.abs(plain - quick).max() > 0
    np.testing.assert_allclose(quick, plain, atol=3e-5)
    np.testing.assert_allclose(prepared, quick, atol=1e-6)


def test_only_wide_kernels_are_transformed_and_once():
    config = NetworkConfig(scales=(Fraction(1),), width=0.25, num_steps=1)
    params = init_params(jax.random.key(0), config)
    prepared = transform_kernels(params)
    trunk = prepared["stream1"]["trunk"]
    kinds = {name: isinstance(one["kernel"], TransformedKernel) for name, one in trunk.items()}
    assert [name for name, there in kinds.items() if there] == [f"conv{n}" for n in ("4_2", "4_3", "5_1", "5_2", "5_3")]
    x = jnp.asarray(np.random.default_rng(0).random((1, 16, 20, 3)), jnp.float32)
    direct, winograd = (
        jax.jit(BTBNet(config, kind).apply)({"params": ready}, x).logits
        for kind, ready in zip(KINDS, (params, prepared), strict=True)
    )
    np.testing.assert_allclose(winograd, direct, atol=1e-4)


@pytest.mark.parametrize("onednn", [False, True])
def test_which_convolution_is_the_fastest(onednn: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(quick, "has_onednn", lambda: onednn)
    assert fastest_convolution(NetworkConfig()) is QuickConvolution  # the tests run on a CPU
    assert fastest_convolution(NetworkConfig(precision="highest")) is Convolution
    assert fastest_convolution(NetworkConfig(width=0.125, precision="highest")) is Convolution
    narrow, half = NetworkConfig(width=0.125), NetworkConfig(dtype="bfloat16")
    assert fastest_convolution(narrow) is (OneDnnConvolution if onednn else QuickConvolution)
    assert fastest_convolution(half) is (OneDnnConvolution if onednn else Convolution)
    assert fastest_convolution(NetworkConfig(width=1 / 64)) is QuickConvolution  # in whose gradients XLA would abort
    assert fastest_convolution(NetworkConfig(width=1 / 64, dtype="bfloat16")) is Convolution
