import gc
import hashlib
import itertools
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export
from safetensors.numpy import load_file

from btbnet_jax.config import NetworkConfig
from btbnet_jax.export import PLACEMENTS, exported, longest_side, save_export
from btbnet_jax.network import BTBNet, init_params
from btbnet_jax.weights import Weights, load_weights
from tests.small_runs import CONFIG

NETWORK = NetworkConfig(scales=(Fraction(1), Fraction(3, 5)), num_steps=2, width=1 / 32, precision="highest")
SIZES = [(1, 1, 1), (2, 33, 47), (1, 427, 640)]

PROGRAM = """
import sys
for name in ("btbnet_jax", "flax", "jaxtyping"):
    sys.modules[name] = None  # importing it is an error

import jax
import numpy as np
from safetensors.numpy import load_file

def load(name):
    with open(name, "rb") as file:
        return jax.jit(jax.export.deserialize(bytearray(file.read())).call)

inside, beside, params = load("inside.jax"), load("beside.jax"), load_file("beside.safetensors")
maps = {}
for name, images in np.load("images.npz").items():
    maps["inside " + name] = inside(images)
    maps["beside " + name] = beside(params, images)
np.savez("maps.npz", **maps)
"""


def some_images(size: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)


def networks_map(params: Any, images: np.ndarray) -> np.ndarray:
    """The network itself, as the README calls it."""
    outputs: Any = jax.jit(BTBNet(NETWORK).apply)({"params": params}, jnp.asarray(images) / 255.0)
    return np.asarray(outputs.focus_map)[..., 0]


@pytest.fixture(scope="module")
def weights() -> Weights:
    params = jax.device_get(init_params(jax.random.key(0), NETWORK))
    summary = {"config": CONFIG.to_json(), "validation": {"mae": 0.25}}
    return Weights(params, NETWORK, summary, "CC0-1.0", "float16")  # as which nothing is exported


@pytest.fixture(scope="module")
def folder(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both exported networks."""
    folder = tmp_path_factory.mktemp("exported")
    for placement in PLACEMENTS:
        save_export(folder / f"{placement}.jax", weights, params=placement)
    return folder


@pytest.fixture(scope="module")
def maps(folder: Path) -> dict[str, np.ndarray]:
    """What a fresh process without this package makes of images of all sizes."""
    images: Any = {str(size): some_images(size) for size in SIZES}
    np.savez(folder / "images.npz", **images)
    done = subprocess.run([sys.executable, "-I", "-c", PROGRAM], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(np.load(folder / "maps.npz"))


def loaded(path: Path) -> jax_export.Exported:
    return jax_export.deserialize(bytearray(path.read_bytes()))


@pytest.mark.parametrize("size", SIZES)
def test_a_fresh_process_without_this_package_has_the_networks_maps(
    weights: Weights, maps: dict[str, np.ndarray], size: tuple[int, int, int]
):
    expected = networks_map(weights.params, some_images(size))
    assert size == (1, 1, 1) or expected.std() > 0.005
    for placement in PLACEMENTS:
        found = maps[f"{placement} {size}"]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_number_height_and_width_are_symbols(folder: Path, placement: str):
    network = loaded(folder / f"{placement}.jax")
    avals = [network.in_avals[-1], *network.out_avals]
    assert [(str(aval.dtype), *map(str, aval.shape)) for aval in avals] == [
        ("uint8", "b", "h", "w", "3"),
        ("float32", "b", "h", "w"),
    ]
    assert not any(isinstance(n, int) for n in avals[1].shape)
    assert network.platforms == ("cpu", "cuda", "tpu")


@pytest.mark.parametrize(
    "images",
    [np.zeros((1, 0, 4, 3), np.uint8), np.zeros((0, 4, 4, 3), np.uint8), np.zeros((1, 4, 4, 3), np.float32)],
)
def test_no_image_and_images_of_another_type_are_refused(folder: Path, images: np.ndarray):
    with pytest.raises(ValueError, match=r"Expected value >= 1|expected uint8"):
        loaded(folder / "inside.jax").call(images)


def test_a_side_that_cannot_be_resized_exactly_is_refused(folder: Path):
    assert longest_side(NETWORK) == 32767
    assert longest_side(NetworkConfig(scales=(Fraction(1), Fraction(4)))) == 8191
    with pytest.raises(ValueError, match="refining shapes") as caught:
        loaded(folder / "inside.jax").call(np.zeros((1, 1, 32768, 3), np.uint8))
    assert "w <= 32767" in str(caught.value.__cause__)


def test_parameters_beside_are_a_weights_file_and_can_be_exchanged(weights: Weights, folder: Path):
    assert load_weights(folder / "beside.safetensors").digest == weights.digest
    assert load_weights(folder / "beside.safetensors").storage == "float32"
    images = some_images((1, 8, 9))
    halved = networks_map(jax.tree.map(lambda leaf: leaf / 2, weights.params), images)
    assert np.abs(halved - networks_map(weights.params, images)).max() > 0.01
    params = {name: array / 2 for name, array in load_file(folder / "beside.safetensors").items()}
    np.testing.assert_allclose(loaded(folder / "beside.jax").call(params, images), halved, atol=1e-5)


def test_the_description_says_what_it_is_and_names_the_arguments_in_order(weights: Weights, folder: Path):
    inside, beside = (json.loads((folder / f"{name}.json").read_text("utf-8")) for name in PLACEMENTS)
    assert inside["sha256"] == hashlib.sha256((folder / "inside.jax").read_bytes()).hexdigest()
    assert NetworkConfig.from_json(inside["config"]) == NETWORK
    assert (inside["licence"], inside["training_size"], inside["validation"]) == ("CC0-1.0", 16, {"mae": 0.25})
    assert "1 = in focus" in inside["result"]
    assert inside["parameters"] == {"placement": "inside", "sha256": weights.digest}
    assert [inside["call"], beside["call"]] == ["call(images)", "call(parameters, images)"]
    assert beside["parameters"]["file"] == "beside.safetensors"
    arguments = beside["parameters"]["arguments"]
    arrays = load_file(folder / "beside.safetensors")
    assert arguments == {name: f"float32 {list(array.shape)}" for name, array in arrays.items()}
    shapes = [f"float32 {list(aval.shape)}" for aval in loaded(folder / "beside.jax").in_avals[:-1]]
    assert list(arguments.values()) == shapes


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_bytes_are_the_same_again_and_hold_no_path_of_this_machine(
    weights: Weights, folder: Path, tmp_path: Path, placement: Any
):
    gc.collect()
    gc.disable()  # another time of collection than the first one's
    try:
        save_export(tmp_path / "again.jax", weights, params=placement)
        assert not gc.isenabled()
    finally:
        gc.enable()
    data = (tmp_path / "again.jax").read_bytes()
    programs = (
        loaded(path).mlir_module().splitlines() for path in (tmp_path / "again.jax", folder / f"{placement}.jax")
    )
    # Says more than the bytes, and less than all constants.
    assert next((lines for lines in itertools.zip_longest(*programs) if lines[0] != lines[1]), None) is None
    assert data == (folder / f"{placement}.jax").read_bytes()
    assert b".py" not in data


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"platforms": ["gpu"]}, "platforms are one or more of cpu, cuda, rocm, tpu, not gpu"),
        ({"platforms": []}, "not none"),
    ],
)
def test_what_cannot_be_exported_is_refused(weights: Weights, options: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        exported(weights, **options)


def test_for_other_platforms_than_this_one_it_is_written_but_does_not_run_here(weights: Weights):
    network = exported(weights, platforms=["rocm"])
    assert network.platforms == ("rocm",)
    with pytest.raises(ValueError, match="rocm"):
        network.call(some_images((1, 2, 2)))


@pytest.mark.parametrize("there", ["a.jax", "a.json", "a.safetensors"])
def test_no_file_is_replaced_unasked(weights: Weights, tmp_path: Path, there: str):
    (tmp_path / there).write_text("mine")
    with pytest.raises(FileExistsError, match=f"there already: .*{there}"):
        save_export(tmp_path / "a.jax", weights, params="beside")
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"
    written = save_export(tmp_path / "a.jax", weights, params="beside", overwrite=True)
    assert [path.name for path in written] == ["a.jax", "a.json", "a.safetensors"]
    assert loaded(written[0]).out_avals


def test_what_cannot_be_written_whole_is_not_there(weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:10])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save_export(tmp_path / "a.jax", weights)
    assert list(tmp_path.iterdir()) == []


def test_another_ending_is_refused(weights: Weights, tmp_path: Path):
    with pytest.raises(ValueError, match=r"ends in \.jax, not '\.onnx'"):
        save_export(tmp_path / "a.onnx", weights)


def test_without_flatbuffers_the_extra_is_named_and_nothing_written(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ImportError, match=r"pip install 'btbnet_jax\[export\]'"):
        save_export(tmp_path / "new" / "a.jax", weights)
    assert list(tmp_path.iterdir()) == []
