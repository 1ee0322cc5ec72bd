"""Streams that an attacker, an old Python or a bad disk could have written."""

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from btbnet_jax.pretrained.torch_pickle import StoredTensor, unpickle

DICT = b"ccollections\nOrderedDict\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"ctorch\nFloatStorage\n"


def value(plain: Any) -> bytes:
    """The instructions that leave `plain` on the stack."""
    return pickle.dumps(plain, protocol=2)[2:-1]


def run(instructions: bytes) -> Any:
    """The result, where every storage has room."""
    return unpickle(io.BytesIO(b"\x80\x02" + instructions + b"."), locate=lambda key, count, item_size: bytes)


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_function_in_a_pickle_is_named_and_not_run(tmp_path: Path, protocol: int):
    stream = pickle.dumps({"features.0.weight": Touch(tmp_path / "touched")}, protocol=protocol)
    with pytest.raises(ValueError, match=rf"'{os.mkdir.__module__}\.mkdir'|instruction \w+"):
        unpickle(io.BytesIO(stream))
    assert list(tmp_path.iterdir()) == []
    pickle.loads(stream)
    assert list(tmp_path.iterdir()) == [tmp_path / "touched"]  # So the stream was a real danger.


@pytest.mark.parametrize(
    ("instructions", "refused"),
    [
        (b"cos\nsystem\n" + value(("true",)) + b"R", "'os.system'"),
        (b"cbuiltins\neval\n" + value(("1",)) + b"R", "'builtins.eval'"),
        (b"c__builtin__\neval\n" + value(("1",)) + b"R", "'__builtin__.eval'"),
        (b"\x8c\x02os\x8c\x06system\x93" + value(("true",)) + b"R", "'os.system'"),
        (b"\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93", "'collections.OrderedDict.__init__'"),
        (b"ctorch\nload\n" + value(("x",)) + b"R", "'torch.load'"),
        (b"ctorchvision.models.vgg\nVGG\n)\x81", "'torchvision.models.vgg.VGG'"),
        (b"(" + value("true") + b"ios\nsystem\n", "'os.system'"),
        (b"(cos\nsystem\n" + value("true") + b"o", "'os.system'"),
        (b"(" + DICT + b"o", "OBJ"),
        (b"(icollections\nOrderedDict\n", "'collections.OrderedDict'"),
        (DICT + b")\x81", "NEWOBJ"),
        (DICT + b")}\x92", "NEWOBJ_EX"),
        (b"\x82\x01", "EXT1"),
        (b"Pstorage\n", "PERSID"),
        (b"c" + b"os\nsystem\n" + b"Q", "'os.system'"),
        (DICT + b")R}" + value("__setstate__") + b"cos\nsystem\nsb", "'os.system'"),
        (DICT + value({"__class__": 1}) + b"b", "_Global as a dict"),
        (b"]" + value({"a": 1}) + b"b", "list as a dict"),
        (value("os.system") + b")R", "str as a _Global"),
        (DICT + value(([1, 2],)) + b"R", "pairs"),
        (DICT + value({"a": 1}) + b"R", "dict as a tuple"),
        (b"ctorch\nfloat32\n)R", "calls torch.float32"),
        (b"ctorch._utils\n_rebuild_parameter\n" + value((1, 2, 3)) + b"R", "_rebuild_parameter"),
        (REBUILD + value((1, 0, (1,), (1,))) + b"R", "_rebuild_tensor_v2"),
        (b"}" + value((("a",) * 2,) * 2) + value(1) + b"s", "keys"),
    ],
)
def test_what_no_state_dict_needs_is_refused_by_name(instructions: bytes, refused: str):
    with pytest.raises(ValueError, match=refused):
        run(instructions)


@pytest.mark.parametrize(
    "reference",
    [
        value("storage"),
        value(("storage",)),
        value(("module", None, "a.py", "source")),
        b"(" + value("storage") + value("FloatStorage") + value("0") + value("cpu") + value(4) + b"t",
        b"(" + value("storage") + STORAGE + value(0) + value("cpu") + value(4) + b"t",
        b"(" + value("storage") + STORAGE + value("0") + value("cpu") + value(-4) + b"t",
        b"(" + value("storage") + STORAGE + value("0") + value("cpu") + value(4) + value(("1", 0, 2)) + b"t",
        b"(" + value("storage") + DICT + value("0") + value("cpu") + value(4) + b"t",
    ],
)
def test_a_reference_to_anything_but_a_storage_is_refused(reference: bytes):
    with pytest.raises(ValueError, match="other than the storage of a tensor"):
        run(reference + b"Q")


def tensor(offset: Any, shape: Any, stride: Any) -> Any:
    """What a stream gives for a tensor in a storage of 12 values."""
    reference = b"(" + value("storage") + STORAGE + value("0") + value("cpu") + value(12) + b"tQ"
    arguments = b"(" + reference + value(offset) + value(shape) + value(stride) + value(False) + DICT + b")Rt"
    return run(REBUILD + arguments + b"R")


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (13,), (1,)),
        (12, (1,), (1,)),
        (1, (3, 4), (4, 1)),
        (0, (2, 2), (12, 1)),
        (0, (2, 2), (2**62, 2**62)),
        (0, (1000,), (0,)),
        (0, (2**40, 2**40), (0, 0)),
        (-1, (2,), (1,)),
        (0, (-2, -6), (1, 1)),
        (11, (2,), (-1,)),
        (0, (2, 2), (1,)),
        (0, (1,) * 65, (1,) * 65),
        (0, (True, 2), (1, 1)),
        (0, (2.0,), (1,)),
    ],
)
def test_a_tensor_never_reaches_out_of_its_storage(offset: int, shape: tuple[Any, ...], stride: tuple[Any, ...]):
    with pytest.raises(ValueError, match="a tensor"):
        tensor(offset, shape, stride)


@pytest.mark.parametrize(("offset", "shape", "stride"), [(0, (3, 4), (1, 3)), (11, (1,), (5,)), (12, (0, 9), (9, 1))])
def test_a_tensor_that_fills_its_storage_is_let_through(offset: int, shape: tuple[int, ...], stride: tuple[int, ...]):
    found = tensor(offset, shape, stride)
    assert isinstance(found, StoredTensor)
    assert found.shape == shape


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_come_out_as_they_went_in(protocol: int):
    plain = {"epoch": 90, "lr": 1e-3, "name": "vgg16", "flags": [True, False, None], "betas": (0.9, 0.999), "n": 2**70}
    plain |= {"": (), "one": (1,), "three": (1, 2, 3), "long": list(range(300)), "nested": {"a": {1: -1}}}
    assert unpickle(io.BytesIO(pickle.dumps(plain, protocol=protocol))) == plain


def test_an_ordered_dictionary_of_python_2_is_read():
    assert run(DICT + b"](](U\x01aK\x01e](U\x01bK\x02ee\x85R") == OrderedDict(a=1, b=2)


def test_attributes_of_a_dictionary_are_left_out():
    state = OrderedDict(a=1)
    state.__dict__["_metadata"] = OrderedDict({"": {"version": 1}})
    assert unpickle(io.BytesIO(pickle.dumps(state, protocol=2))) == {"a": 1}


def test_one_pickle_is_read_at_a_time():
    stream = io.BytesIO(pickle.dumps([1], protocol=2) + pickle.dumps({"a": 2}, protocol=2) + b"rest")
    assert (unpickle(stream), unpickle(stream), stream.read()) == ([1], {"a": 2}, b"rest")


@pytest.mark.parametrize(
    "stream", [b"", b"\x80", b"\x80\x02", b".", b"\x80\x02K", b"t.", b"(K\x01u.", b"h\x05.", b"\xff"]
)
def test_a_damaged_pickle_is_a_clear_error(stream: bytes):
    with pytest.raises(ValueError, match=r"damaged|exhausted|unknown|bytes|enough|argument"):
        unpickle(io.BytesIO(stream))
