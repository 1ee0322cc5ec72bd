"""Files as `torch.save` writes them, without PyTorch."""

import dataclasses
import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

LEGACY_HEAD = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
_KINDS = {"float64": "Double", "float32": "Float", "float16": "Half", "uint16": "BFloat16", "int64": "Long"}


class Storage:
    """Values in a row; uint16 stands for the bits of bfloat16."""

    def __init__(self, values: np.ndarray, *, count: int | None = None) -> None:
        self.kind = f"{_KINDS[values.dtype.name]}Storage"
        self.content = values.tobytes()
        self.count = values.size if count is None else count


@dataclasses.dataclass
class Tensor:
    storage: Storage
    offset: Any
    shape: Any
    stride: Any


def tensor(values: np.ndarray) -> Tensor:
    """A tensor with a storage of its own."""
    return Tensor(Storage(values), 0, values.shape, tuple(step // values.itemsize for step in values.strides))


class _Pickler(pickle.Pickler):
    """Has names of PyTorch in the stream where there are objects of ours."""

    def __init__(self, file: io.BytesIO, modules: Mapping[str, types.ModuleType], view: tuple[None, ...]) -> None:
        super().__init__(file, protocol=2)
        self.storages: list[Storage] = []
        self._modules, self._view = modules, view

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Storage):
            return None
        if obj not in self.storages:
            self.storages.append(obj)
        kind = getattr(self._modules["torch"], obj.kind)
        return ("storage", kind, str(self.storages.index(obj)), "cpu", obj.count, *self._view)

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, Tensor):
            return NotImplemented
        args = (obj.storage, obj.offset, obj.shape, obj.stride, False, OrderedDict())
        return self._modules["torch._utils"]._rebuild_tensor_v2, args


def _modules() -> dict[str, types.ModuleType]:
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in _KINDS.values():
        setattr(torch, f"{kind}Storage", type(f"{kind}Storage", (), {"__module__": "torch"}))

    def rebuild() -> None: ...

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils.__dict__["_rebuild_tensor_v2"] = rebuild
    return {"torch": torch, "torch._utils": utils}


def _pickled(value: object, view: tuple[None, ...]) -> tuple[bytes, dict[str, Storage]]:
    """The stream, and the storages that it refers to."""
    modules, stream = _modules(), io.BytesIO()
    with mock.patch.dict(sys.modules, modules):
        pickler = _Pickler(stream, modules, view)
        pickler.dump(value)
    return stream.getvalue(), {str(key): storage for key, storage in enumerate(pickler.storages)}


def state_dict(tensors: Mapping[str, np.ndarray]) -> OrderedDict[str, Tensor]:
    """As PyTorch has it, with the versions of the modules as an attribute."""
    state = OrderedDict((name, tensor(values)) for name, values in tensors.items())
    state.__dict__["_metadata"] = OrderedDict({"": {"version": 1}})
    return state


def write_zip(
    path: Path,
    value: object,
    *,
    stream: bytes | None = None,
    byteorder: bytes = b"little",
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """The container of PyTorch 1.6 and later; `stream` takes the place of the pickle."""
    pickled, storages = _pickled(value, ())
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("vgg16/data.pkl", pickled if stream is None else stream)
        archive.writestr("vgg16/byteorder", byteorder)
        for key, storage in storages.items():
            archive.writestr(f"vgg16/data/{key}", storage.content)
        archive.writestr("vgg16/version", b"3\n")
    return path


def write_legacy(path: Path, value: object, *, stream: bytes | None = None) -> Path:
    """The container before it."""
    pickled, storages = _pickled(value, (None,))
    with path.open("wb") as file:
        for part in LEGACY_HEAD:
            pickle.dump(part, file, protocol=2)
        file.write(pickled if stream is None else stream)
        pickle.dump(sorted(storages), file, protocol=2)
        for key in sorted(storages):
            file.write(storages[key].count.to_bytes(8, "little", signed=True))
            file.write(storages[key].content)
    return path
