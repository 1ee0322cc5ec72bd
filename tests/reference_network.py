"""Parameters for small networks, and their layers in NumPy and float64, to compare with."""

from typing import Any

import jax
import numpy as np
from flax import linen as nn
from numpy.lib.stride_tricks import sliding_window_view

Params = dict[str, Any]


def random_params(module: nn.Module, *inputs: Any, seed: int = 0) -> Params:
    """He-distributed kernels and biases other than zero, without compiling any initialiser."""
    rng = np.random.default_rng(seed)

    def draw(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        deviation = np.sqrt(2 / np.prod(leaf.shape[:3])) if len(leaf.shape) == 4 else 0.2
        return jax.numpy.asarray(rng.normal(0, deviation, leaf.shape), leaf.dtype)

    return jax.tree.map(draw, param_shapes(module, *inputs))


def apply(module: nn.Module, params: Params, *inputs: Any) -> Any:
    return jax.jit(module.apply)({"params": params}, *inputs)


def param_shapes(module: nn.Module, *inputs: Any) -> Params:
    return jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]


def count(params: Params) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))


def random_layer(channels: tuple[int, int], seed: int = 0) -> dict[str, np.ndarray]:
    """The float32 parameters of a 3x3 convolution whose results are as large as its inputs."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0, np.sqrt(2 / (9 * channels[0])), (3, 3, *channels))
    return {"kernel": kernel.astype(np.float32), "bias": rng.normal(size=channels[1]).astype(np.float32)}


def random_features(*shape: int, seed: int = 1) -> np.ndarray:
    """Float32 numbers of size one."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def convolution(x: np.ndarray, layer: Params, *, relu: bool = True) -> np.ndarray:
    """A 3x3 convolution of one (h, w, c) image with zeros around it."""
    windows = sliding_window_view(np.pad(x.astype(np.float64), ((1, 1), (1, 1), (0, 0))), (3, 3), axis=(0, 1))
    y = np.einsum("hwcij,ijco->hwo", windows, np.asarray(layer["kernel"], np.float64)) + np.asarray(layer["bias"])
    return np.maximum(y, 0) if relu else y


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
