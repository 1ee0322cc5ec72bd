"""What all configurations have in common: fields are checked, written to JSON, read from it and compared."""

import contextlib
import dataclasses
import math
import typing
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal, TypeVar

_Config = TypeVar("_Config", bound="Config")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """A dataclass of settings, to and from plain JSON values."""

    def __post_init__(self) -> None:
        for name, hint in typing.get_type_hints(type(self)).items():
            value = getattr(self, name)
            if typing.get_origin(hint) is Literal and value not in typing.get_args(hint):
                choices = ", ".join(repr(choice) for choice in typing.get_args(hint))
                raise ValueError(f"{name} is one of {choices}, not {value!r}")
            numbers = value if isinstance(value, tuple) else (value,)
            if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
                raise ValueError(f"{name} is finite, not {value}")

    def to_json(self) -> dict[str, Any]:
        """Returns nested dictionaries of strings, numbers, booleans, lists and None."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_json(cls: type[_Config], values: Mapping[str, Any]) -> _Config:
        """Returns the configuration that `to_json` wrote; fields that are absent keep their defaults.

        Raises:
          ValueError: a field that does not exist, or a value that is not of its kind.
        """
        hints = typing.get_type_hints(cls)
        if unknown := sorted(set(values) - set(hints)):
            raise ValueError(f"{cls.__name__} has no field {unknown}; it has {sorted(hints)}")
        return cls(**{name: _typed(hints[name], value, f"{cls.__name__}.{name}") for name, value in values.items()})


def differences(old: Config, new: Config) -> list[str]:
    """The fields in which two configurations of one kind differ, as "path: old -> new"."""
    return _differences(old.to_json(), new.to_json(), "")


def _differences(old: Any, new: Any, path: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for name in sorted(old.keys() | new.keys())
            for line in _differences(old.get(name), new.get(name), f"{path}.{name}" if path else name)
        ]
    return [] if old == new else [f"{path}: {old} -> {new}"]


def _plain(value: Any) -> Any:
    match value:
        case Config():
            return value.to_json()
        case tuple():
            return [_plain(item) for item in value]
        case Fraction():
            return str(value)
        case _:
            return value


def _typed(hint: Any, value: Any, name: str) -> Any:
    """The JSON `value` of the field `name` as `hint` wants it; choices are checked by the class itself."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = args[:1] * len(value) if args[-1] is Ellipsis else args
        if len(kinds) == len(value):
            return tuple(_typed(kind, item, name) for kind, item in zip(kinds, value, strict=True))
    elif hint is Fraction and isinstance(value, (str, int)) and "e" not in str(value).lower():  # 1e999999999 never ends
        with contextlib.suppress(ValueError, ZeroDivisionError):
            return Fraction(value)
    elif isinstance(hint, type) and issubclass(hint, Config) and isinstance(value, Mapping):
        return hint.from_json(value)
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    kinds = {Fraction: "a fraction such as 4/5", float: "a number", int: "a whole number", bool: "true or false"}
    kind = kinds.get(hint, f"of type {getattr(hint, '__name__', hint)}")
    raise ValueError(f"{name} is {kind}, not {value!r}")
