"""VGG16 from files with the names and layouts that torchvision, timm and Keras publish."""

import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from btbnet_jax.config import NetworkConfig
from btbnet_jax.network.btbnet import normalise
from btbnet_jax.network.vgg import Trunk
from btbnet_jax.pretrained import Vgg16Weights, load_vgg16
from tests.vgg16_writer import (
    PLACES,
    TORCH,
    Tensors,
    classifier,
    torch_tensors,
    write_keras,
    write_old_keras,
    write_safetensors,
    write_torch_legacy,
    write_torch_zip,
)

WIDTH = 1 / 32  # Of most tests, for speed: 2 to 16 channels.

WRITERS = (write_torch_zip, write_torch_legacy, write_safetensors, write_keras, write_old_keras)
every_file = pytest.mark.parametrize("write", WRITERS)
torch_files = pytest.mark.parametrize("write", WRITERS[:3])


def load(path: Path) -> Vgg16Weights:
    return load_vgg16(path, width=WIDTH)


def expected_features(image: np.ndarray, tensors: Tensors) -> np.ndarray:
    """VGG16's convolutions of a normalised (3, h, w) image, one channel at a time, in float64."""
    x = image.astype(np.float64)
    for index in TORCH:
        kernels, biases = tensors[f"features.{index}.weight"], tensors[f"features.{index}.bias"]
        planes = [
            sum(
                correlate(plane, filter_, mode="same", method="direct")
                for plane, filter_ in zip(x, kernel, strict=True)
            )
            for kernel in kernels.astype(np.float64)
        ]
        x = np.maximum(np.stack(planes) + biases[:, None, None], 0)
    return x


TORCHVISION_MEAN, TORCHVISION_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet(image: np.ndarray) -> np.ndarray:
    return np.stack([(image[..., c] - TORCHVISION_MEAN[c]) / TORCHVISION_STD[c] for c in range(3)])


def caffe(image: np.ndarray) -> np.ndarray:
    return np.stack([255 * image[..., 2 - c] - (103.939, 116.779, 123.68)[c] for c in range(3)])


@pytest.mark.parametrize(
    ("write", "prepare"),
    [
        (write_torch_zip, imagenet),
        (write_torch_legacy, imagenet),
        (write_safetensors, imagenet),
        (write_keras, caffe),
        (write_old_keras, caffe),
    ],
)
def test_loaded_parameters_give_the_features_of_independent_code(
    tmp_path: Path, write: Callable[..., Path], prepare: Callable[[np.ndarray], np.ndarray]
):
    tensors = torch_tensors()
    weights = load(write(tmp_path / "vgg16", tensors))
    image = np.random.default_rng(1).random((8, 8, 3))
    trunk = Trunk(channels=NetworkConfig(width=WIDTH).channels)
    images = normalise(jnp.asarray(image[None], jnp.float32), weights.normalisation)
    *_, features = jax.tree.leaves(trunk.apply({"params": weights.params}, images))
    expected = expected_features(prepare(image), tensors).transpose(1, 2, 0)[None]
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_the_published_shape_is_the_trunk_of_the_paper(tmp_path: Path):
    zeros = {name: np.zeros(values.shape, np.float32) for name, values in torch_tensors(divisor=1).items()}
    params = load_vgg16(write_torch_zip(tmp_path / "vgg16.pth", zeros)).params
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 14_714_688  # Keras' count of VGG16 without its top.
    ours = jax.eval_shape(Trunk().init, jax.random.key(0), jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32))["params"]
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), ours) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), params
    )


@pytest.mark.parametrize(
    ("more", "layout", "order", "scale", "mean", "std"),
    [
        (classifier(), "torchvision", "rgb", 1, TORCHVISION_MEAN, TORCHVISION_STD),
        (classifier(np.nan), "torchvision-features", "rgb", 1, (0.48235, 0.45882, 0.40784), (1 / 255,) * 3),
        ({"head.fc.bias": np.zeros(2, np.float32)}, "timm", "rgb", 1, TORCHVISION_MEAN, TORCHVISION_STD),
        ({}, "torchvision", "rgb", 1, TORCHVISION_MEAN, TORCHVISION_STD),
    ],
)
@torch_files
def test_the_normalisation_is_the_one_of_the_weights(
    tmp_path: Path,
    write: Callable[..., Path],
    more: Tensors,
    layout: str,
    order: str,
    scale: float,
    mean: tuple[float, ...],
    std: tuple[float, ...],
):
    weights = load(write(tmp_path / "vgg16", torch_tensors() | more))
    found = weights.normalisation
    assert (weights.layout, found.order, found.scale, found.mean, found.std) == (layout, order, scale, mean, std)


def test_keras_wants_caffes_images(tmp_path: Path):
    weights = load(write_keras(tmp_path / "vgg16.h5", torch_tensors()))
    found = weights.normalisation
    assert weights.layout == "keras"
    assert (found.order, found.scale, found.mean, found.std) == ("bgr", 255, (103.939, 116.779, 123.68), (1, 1, 1))


def same(found: Vgg16Weights, tensors: Tensors) -> None:
    for index, place in zip(TORCH, PLACES, strict=True):
        params = found.params[f"conv{place}"]
        np.testing.assert_array_equal(params["kernel"].transpose(3, 2, 0, 1), tensors[f"features.{index}.weight"])
        np.testing.assert_array_equal(params["bias"], tensors[f"features.{index}.bias"])


@pytest.mark.parametrize("prefix", ["features.", "module.features.", "features.module.", "module.", ""])
@torch_files
def test_names_may_have_what_pytorchs_wrappers_put_before_them(tmp_path: Path, write: Callable[..., Path], prefix: str):
    same(load(write(tmp_path / "vgg16", torch_tensors(prefix=prefix))), torch_tensors())


def test_a_whole_keras_model_is_read(tmp_path: Path):
    same(load(write_keras(tmp_path / "vgg16.h5", torch_tensors(), group="model_weights")), torch_tensors())


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
@torch_files
def test_other_precisions_become_float32(tmp_path: Path, write: Callable[..., Path], dtype: str):
    rounded = {name: np.round(values, 1) * 2.5 for name, values in torch_tensors().items()}
    stored = {name: np.asarray(jnp.asarray(values).astype(jnp.bfloat16)) for name, values in rounded.items()}
    if dtype != "bfloat16":
        stored = {name: values.astype(dtype) for name, values in rounded.items()}
    expected = {name: values.astype(np.float32) for name, values in stored.items()}
    if dtype == "bfloat16" and write is not write_safetensors:
        stored = {name: values.view(np.uint16) for name, values in stored.items()}
    weights = load(write(tmp_path / "vgg16", stored))
    same(weights, expected)
    assert {leaf.dtype for leaf in jax.tree.leaves(weights.params)} == {np.dtype("float32")}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@every_file
def test_values_that_are_not_finite_are_refused(tmp_path: Path, write: Callable[..., Path], value: float):
    tensors = torch_tensors()
    tensors["features.17.weight"][1, 0, 2, 1] = value
    with pytest.raises(ValueError, match=r"(features\.17\.weight|block4_conv1/kernel) has values that are not finite"):
        load(write(tmp_path / "vgg16", tensors))


def test_values_too_large_for_float32_are_refused(tmp_path: Path):
    tensors = torch_tensors()
    tensors["features.0.bias"] = np.full(2, 1e300)
    with pytest.raises(ValueError, match=r"features\.0\.bias has values that are not finite"):
        load(write_torch_zip(tmp_path / "vgg16", tensors))


def test_integers_are_refused(tmp_path: Path):
    tensors = torch_tensors() | {"features.0.bias": np.ones(2, np.int64)}
    with pytest.raises(ValueError, match=r"features\.0\.bias is of the type int64"):
        load(write_torch_zip(tmp_path / "vgg16", tensors))


@torch_files
def test_one_error_lists_everything_that_does_not_fit(tmp_path: Path, write: Callable[..., Path]):
    tensors = torch_tensors() | classifier()
    del tensors["features.0.bias"], tensors["features.28.weight"]
    tensors["features.2.weight"] = np.zeros((2, 2, 1, 1), np.float32)
    tensors["features.30.weight"] = np.zeros(1, np.float32)
    path = write(tmp_path / "vgg16", tensors)
    with pytest.raises(ValueError, match="vgg16") as error:
        load(path)
    assert str(path) in str(error.value)
    assert "2 missing: features.0.bias, features.28.weight\n" in str(error.value)
    assert "1 of another shape: features.2.weight (expected (2, 2, 3, 3), got (2, 2, 1, 1))\n" in str(error.value)
    assert str(error.value).endswith("1 unexpected: features.30.weight")


def test_a_network_of_another_width_is_told_both_shapes(tmp_path: Path):
    path = write_torch_zip(tmp_path / "vgg16", torch_tensors())
    with pytest.raises(
        ValueError, match=r"26 of another shape: features\.0\.weight \(expected \(4, 3, 3, 3\), got \(2, "
    ):
        load_vgg16(path, width=1 / 16)


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (["conv1.weight", "layer1.0.conv1.weight", "layer1.0.bn1.running_mean", "fc.bias"], "ResNet"),
        (["features.0.weight", "features.1.running_mean"], "vgg16_bn"),
        (["features.0.weight", "features.34.weight"], "VGG19"),
        (["features.0.weight", "features.15.weight"], "VGG13"),
        (["features.0.weight", "features.3.weight"], "VGG11"),
    ],
)
def test_other_networks_are_recognised(tmp_path: Path, names: list[str], hint: str):
    path = write_torch_zip(tmp_path / "vgg16", {name: np.zeros(1, np.float32) for name in names})
    with pytest.raises(ValueError, match=rf"missing: (.|\n)*this looks like .*{hint}"):
        load(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "begins with b''"),
        (b"\n <!DOCTYPE html><html><title>Sign in</title>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "expected a .pth, .safetensors or .h5 file"),
        (b"\x09\x00\x00\x00\x00\x00\x00\x00{}", "safetensors file that is damaged"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", "safetensors file that is damaged"),
        (b"\x89HDF\r\n\x1a\n", "HDF5 file that is damaged"),
        (b"PK\x03\x04", "damaged or cut short"),
        (b"\x80\x04.", "damaged"),
    ],
)
def test_what_is_no_file_of_weights_is_a_clear_error(tmp_path: Path, content: bytes, words: str):
    (tmp_path / "vgg16.pth").write_bytes(content)
    with pytest.raises(ValueError, match=rf"vgg16\.pth: .*{words}"):
        load(tmp_path / "vgg16.pth")


@every_file
def test_a_file_cut_short_is_a_clear_error(tmp_path: Path, write: Callable[..., Path]):
    path = write(tmp_path / "vgg16", torch_tensors())
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(ValueError, match=r"damaged|cut short"):
        load(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere\.pth; expected VGG16"):
        load_vgg16(str(tmp_path / "nowhere.pth"))


def test_another_hdf5_file_is_refused(tmp_path: Path):
    with h5py.File(tmp_path / "vgg16.weights.h5", "w") as file:  # As Keras 3 lays weights out.
        file["layers/conv2d/vars/0"] = np.zeros((3, 3, 3, 64), np.float32)
    with pytest.raises(ValueError, match="layout of vgg16_weights_tf_dim_ordering_tf_kernels_notop"):
        load(tmp_path / "vgg16.weights.h5")


def test_another_keras_network_is_told_by_keras_names(tmp_path: Path):
    with h5py.File(tmp_path / "resnet50.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv1_conv"]
        file.create_group("conv1_conv").attrs["weight_names"] = [b"conv1_conv/kernel:0"]
        file["conv1_conv/conv1_conv/kernel:0"] = np.zeros((7, 7, 3, 64), np.float32)
    with pytest.raises(ValueError, match="26 missing: block1_conv1/kernel, block1_conv1/bias, block1_conv2/kernel"):
        load(tmp_path / "resnet50.h5")


def test_without_h5py_a_keras_file_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_keras(tmp_path / "vgg16.h5", torch_tensors())
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install 'btbnet_jax\[keras\]'"):
        load(path)
