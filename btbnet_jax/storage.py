"""Parameters as they are stored: kernels in float32, in half precision, or with 8 bits, biases always in float32."""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int8
from numpy import ndarray

Storage = Literal["float32", "float16", "bfloat16", "int8"]
Tensors = dict[str, ndarray]

STORAGES: tuple[Storage, ...] = ("float32", "float16", "bfloat16", "int8")

_SCALE = "/scale"  # after the name of a kernel of 8 bits
_HALVES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(jnp.bfloat16)}


def stored(arrays: Mapping[str, Float32[ndarray, "..."]], storage: Storage) -> Tensors:
    """Returns parameters by their names, as they are stored; what is not finite is left to whoever saves them.

    Kernels of 8 bits are integers from -127 to 127, see `_whole`, and a scale for each output channel.
    """
    tensors: Tensors = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for name, array in arrays.items():
            if _is_plain(array, storage):
                tensors[name] = array
            elif storage in _HALVES:
                tensors[name] = array.astype(_HALVES[storage])
            else:
                scale = np.abs(array).max(axis=(0, 1, 2)) / np.float32(127)
                scale = np.where(scale > 0, scale, np.float32(1))  # also where it is too small for float32
                tensors |= {name: _whole(array / scale), name + _SCALE: scale}
    return tensors


def stored_shapes(shapes: Mapping[str, Any], storage: Storage) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns shapes and types of what `stored` makes of parameters of some shapes."""
    tensors = {}
    for name, leaf in shapes.items():
        kind = np.float32 if _is_plain(leaf, storage) else _HALVES.get(storage, np.int8)
        tensors[name] = jax.ShapeDtypeStruct(leaf.shape, kind)
        if kind is np.int8:
            tensors[name + _SCALE] = jax.ShapeDtypeStruct(leaf.shape[-1:], np.float32)
    return tensors


def restored(name: str, tensors: Tensors) -> Float32[ndarray, "..."]:
    """Returns one parameter of those that `stored` has made."""
    array = tensors[name].astype(np.float32)
    return array * tensors[name + _SCALE] if name + _SCALE in tensors else array


def _is_plain(array: Any, storage: Storage) -> bool:
    return storage == "float32" or array.ndim == 1  # biases, which are few


def _whole(kernel: Float32[ndarray, "h w in out"]) -> Int8[ndarray, "h w in out"]:
    """Whole numbers, each one below or above, whose sum over the positions h, w is the nearest.

    Where a feature is smooth its neighbours are nearly one value, and errors of a kernel that is rounded number by
    number would add up to more.
    """
    positions = kernel.reshape(-1, *kernel.shape[2:])
    below = np.floor(positions)
    above = np.rint(positions.sum(axis=0)) - below.sum(axis=0)  # so many, those that are nearest to it
    rank = np.argsort(np.argsort(below - positions, axis=0, kind="stable"), axis=0)
    return np.clip(below + (rank < above), -127, 127).reshape(kernel.shape).astype(np.int8)
