import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from btbnet_jax.checkpoints import Checkpoints
from btbnet_jax.config import NetworkConfig, TrainConfig
from btbnet_jax.digests import digest
from btbnet_jax.initial import initial_params, load_trained, weights_of
from btbnet_jax.network import init_params
from btbnet_jax.storage import Storage
from btbnet_jax.weights import (
    VARIABLE,
    Weights,
    WeightsError,
    find_weights,
    is_weights,
    load_weights,
    save_weights,
)
from tests.small_runs import CONFIG

NETWORK = CONFIG.network
SUMMARY = {"config": CONFIG.to_json(), "step": 6, "validation": {"mae": 0.25}}


@pytest.fixture(scope="module")
def weights() -> Weights:
    params = jax.device_get(init_params(jax.random.key(0), NETWORK))
    return Weights(params, NETWORK, SUMMARY, "CC-BY-4.0")


@pytest.fixture(scope="module")
def path(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(path, weights)
    return path


def leaves(tree: Any) -> dict[str, np.ndarray]:
    return {jax.tree_util.keystr(keys): np.asarray(leaf) for keys, leaf in jax.tree.leaves_with_path(tree)}


def test_what_is_loaded_is_what_was_saved(weights: Weights, path: Path):
    found = load_weights(path)
    assert found[1:] == weights[1:]
    assert found.digest == digest(weights.params)
    for name, array in leaves(weights.params).items():
        np.testing.assert_array_equal(leaves(found.params)[name], array)


@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
def test_half_precision_rounds_kernels_to_the_nearest_and_leaves_biases(
    weights: Weights, tmp_path: Path, storage: Storage
):
    save_weights(tmp_path / "half.safetensors", weights._replace(storage=storage))
    found = load_weights(tmp_path / "half.safetensors")
    for name, array in leaves(weights.params).items():
        expected = array.astype(jnp.dtype(storage)).astype(np.float32) if array.ndim == 4 else array
        np.testing.assert_array_equal(leaves(found.params)[name], expected)
    assert found.storage == storage


def test_8_bits_are_wrong_by_a_step_of_each_output_channel_at_most_and_sums_of_kernels_by_half(
    weights: Weights, tmp_path: Path
):
    save_weights(tmp_path / "int8.safetensors", weights._replace(storage="int8"))
    found = leaves(load_weights(tmp_path / "int8.safetensors").params)
    for name, array in leaves(weights.params).items():
        if array.ndim == 4:
            step = np.abs(array).max(axis=(0, 1, 2)) / 127
            assert (np.abs(found[name] - array) <= step * 1.0001 + 1e-9).all()
            assert (np.abs((found[name] - array).sum(axis=(0, 1))) <= step * 0.501 + 1e-8).all()
            assert (np.abs(found[name] - array) > 0).any() or array.size < 40
        else:
            np.testing.assert_array_equal(found[name], array)


def test_8_bits_take_a_quarter_of_the_room(tmp_path: Path):
    network = dataclasses.replace(NETWORK, width=1 / 8)
    params = jax.device_get(init_params(jax.random.key(0), network))
    sizes = {}
    for storage in ("float32", "float16", "int8"):
        save_weights(tmp_path / f"{storage}.safetensors", Weights(params, network, {}, "", storage))
        sizes[storage] = (tmp_path / f"{storage}.safetensors").stat().st_size
    assert sizes["int8"] < 0.3 * sizes["float32"] < 0.3 * 2.1 * sizes["float16"]


def of_one_tensor(dtype: str, size: int) -> bytes:
    header = json.dumps({"a": {"dtype": dtype, "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


def test_no_byte_can_be_changed_unnoticed(weights: Weights, path: Path, tmp_path: Path):
    data, rng = path.read_bytes(), np.random.default_rng(0)
    header = 8 + int.from_bytes(data[:8], "little")
    places = [*range(8), *rng.integers(8, header, 150), *rng.integers(header, len(data), 50)]
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "damaged.safetensors").write_bytes(damaged)
        with contextlib.suppress(WeightsError):
            found = load_weights(tmp_path / "damaged.safetensors")
            assert (found.digest, found[1:]) == (weights.digest, weights[1:]), "only spelt in another way"


@pytest.mark.parametrize("tenth", range(10))
def test_a_file_cut_short_is_refused(path: Path, tmp_path: Path, tenth: int):
    data = path.read_bytes()
    (tmp_path / "short.safetensors").write_bytes(data[: len(data) * tenth // 10])
    with pytest.raises(WeightsError, match=r"short\.safetensors is no safetensors file, or it is damaged or cut short"):
        load_weights(tmp_path / "short.safetensors")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html><html>", "is a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS"),
        (b"PK\x03\x04" + bytes(100), "is no safetensors file"),
        ((1 << 60).to_bytes(8, "little") + b"{}", "is no safetensors file"),
        (of_one_tensor("F8_E4M3", 4), "is no safetensors file"),  # a type that NumPy has not
        (of_one_tensor("F32", 1 << 60), "is no safetensors file"),
        (b"", "is no safetensors file"),
    ],
)
def test_other_files_are_called_what_they_are(tmp_path: Path, data: bytes, words: str):
    (tmp_path / "other.safetensors").write_bytes(data)
    assert not is_weights(tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=words):
        load_weights(tmp_path / "other.safetensors")


def test_tensors_of_others_are_not_taken_for_weights(tmp_path: Path):
    save_file({"features.0.weight": np.zeros((2, 3, 3, 3), np.float32)}, tmp_path / "vgg.safetensors")
    assert not is_weights(tmp_path / "vgg.safetensors")
    with pytest.raises(WeightsError, match="holds tensors, but not weights of this project"):
        load_weights(tmp_path / "vgg.safetensors")


def test_weights_of_another_network_than_they_describe_are_refused(weights: Weights, tmp_path: Path):
    params = jax.tree.map(lambda leaf: leaf, weights.params)
    del params["rrnet"]["step"]["conv4"]["bias"]
    params["fnet"]["conv1"]["bias"] = np.zeros(99, np.float32)
    save_weights(tmp_path / "wrong.safetensors", weights._replace(params=params))
    with pytest.raises(WeightsError, match="has not the parameters of the network that it describes") as caught:
        load_weights(tmp_path / "wrong.safetensors")
    assert "rrnet/step/conv4/bias: missing, wanted [1]" in str(caught.value)
    assert "fnet/conv1/bias: [99], wanted" in str(caught.value)


def test_numbers_that_are_not_finite_are_not_written(weights: Weights, tmp_path: Path):
    params = jax.tree.map(np.array, weights.params)
    params["fnet"]["conv1"]["bias"][0] = np.nan
    with pytest.raises(ValueError, match=r"fnet/conv1/bias has numbers that are not finite as int8: .* is not written"):
        save_weights(tmp_path / "nan.safetensors", weights._replace(params=params, storage="int8"))
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_a_type_cannot_hold_are_refused_before_a_file_is_written(weights: Weights, tmp_path: Path):
    params = jax.tree.map(np.array, weights.params)
    params["fnet"]["conv1"]["kernel"][0, 0, 0, 0] = 65520  # float16 ends at 65504
    with pytest.raises(ValueError, match="fnet/conv1/kernel has numbers that are not finite as float16"):
        save_weights(tmp_path / "large.safetensors", weights._replace(params=params, storage="float16"))
    assert list(tmp_path.iterdir()) == []
    save_weights(tmp_path / "large.safetensors", weights._replace(params=params, storage="bfloat16"))


@pytest.mark.parametrize("largest", [0.0, 1e-45, 1.9e-43])
def test_8_bits_hold_kernels_of_the_smallest_numbers(weights: Weights, tmp_path: Path, largest: float):
    params = jax.tree.map(np.array, weights.params)
    params["fnet"]["conv1"]["kernel"][:] = np.float32(largest)
    save_weights(tmp_path / "tiny.safetensors", weights._replace(params=params, storage="int8"))
    kernel = load_weights(tmp_path / "tiny.safetensors").params["fnet"]["conv1"]["kernel"]
    assert ((kernel >= 0) & (kernel <= np.float32(largest))).all()


def test_nothing_is_overwritten_unasked(weights: Weights, path: Path):
    before = load_file(path)
    with pytest.raises(FileExistsError, match="is there already"):
        save_weights(path, weights)
    save_weights(path, weights, overwrite=True)
    assert load_file(path).keys() == before.keys()
    with pytest.raises(ValueError, match=r"ends in \.safetensors, not '\.pth'"):
        save_weights(path.with_suffix(".pth"), weights)


def test_weights_are_found_by_path_variable_cache_and_package_in_this_order(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(
        FileNotFoundError, match=r"no weights absent found.*, which have btbnet-small\..*weights convert RUN"
    ):
        find_weights("absent")
    (tmp_path / "btbnet_jax").mkdir()
    for name in ("b", "a"):
        (tmp_path / "btbnet_jax" / f"{name}.safetensors").write_bytes(path.read_bytes())
    assert find_weights() == tmp_path / "btbnet_jax" / "a.safetensors"
    assert find_weights("b") == tmp_path / "btbnet_jax" / "b.safetensors"
    monkeypatch.setenv(VARIABLE, str(path))
    assert find_weights() == path
    monkeypatch.setenv(VARIABLE, "gone.safetensors")  # what was asked for is not replaced by another
    with pytest.raises(FileNotFoundError, match=r"no weights gone\.safetensors \(which BTBNET_WEIGHTS names\) found"):
        find_weights()
    assert find_weights("b") == tmp_path / "btbnet_jax" / "b.safetensors"
    assert find_weights(str(path)) == path


@pytest.fixture(scope="module")
def run(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    record = {"config": CONFIG.to_json(), "validation": {"mae": 0.25}, "next_batch": 6}
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(6, {"params": weights.params}, record)
    return folder


def test_a_run_becomes_a_file_and_the_file_starts_another_run(weights: Weights, run: Path, tmp_path: Path):
    path = tmp_path / "run.safetensors"
    save_weights(path, weights_of(run, licence="CC0-1.0"))
    found = load_weights(path)
    assert (found.licence, found.summary) == ("CC0-1.0", {**SUMMARY})
    trained = load_trained(path)
    assert (trained.config, trained.digest, trained.step) == (CONFIG, digest(weights.params), 6)
    config, params = initial_params(TrainConfig(network=NETWORK, init_from=str(path)))
    assert digest(params) == digest(weights.params)
    assert config.network == NETWORK
    with pytest.raises(ValueError, match="are not those of the network that is configured"):
        initial_params(TrainConfig(init_from=str(path)))


def test_a_weights_file_can_be_stored_anew(weights: Weights, path: Path):
    assert weights_of(path, licence="").licence == weights.licence
    assert weights_of(path, licence="MIT").licence == "MIT"


def test_the_network_of_a_file_is_the_one_that_its_parameters_were_checked_against(weights: Weights, tmp_path: Path):
    summary = {"config": {**CONFIG.to_json(), "network": TrainConfig().network.to_json()}}
    save_weights(tmp_path / "other.safetensors", weights._replace(summary=summary))
    assert load_trained(tmp_path / "other.safetensors").config == CONFIG


def test_weights_without_a_training_are_those_of_their_network(weights: Weights, tmp_path: Path):
    save_weights(tmp_path / "bare.safetensors", weights._replace(summary={}))
    assert load_trained(tmp_path / "bare.safetensors").config == TrainConfig(network=NETWORK)


@pytest.mark.parametrize(
    ("data", "size"), [({"size": 320}, 320), ({"size": 0}, None), ({}, None), ("shi", None), ({"size": "big"}, None)]
)
def test_the_size_of_training_is_known_or_not_whatever_a_summary_holds(data: object, size: int | None):
    assert Weights({}, NetworkConfig(), {"config": {"data": data}}, "").training_size == size
