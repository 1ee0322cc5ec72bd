"""The pickles inside PyTorch's files, read without PyTorch and without running anything.

A pickle is a program for a small stack machine, and Python's own machine lets it call any function.  The one
here knows only the instructions and the names that a ``state_dict`` is written with.  It calls nothing: each
name stands for a value made in this module, and any other name or instruction is refused.

Source: PyTorch's ``torch/_weights_only_unpickler.py`` for the instructions that occur, and the standard
library's ``pickletools`` for what they mean.
"""

import dataclasses
import functools
import io
import math
import pickletools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

Locate = Callable[[str, int, int], Callable[[], bytes]]
"""From the key of a storage, the count and the size of its values, to what reads them; ValueError if it can't."""

_Value = TypeVar("_Value")

_KINDS = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
    "UntypedStorage": "u1",
}
_DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
_ORDERED_DICT = "collections.OrderedDict"
_REBUILD_TENSOR = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
_REBUILD_PARAMETER = "torch._utils._rebuild_parameter"
_ADMITTED = {_ORDERED_DICT, *_REBUILD_TENSOR, _REBUILD_PARAMETER, *(f"torch.{dtype}" for dtype in _DTYPES)}
_ADMITTED |= {f"{module}.{kind}" for module in ("torch", "torch.cuda", "torch.storage") for kind in _KINDS}

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
_STRINGS = ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING")


@dataclasses.dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor in a file.

    Attributes:
      shape: as the file says.
      read: returns the values; bfloat16, which NumPy lacks, as float32.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class _Global:
    """A name that a pickle asked for, and that is admitted."""

    name: str


@dataclasses.dataclass(frozen=True, eq=False)
class _Storage:
    """The values behind one or more tensors."""

    kind: str
    count: int
    read: Callable[[], bytes]


def unpickle(stream: io.BytesIO | io.BufferedReader, *, locate: Locate | None = None) -> Any:
    """The dictionaries, lists, tuples, numbers, strings and `StoredTensor`s of the pickle that comes next.

    Args:
      stream: to read from; it is left behind the pickle's end.
      locate: finds the storages of its tensors; None where it may have none.

    Raises:
      ValueError: a pickle that is damaged or asks for anything else; nothing of it was run.
    """
    machine = _Machine(locate)
    try:
        with warnings.catch_warnings():
            # Of escapes that a damaged string has and Python's do not.
            warnings.simplefilter("ignore", DeprecationWarning)
            for opcode, arg, _ in pickletools.genops(stream):
                machine.step(opcode.name, arg)
        return machine.pop()
    except (IndexError, KeyError, MemoryError, OverflowError) as error:  # The last two: a string of 2^60 bytes.
        raise ValueError(f"a damaged pickle: {type(error).__name__} {error}") from error


class _Machine:
    """The stack machine: `step` for each instruction, then `pop` for the result."""

    def __init__(self, locate: Locate | None) -> None:
        self._locate = locate
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[Any, Any] = {}

    def pop(self) -> Any:
        return self._stack.pop()

    def step(self, name: str, arg: Any) -> None:
        stack, memo = self._stack, self._memo
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case _ if name in _NUMBERS or name in _STRINGS:
                stack.append(arg)
            case _ if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "MARK":
                self._marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(self._pop_to(self._marks.pop())))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._pop_to(len(stack) - int(name[-1]))))
            case "APPEND" | "APPENDS":
                items = self._pop_to(self._marks.pop() if name == "APPENDS" else len(stack) - 1)
                _expect(list, stack[-1]).extend(items)
            case "SETITEM" | "SETITEMS":
                items = self._pop_to(self._marks.pop() if name == "SETITEMS" else len(stack) - 2)
                _expect(dict, stack[-1]).update(_dictionary(list(zip(items[::2], items[1::2], strict=True))))
            case "BINPUT" | "LONG_BINPUT":
                memo[arg] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[arg])
            case "GLOBAL":
                stack.append(_admitted(arg.replace(" ", ".")))
            case "STACK_GLOBAL":
                stack.append(_admitted(".".join(_expect(str, part) for part in self._pop_to(len(stack) - 2))))
            case "INST":
                raise _refusal(arg.replace(" ", "."))
            case "BINPERSID":
                stack.append(self._storage(stack.pop()))
            case "REDUCE":
                function, args = self._pop_to(len(stack) - 2)
                stack.append(self._build(_expect(_Global, function).name, _expect(tuple, args)))
            case "BUILD":  # Attributes of a dictionary, such as `_metadata` with the versions of modules.
                stack.pop()
                _expect(dict, stack[-1])
            case _:
                raise ValueError(f"its pickle has the instruction {name}, which a state_dict does not need: refused")

    def _pop_to(self, start: int) -> list[Any]:
        """The items from `start` on, taken off the stack."""
        if not 0 <= start <= len(self._stack):
            raise IndexError("nothing left on the stack")
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _build(self, name: str, args: tuple[Any, ...]) -> Any:
        """What PyTorch's `name` returns for `args`, as a value of ours."""
        match args:
            case () if name == _ORDERED_DICT:
                return {}
            case (list(pairs),) if name == _ORDERED_DICT:  # Python 2's.
                return _dictionary(pairs)
            case (_Storage() as storage, int(offset), tuple(shape), tuple(stride), *_) if name in _REBUILD_TENSOR:
                _check_bounds(storage, offset, shape, stride)
                return StoredTensor(shape, functools.partial(_read, storage, offset, shape, stride))
            case (StoredTensor() as tensor, *_) if name == _REBUILD_PARAMETER:
                return tensor
        raise ValueError(f"its pickle calls {name} with arguments of unexpected kinds: refused")

    def _storage(self, reference: Any) -> _Storage:
        """The storage that a persistent id refers to."""
        match reference:
            case ("storage", _Global(name=name), str(key), str(), int(count), *view):
                kind = name.rpartition(".")[2]
                if self._locate is not None and kind in _KINDS and count >= 0 and view in ([], [None]):
                    read = self._locate(key, count, np.dtype(_KINDS[kind]).itemsize)
                    return _Storage(kind, count, read)
        raise ValueError("its pickle refers to something other than the storage of a tensor: refused")


def _check_bounds(storage: _Storage, offset: int, shape: tuple[Any, ...], stride: tuple[Any, ...]) -> None:
    """Raises ValueError for a tensor that reaches out of its storage, or repeats its values without end."""
    if len(shape) != len(stride) or len(shape) > 8:
        raise ValueError(f"a tensor with {len(shape)} sizes and {len(stride)} strides; expected as many, at most 8")
    if any(type(number) is not int or number < 0 for number in (offset, *shape, *stride)):
        raise ValueError("a tensor whose shape, stride and offset are not all integers of 0 or more")
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if math.prod(shape) > storage.count or (0 not in shape and last >= storage.count):
        described = f"a tensor of shape {shape}, stride {stride} and offset {offset}"
        raise ValueError(f"{described} does not fit into its storage of {storage.count} values")


def _read(storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> np.ndarray:
    """The tensor as a view of its storage; NumPy checks the bounds once more."""
    dtype = np.dtype(_KINDS[storage.kind])
    strides = tuple(step * dtype.itemsize for step in stride)
    array = np.ndarray(shape, dtype, storage.read(), offset * dtype.itemsize, strides)
    if storage.kind == "BFloat16Storage":  # The upper half of a float32.
        return (array.astype("<u4") << np.uint32(16)).view("<f4")
    return array


def _dictionary(pairs: list[Any]) -> dict[str | int, Any]:
    """Pairs as a dictionary.  Other keys are refused, since hashing a nested tuple can take for ever."""
    if any(not isinstance(pair, (list, tuple)) or len(pair) != 2 for pair in pairs):
        raise ValueError("a damaged pickle: an ordered dictionary is not made of pairs")
    if any(not isinstance(key, (str, int)) for key, _ in pairs):
        raise ValueError("its pickle has a dictionary whose keys are neither strings nor integers: refused")
    return dict(pairs)


def _expect(kind: type[_Value], value: Any) -> _Value:
    if not isinstance(value, kind):
        raise ValueError(f"its pickle uses a {type(value).__name__} as a {kind.__name__}: refused")
    return value


def _admitted(name: str) -> _Global:
    if name not in _ADMITTED:
        raise _refusal(name)
    return _Global(name)


def _refusal(name: str) -> ValueError:
    return ValueError(
        f"its pickle asks for {name!r}, which a state_dict does not need: refused, and nothing was run. "
        "If you trust whoever made the file, load it in PyTorch and save its state_dict() alone"
    )
