"""The 13 convolutions of VGG16 from the files of torchvision, timm and Keras."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from btbnet_jax.config import NetworkConfig, Normalisation
from btbnet_jax.network.vgg import BLOCKS
from btbnet_jax.pretrained.tensor_file import read_tensors
from btbnet_jax.pretrained.torch_pickle import StoredTensor

IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
CAFFE_RGB = Normalisation(mean=(0.48235, 0.45882, 0.40784), std=(1 / 255, 1 / 255, 1 / 255))
CAFFE_BGR = Normalisation(order="bgr", scale=255.0, mean=(103.939, 116.779, 123.68), std=(1.0, 1.0, 1.0))

_HINTS = {
    r"(^|\.)layer1\.0\.": "this looks like a ResNet",
    r"\.running_mean$": "this looks like vgg16_bn or another network with batch normalisation; take the plain vgg16",
    r"features\.34\.|^block3_conv4": "this looks like VGG19",
    r"features\.15\.weight": "this looks like VGG13",
    r"features\.3\.weight": "this looks like VGG11",
}


class Vgg16Weights(NamedTuple):
    """The trunk's parameters, and what they go with.

    Attributes:
      params: "conv1_1" to "conv5_3", each with its "kernel" (3, 3, in, out) and "bias", float32.
      normalisation: of the images that they were trained on.
      layout: "torchvision", "torchvision-features", "timm" or "keras".
    """

    params: dict[str, dict[str, Float[np.ndarray, "..."]]]
    normalisation: Normalisation
    layout: str


class _Convolution(NamedTuple):
    """One of the 13, and what it is called in each layout."""

    name: str
    torch: str
    keras: str
    shape: tuple[int, int, int, int]


class _Layout(NamedTuple):
    """How a kind of file names and stores the convolutions.

    Attributes:
      prefix: of the names of all tensors of the trunk.
      kernel: name of a kernel, as a format of `_Convolution`'s fields.
      bias: likewise.
      axes: of a stored kernel that are its height, width, input and output channels.
    """

    name: str
    normalisation: Normalisation
    prefix: str
    kernel: str
    bias: str
    axes: tuple[int, int, int, int]


def load_vgg16(path: Path | str, *, width: float = 1.0) -> Vgg16Weights:
    """Returns the trunk's parameters from a file of VGG16, and the input normalisation that belongs to them.

    What the file is, its content says, not its name:

    - ``.pth`` of torchvision, the zip or the older stream of pickles: names like ``features.0.weight``, also
      behind ``module.`` (a network trained on several devices), in a training checkpoint, or without
      ``features.``.  It is read without PyTorch, and nothing in it is run.
    - ``.safetensors`` with the same names, such as timm's.
    - ``.h5`` of Keras: ``vgg16_weights_tf_dim_ordering_tf_kernels.h5``, with or without ``_notop``.  Reading
      it takes h5py.

    Fully connected layers are left out.

    Args:
      path: the file.
      width: of the network that they are for, as in `NetworkConfig`; published files are of width 1.

    Raises:
      FileNotFoundError: there is no such file.
      ImportError: an ``.h5`` file without h5py.
      ValueError: any other file, one that is damaged or unsafe, tensors that are missing, of another shape or
        not finite, or that VGG16 does not have.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; expected VGG16 as .pth (torchvision), .safetensors or .h5 (Keras)")
    try:
        tensors = read_tensors(path)
        layout = _layout(tensors)
        convolutions = list(_convolutions(width))
        _check(tensors, layout, convolutions)
        params = {convolution.name: _parameters(tensors, layout, convolution) for convolution in convolutions}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Vgg16Weights(params, layout.normalisation, layout.name)


def _convolutions(width: float) -> Iterator[_Convolution]:
    """The 13 in their order.  In PyTorch's count, each is followed by a ReLU and each block by a pooling layer."""
    channels = NetworkConfig(width=width).channels
    inputs, torch = 3, 0
    for block, outputs in enumerate(BLOCKS, start=1):
        for layer, paper in enumerate(outputs, start=1):
            shape = (3, 3, inputs, channels(paper))
            yield _Convolution(f"conv{block}_{layer}", f"{torch}", f"block{block}_conv{layer}", shape)
            inputs, torch = channels(paper), torch + 2
        torch += 1


def _layout(tensors: Mapping[str, StoredTensor]) -> _Layout:
    """The layout of a file, by the names of its tensors.

    Torchvision publishes two VGG16 whose convolutions have the same names and shapes and want different
    images.  Of the second, `IMAGENET1K_FEATURES`, the classifier is filled with NaN; that tells them apart.

    Source: torchvision's ``models/vgg.py``, timm's ``models/vgg.py``, Keras' ``applications/vgg16.py`` and
    ``applications/imagenet_utils.py`` (mode "caffe").
    """
    if any(name.endswith("/kernel") for name in tensors):
        return _Layout("keras", CAFFE_BGR, "block", "{0.keras}/kernel", "{0.keras}/bias", (0, 1, 2, 3))
    prefixes = ("features.", "module.features.", "features.module.", "module.", "")
    prefix = next((prefix for prefix in prefixes if f"{prefix}0.weight" in tensors), "features.")
    classifier = [tensor for name, tensor in tensors.items() if name.endswith("classifier.6.bias")]
    if classifier and np.isnan(classifier[0].read()).all():
        name, normalisation = "torchvision-features", CAFFE_RGB
    else:
        name, normalisation = "timm" if "head.fc.bias" in tensors else "torchvision", IMAGENET
    return _Layout(name, normalisation, prefix, prefix + "{0.torch}.weight", prefix + "{0.torch}.bias", (2, 3, 1, 0))


def _check(tensors: Mapping[str, StoredTensor], layout: _Layout, convolutions: Iterable[_Convolution]) -> None:
    """Raises one ValueError that lists all that is missing, of another shape, or unexpected."""
    expected: dict[str, tuple[int, ...]] = {}
    for convolution in convolutions:
        expected[layout.kernel.format(convolution)] = tuple(convolution.shape[n] for n in np.argsort(layout.axes))
        expected[layout.bias.format(convolution)] = convolution.shape[-1:]
    problems = {
        "missing": [name for name in expected if name not in tensors],
        "of another shape": [
            f"{name} (expected {shape}, got {tensors[name].shape})"
            for name, shape in expected.items()
            if name in tensors and tensors[name].shape != shape
        ],
        "unexpected": [name for name in tensors if name.startswith(layout.prefix) and name not in expected],
    }
    if any(problems.values()):
        lines = [f"{len(names)} {kind}: {', '.join(names)}" for kind, names in problems.items() if names]
        hints = [hint for pattern, hint in _HINTS.items() if any(re.search(pattern, name) for name in tensors)]
        raise ValueError("\n  ".join(["its convolutions are not those of this network's VGG16", *lines, *hints[:1]]))


def _parameters(
    tensors: Mapping[str, StoredTensor], layout: _Layout, convolution: _Convolution
) -> dict[str, Float[np.ndarray, "..."]]:
    kernel = _float32(tensors, layout.kernel.format(convolution))
    bias = _float32(tensors, layout.bias.format(convolution))
    return {"kernel": np.ascontiguousarray(kernel.transpose(layout.axes)), "bias": bias}


def _float32(tensors: Mapping[str, StoredTensor], name: str) -> Float[np.ndarray, "..."]:
    values = tensors[name].read()
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"{name} is of the type {values.dtype}; expected floating point")
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(
            f"{name} has values that are not finite in float32: the file is damaged, or a training diverged"
        )
    return values
