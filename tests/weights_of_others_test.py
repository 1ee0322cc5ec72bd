"""Files that anybody could have made, with a sha256 that is right: each is refused for what is wrong with it."""

import hashlib
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from btbnet_jax.network import init_params
from btbnet_jax.weights import Weights, WeightsError, load_weights, save_weights
from tests.small_runs import CONFIG

KERNEL, SCALE = "fnet/conv1/kernel", "fnet/conv1/kernel/scale"


@pytest.fixture(scope="module")
def weights() -> Weights:
    params = jax.device_get(init_params(jax.random.key(0), CONFIG.network))
    return Weights(params, CONFIG.network, {"config": CONFIG.to_json(), "step": 6}, "CC-BY-4.0")


def signed(
    path: Path,
    weights: Weights,
    tensors: dict[str, np.ndarray | None],
    metadata: dict[str, str] | None = None,
) -> None:
    """Writes a file with a right sha256 that differs from that of `weights`: None leaves a tensor out."""
    save_weights(path, weights, overwrite=True)
    with safe_open(path, framework="numpy") as file:
        described = dict(file.metadata()) | (metadata or {})
    changed = {name: array for name, array in (load_file(path) | tensors).items() if array is not None}
    del described["sha256"]
    text = json.dumps(dict(sorted(described.items()))).encode()
    for name, array in sorted(changed.items()):
        text += f"{name} {array.dtype} {array.shape}\n".encode() + array.tobytes()
    save_file(changed, path, described | {"sha256": hashlib.sha256(text).hexdigest()})


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({}, ""),
        ({"extra": np.zeros(2, np.float32)}, r"extra: \[2\], wanted none"),
        ({"absent/scale": np.zeros(2, np.float32)}, r"absent/scale: \[2\], wanted none"),
        ({SCALE: None}, rf"{SCALE}: missing, wanted \[2\]"),
        ({SCALE: np.ones(1, np.float32)}, rf"{SCALE}: \[1\], wanted \[2\]"),
        ({SCALE: np.ones(2, np.float64)}, f"{SCALE}: float64, wanted float32"),
        ({SCALE: np.array([1, np.inf], np.float32)}, f"not finite in {KERNEL}"),
        ({"fnet/conv1/bias": np.array([np.nan, 0], np.float32)}, "not finite in fnet/conv1/bias"),
        ({KERNEL: np.zeros((3, 3, 4, 2), np.float32)}, f"{KERNEL}: float32, wanted int8"),
        ({KERNEL: np.zeros((3, 3, 4, 2), np.int64)}, f"{KERNEL}: int64, wanted int8"),
        ({KERNEL: np.zeros((3, 3, 4, 1), np.int8)}, rf"{KERNEL}: \[3, 3, 4, 1\], wanted \[3, 3, 4, 2\]"),
    ],
)
def test_tensors_that_are_not_as_they_would_be_stored_are_refused_for_all_their_sha256(
    weights: Weights, tmp_path: Path, tensors: dict[str, np.ndarray | None], words: str
):
    signed(tmp_path / "odd.safetensors", weights._replace(storage="int8"), tensors)
    if not words:
        load_weights(tmp_path / "odd.safetensors")
    else:
        with pytest.raises(WeightsError, match=words):
            load_weights(tmp_path / "odd.safetensors")


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"version": "2"}, "is of version 2, and 1 is known here: update btbnet_jax"),
        ({"format": "pt"}, "holds tensors, but not weights of this project"),
        ({"storage": "int4"}, "stored as 'int4', not one of float32, float16, bfloat16, int8"),
        ({"storage": "int8"}, "scale: missing"),
        ({"config": "{"}, "its description cannot be read"),
        ({"config": "[" * 100_000}, "its description cannot be read"),
        ({"config": "3"}, "names and values were expected, not 3"),
        ({"config": '["scales"]'}, r"names and values were expected, not \['scales'\]"),
        ({"config": '{"depth": 3}'}, r"NetworkConfig has no field \['depth'\]"),
        ({"config": '{"width": 1e999}'}, "width is finite"),
        ({"config": '{"scales": ["1e999999999"]}'}, "NetworkConfig.scales is a fraction"),
        ({"config": json.dumps({"scales": ["1"] * 100_000})}, "100000 streams, more than 64"),
        ({"config": json.dumps({"num_steps": 10**18, "width": 4})}, "has not the parameters of the network that it"),
        ({"summary": "[]"}, r"names and values were expected, not \[\]"),
        ({"summary": '{"config": 3}'}, "names and values were expected, not 3"),
    ],
)
def test_descriptions_that_cannot_be_are_refused_for_all_their_sha256(
    weights: Weights, tmp_path: Path, metadata: dict[str, str], words: str
):
    signed(tmp_path / "odd.safetensors", weights, {}, metadata)
    with pytest.raises(WeightsError, match=words) as caught:
        load_weights(tmp_path / "odd.safetensors")
    assert "odd.safetensors" in str(caught.value)


def test_a_file_without_a_sha256_is_refused(tmp_path: Path):
    save_file({}, tmp_path / "bare.safetensors", {"format": "btbnet_jax weights", "version": "1"})
    with pytest.raises(WeightsError, match="is damaged: its sha256 is not that recorded"):
        load_weights(tmp_path / "bare.safetensors")
