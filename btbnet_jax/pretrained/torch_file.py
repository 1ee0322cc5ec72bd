"""The files that ``torch.save`` writes, as tensors by name."""

import functools
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from btbnet_jax.pretrained.torch_pickle import StoredTensor, unpickle

ZIP_START = b"PK\x03\x04"
PICKLE_START = b"\x80"
"""How the two containers begin."""

_DAMAGED_ZIP = (zipfile.BadZipFile, EOFError, OSError, RuntimeError)
"""What `zipfile` raises where a zip contradicts itself."""

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def read_state_dict(path: Path) -> dict[str, StoredTensor]:
    """The tensors, by name, of the ``state_dict`` in a file that ``torch.save`` wrote.

    Both containers are read: the zip of PyTorch 1.6 and later, and the stream of pickles before it.  A
    training checkpoint that holds the dictionary under "state_dict", "model_state_dict" or "model" will do.

    Raises:
      ValueError: a file that is damaged, is something else, or asks for more than tensors.

    Source: PyTorch's ``torch/serialization.py``.
    """
    with path.open("rb") as file:
        is_zip = file.read(4) == ZIP_START
    tree = _read_zip(path) if is_zip else _read_legacy(path)
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(tree, dict) and isinstance(tree.get(key), dict):
            tree = tree[key]
    items = tree.items() if isinstance(tree, dict) else ()
    tensors = {str(name): value for name, value in items if isinstance(value, StoredTensor)}
    if not tensors:
        raise ValueError(f"expected a state_dict, a dictionary of tensors; got a {type(tree).__name__} without any")
    return tensors


def _read_zip(path: Path) -> Any:
    """What ``<folder>/data.pkl`` holds; its storages are ``<folder>/data/<key>``."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
    except _DAMAGED_ZIP as error:
        raise ValueError(f"a zip that is damaged or cut short ({error}): fetch it again") from error
    pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"a zip, but not one of PyTorch's: it has {len(pickles)} data.pkl and {list(entries)[:5]}")
    folder = pickles[0].removesuffix("data.pkl")
    byte_order = f"{folder}byteorder"
    if byte_order in entries and _read_entry(path, entries[byte_order]) != b"little":
        raise ValueError("its tensors are big-endian, which is not supported")

    def locate(key: str, count: int, item_size: int) -> Callable[[], bytes]:
        entry = entries.get(f"{folder}data/{key}")
        if entry is None or entry.file_size != count * item_size:
            found = f"{entry.file_size} bytes" if entry else "no entry"
            raise ValueError(f"storage {key!r} should have {count * item_size} bytes, the zip has {found} for it")
        return functools.partial(_read_entry, path, entry)

    return unpickle(io.BytesIO(_read_entry(path, entries[pickles[0]])), locate=locate)


def _read_entry(path: Path, entry: zipfile.ZipInfo) -> bytes:
    """The bytes of one entry of a zip, never more than the file has."""
    if entry.compress_type != zipfile.ZIP_STORED or not entry.file_size == entry.compress_size <= path.stat().st_size:
        raise ValueError(f"its entry {entry.filename!r} is compressed or larger than the file; PyTorch's are neither")
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(entry)
    except _DAMAGED_ZIP as error:
        raise ValueError(f"a damaged zip: {entry.filename!r}: {error}") from error


def _read_legacy(path: Path) -> Any:
    """The object in the stream: magic number, protocol, system, object, keys of its storages, their values."""
    size = path.stat().st_size
    sizes: dict[str, tuple[int, int]] = {}
    positions: dict[str, int] = {}

    def locate(key: str, count: int, item_size: int) -> Callable[[], bytes]:
        if sizes.setdefault(key, (count, item_size)) != (count, item_size) or count * item_size > size:
            raise ValueError(f"storage {key!r} of {count} values contradicts itself or is larger than the file")
        return lambda: _read_at(path, positions[key], count * item_size)

    with path.open("rb") as file:
        if unpickle(file) != _LEGACY_MAGIC:
            raise ValueError("a pickle, but not one that torch.save wrote")
        protocol, system = unpickle(file), unpickle(file)
        if protocol != _LEGACY_PROTOCOL or not isinstance(system, dict) or system.get("little_endian") is not True:
            raise ValueError(f"expected PyTorch's protocol {_LEGACY_PROTOCOL} and little-endian tensors")
        tree = unpickle(file, locate=locate)
        keys = unpickle(file)
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(sizes):
            raise ValueError(f"its {len(sizes)} storages are not those that it lists")
        for key in keys:
            count, item_size = sizes[key]
            if int.from_bytes(file.read(8), "little", signed=True) != count:
                raise ValueError(f"storage {key!r} does not begin with its {count} values: damaged or cut short")
            positions[key] = file.tell()
            if file.seek(count * item_size, os.SEEK_CUR) > size:
                raise ValueError(f"cut short: storage {key!r} ends after byte {file.tell()}, the file at {size}")
    return tree


def _read_at(path: Path, position: int, num_bytes: int) -> bytes:
    with path.open("rb") as file:
        file.seek(position)
        return file.read(num_bytes)
