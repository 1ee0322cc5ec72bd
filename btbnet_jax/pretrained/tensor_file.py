"""Files of weights as tensors by name: what kind a file is, and how Keras' and safetensors are read."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from btbnet_jax.pretrained.torch_file import PICKLE_START, ZIP_START, read_state_dict
from btbnet_jax.pretrained.torch_pickle import StoredTensor

_HDF5_START = b"\x89HDF\r\n\x1a\n"


def read_tensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors in a file, by name; what kind of file it is, its content says.

    Raises:
      ImportError: an HDF5 file without h5py.
      ValueError: a file of no known kind, or one that is damaged or unsafe.
    """
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith((ZIP_START, PICKLE_START)):
        return read_state_dict(path)
    if start.startswith(_HDF5_START):
        return _keras(path)
    if start[8:9] == b"{":
        return _safetensors(path)
    if start.startswith(b"version https://git-lfs"):
        raise ValueError("this is a pointer of Git LFS, not the file itself: run `git lfs pull`")
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise ValueError("this is a web page, not weights: the download failed or wants a login; fetch it again")
    raise ValueError(f"expected a .pth, .safetensors or .h5 file, got one that begins with {start[:16]!r}")


def _safetensors(path: Path) -> dict[str, StoredTensor]:
    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            shapes = [tuple(file.get_slice(name).get_shape()) for name in names]
    except SafetensorError as error:
        raise ValueError(f"a safetensors file that is damaged or cut short: {error}") from error
    readers = [functools.partial(_read_safetensor, path, name) for name in names]
    return dict(zip(names, map(StoredTensor, shapes, readers), strict=True))


def _read_safetensor(path: Path, name: str) -> np.ndarray:
    with safe_open(path, framework="numpy") as file:
        values = file.get_tensor(name)
    return values.astype(np.float32) if values.dtype.name == "bfloat16" else values


def _keras(path: Path) -> dict[str, StoredTensor]:
    """The kernel and bias of each layer, as "layer/kernel" and "layer/bias".

    What the two are called differs between versions of Keras; their order, in the attribute `weight_names`
    of the layer's group, does not.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError("Keras' .h5 files are read by h5py: pip install 'btbnet_jax[keras]'") from error

    def read(name: str) -> np.ndarray:
        with h5py.File(path) as file:
            return np.asarray(file[name])

    tensors: dict[str, StoredTensor] = {}
    try:
        with h5py.File(path) as file:
            root: Any = file.get("model_weights", file)  # of a whole model, or weights alone
            for layer in map(_text, root.attrs["layer_names"]):
                group = root[layer]
                for role, name in zip(("kernel", "bias"), group.attrs["weight_names"], strict=False):
                    values = group[_text(name)]
                    tensors[f"{layer}/{role}"] = StoredTensor(values.shape, functools.partial(read, values.name))
    except (OSError, KeyError) as error:
        expected = "the layout of vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
        raise ValueError(f"an HDF5 file that is damaged or does not have {expected}: {error}") from error
    return tensors


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
