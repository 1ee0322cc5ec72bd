"""Files of VGG16 with the names and layouts that torchvision, timm and Keras publish, and random values."""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import safetensors.numpy

from tests.torch_writer import state_dict, write_legacy, write_zip

# The names of the 13 convolutions and the numbers of their channels, as torchvision and Keras print them.
TORCH = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
PLACES = ("1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3", "5_1", "5_2", "5_3")
CHANNELS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)

Tensors = dict[str, np.ndarray]


def torch_tensors(*, divisor: int = 32, prefix: str = "features.", seed: int = 0) -> Tensors:
    """The convolutions as torchvision stores them, (out, in, 3, 3)."""
    rng, tensors, inputs = np.random.default_rng(seed), {}, 3
    for index, channels in zip(TORCH, CHANNELS, strict=True):
        outputs = channels // divisor
        spread = np.sqrt(2 / (9 * inputs))
        tensors[f"{prefix}{index}.weight"] = (spread * rng.standard_normal((outputs, inputs, 3, 3))).astype(np.float32)
        tensors[f"{prefix}{index}.bias"] = (0.1 * rng.standard_normal(outputs)).astype(np.float32)
        inputs = outputs
    return tensors


def classifier(value: float = 0.5) -> Tensors:
    return {f"classifier.{n}.{kind}": np.full(2, value, np.float32) for n in (0, 3, 6) for kind in ("weight", "bias")}


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> Path:
    safetensors.numpy.save_file(dict(tensors), path)
    return path


def write_torch_zip(path: Path, tensors: Mapping[str, np.ndarray]) -> Path:
    return write_zip(path, state_dict(tensors))


def write_torch_legacy(path: Path, tensors: Mapping[str, np.ndarray]) -> Path:
    return write_legacy(path, state_dict(tensors))


def write_keras(path: Path, tensors: Mapping[str, np.ndarray], *, group: str = "/", old: bool = False) -> Path:
    """The convolutions in Keras' layout, (3, 3, in, out), with the names of Keras 1 or 2."""
    layers = [f"block{place.replace('_', '_conv')}" for place in PLACES]
    with h5py.File(path, "w") as file:
        root = file.require_group(group)
        root.attrs["layer_names"] = [b"input_1", *(layer.encode() for layer in layers), b"predictions"]
        for layer in ("input_1", "predictions"):
            root.create_group(layer).attrs["weight_names"] = np.zeros(0, "S1")
        for index, layer in zip(TORCH, layers, strict=True):
            names = [f"{layer}_W_1:0", f"{layer}_b_1:0"] if old else [f"{layer}/kernel:0", f"{layer}/bias:0"]
            values = [tensors[f"features.{index}.weight"].transpose(2, 3, 1, 0), tensors[f"features.{index}.bias"]]
            folder = root.create_group(layer)
            folder.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, values, strict=True):
                folder[name] = value
    return path


def write_old_keras(path: Path, tensors: Mapping[str, np.ndarray]) -> Path:
    return write_keras(path, tensors, old=True)
