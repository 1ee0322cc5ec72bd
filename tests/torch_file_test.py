"""Both containers of `torch.save`, whole and damaged, and what PyTorch itself writes."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from btbnet_jax.pretrained.torch_file import read_state_dict
from tests.torch_writer import LEGACY_HEAD, Storage, Tensor, state_dict, tensor, write_legacy, write_zip

Write = Callable[..., Path]
both_containers = pytest.mark.parametrize("write", [write_zip, write_legacy])


def read(path: Path) -> dict[str, np.ndarray]:
    return {name: stored.read() for name, stored in read_state_dict(path).items()}


@both_containers
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
def test_tensors_come_out_as_they_went_in(tmp_path: Path, write: Write, dtype: str):
    tensors = {"a": np.arange(24).reshape(2, 3, 4).astype(dtype), "b": np.array(7, dtype)}
    found = read(write(tmp_path / "a.pth", state_dict(tensors)))
    assert list(found) == ["a", "b"]
    for name, values in tensors.items():
        assert found[name].dtype == dtype
        np.testing.assert_array_equal(found[name], values)


@both_containers
def test_bfloat16_comes_out_as_float32(tmp_path: Path, write: Write):
    bits = np.array([0x3F80, 0xC000, 0x3E20, 0x7F80], np.uint16)  # 1, -2, 0.15625 and infinity in bfloat16.
    found = read(write(tmp_path / "a.pth", state_dict({"a": bits})))
    np.testing.assert_array_equal(found["a"], np.array([1, -2, 0.15625, np.inf], np.float32))


@both_containers
def test_tensors_may_be_views_of_one_storage(tmp_path: Path, write: Write):
    storage = Storage(np.arange(12, dtype=np.float32))
    views = {"transposed": Tensor(storage, 0, (4, 3), (1, 4)), "column": Tensor(storage, 2, (3,), (4,))}
    found = read(write(tmp_path / "a.pth", views))
    np.testing.assert_array_equal(found["transposed"], np.arange(12).reshape(3, 4).T)
    np.testing.assert_array_equal(found["column"], [2, 6, 10])


@both_containers
@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_the_state_dict_of_a_training_checkpoint_is_found(tmp_path: Path, write: Write, key: str):
    state = state_dict({"a": np.ones(2, np.float32)})
    checkpoint = {"epoch": 90, "best": tensor(np.zeros(1, np.float32)), key: state, "optimizer": {"param_groups": []}}
    assert list(read(write(tmp_path / "a.pth", checkpoint))) == ["a"]


@both_containers
@pytest.mark.parametrize("value", [{}, [], "weights", {"lr": 0.1}, tensor(np.ones(3, np.float32))])
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, write: Write, value: object):
    with pytest.raises(ValueError, match="expected a state_dict"):
        read(write(tmp_path / "a.pth", value))


@both_containers
def test_a_function_in_a_file_is_named_and_not_run(tmp_path: Path, write: Write):
    stream = (
        b"\x80\x02c"
        + os.mkdir.__module__.encode()
        + b"\nmkdir\n"
        + pickle.dumps((str(tmp_path / "made"),), 2)[2:-1]
        + b"R."
    )
    with pytest.raises(ValueError, match=r"mkdir'.*nothing was run"):
        read(write(tmp_path / "a.pth", {}, stream=stream))
    assert not (tmp_path / "made").exists()
    pickle.loads(stream)
    assert (tmp_path / "made").exists()  # So the stream was a real danger.


@both_containers
@pytest.mark.parametrize("count", [5, 2**31 - 1, 2**62, -1])
def test_a_storage_has_as_many_values_as_it_says(tmp_path: Path, write: Write, count: int):
    storage = Storage(np.ones(4, np.float32), count=count)
    with pytest.raises(ValueError, match=r"storage|beyond"):
        read(write(tmp_path / "a.pth", {"a": Tensor(storage, 0, (1,), (1,))}))


@both_containers
def test_a_file_that_is_cut_short_anywhere_is_a_clear_error(tmp_path: Path, write: Write):
    path = write(tmp_path / "a.pth", state_dict({"a": np.ones((2, 3), np.float32)}))
    content = path.read_bytes()
    for length in range(0, len(content), 3):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"\w"):
            read(path)


@both_containers
def test_a_flipped_bit_gives_tensors_or_a_clear_error(tmp_path: Path, write: Write):
    path = write(tmp_path / "a.pth", state_dict({"a": np.ones((2, 3), np.float32)}))
    content = path.read_bytes()
    for position in range(0, len(content), 3):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1 << position % 8]) + content[position + 1 :])
        try:
            found = read(path)
        except ValueError:
            continue
        assert all(isinstance(values, np.ndarray) for values in found.values())


def test_a_zip_protects_its_values(tmp_path: Path):
    path = write_zip(tmp_path / "a.pth", state_dict({"a": np.full(4, 1.5, np.float32)}))
    values = np.full(4, 1.5, np.float32).tobytes()
    path.write_bytes(path.read_bytes().replace(values, values[:-1] + b"\x00"))
    with pytest.raises(ValueError, match=r"damaged zip.*CRC"):
        read(path)


def test_a_compressed_zip_is_refused_before_it_unfolds(tmp_path: Path):
    zeros = state_dict({"a": np.zeros(10**6, np.float32)})
    with pytest.raises(ValueError, match="compressed or larger than the file"):
        read(write_zip(tmp_path / "a.pth", zeros, compression=zipfile.ZIP_DEFLATED))


def test_a_big_endian_zip_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="big-endian"):
        read(write_zip(tmp_path / "a.pth", state_dict({"a": np.ones(2, np.float32)}), byteorder=b"big"))


def test_another_zip_is_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("photo.jpg", b"x")
    with pytest.raises(ValueError, match=r"not one of PyTorch's.*photo\.jpg"):
        read(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ([{"weights": 1}], "not one that torch.save wrote"),
        ([LEGACY_HEAD[0], 1002, LEGACY_HEAD[2]], "protocol 1001"),
        ([LEGACY_HEAD[0], 1001, {"little_endian": False}], "little-endian"),
        ([*LEGACY_HEAD, {}, ["0"]], "storages are not those"),
        ([*LEGACY_HEAD, {}, "0"], "storages are not those"),
        ([*LEGACY_HEAD, {}, [[]]], "storages are not those"),
    ],
)
def test_another_stream_is_refused(tmp_path: Path, head: list[Any], words: str):
    stream = io.BytesIO()
    for part in head:
        pickle.dump(part, stream, protocol=2)
    (tmp_path / "a.pth").write_bytes(stream.getvalue())
    with pytest.raises(ValueError, match=words):
        read(tmp_path / "a.pth")


@pytest.mark.parametrize("as_zip", [True, False])
def test_what_pytorch_writes_is_read(tmp_path: Path, as_zip: bool):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; its files are also made without it")
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.BatchNorm2d(4))
    state = layers.state_dict()
    shared = torch.arange(12.0).reshape(3, 4)
    state |= {
        "half": shared.half(),
        "bfloat16": shared.bfloat16(),
        "double": shared.double() / 3,
        "long": shared.long(),
    }
    state |= {"transposed": shared.T, "column": shared[:, 1], "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3)}
    state |= {"parameter": torch.nn.Parameter(shared), "same": shared}
    path = tmp_path / "a.pth"
    torch.save({"state_dict": state, "epoch": 3, "dtype": torch.float32}, path, _use_new_zipfile_serialization=as_zip)
    found = read(path)
    assert list(found) == list(state)
    for name, values in state.items():
        np.testing.assert_array_equal(found[name], values.detach().float() if name == "bfloat16" else values.detach())
