"""Lists of names: one example's name a line."""

import re
from collections.abc import Collection, Iterable
from importlib import resources
from pathlib import Path

from btbnet_jax.images import SUFFIXES
from btbnet_jax.sources.checks import SourceError, listed


def committed_names(name: str) -> tuple[str, ...]:
    """Returns a list that comes with this package, such as ``shi_test100`` or ``shi_valid60``."""
    return tuple(resources.files("btbnet_jax.sources").joinpath("lists", f"{name}.txt").read_text("utf-8").split())


def read_names(path: Path) -> tuple[str, ...]:
    """Returns the names in a text file; suffixes of images, empty lines and lines with # are dropped.

    Raises:
      SourceError: no such file, no name in it, or a name twice.
    """
    if not path.is_file():
        raise SourceError(f"{path} is not a file", ["a list of names has one name a line"])
    lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    names = [_without_suffix(line) for line in lines if line and not line.startswith("#")]
    if not names:
        raise SourceError(f"{path} holds no name", ["a list of names has one name a line"])
    if twice := {name for name in names if names.count(name) > 1}:
        raise SourceError(f"{path} names examples twice", [listed(twice)])
    return tuple(names)


_MASK_WORDS = "mask|masks|gt|label|labels|seg|segmentation|matte|groundtruth|ground_truth"
_WORDS = f"{_MASK_WORDS}|image|img|source|src|rgb|photo"
_LAST_WORDS = "map|focus|focus16|focusmap|focus_map|finalmap|dbd|sal|saliency|pred|prediction|result|res|out|output"
_WORD_BEFORE = re.compile(rf"^(?:{_WORDS})[-_. ]", re.IGNORECASE)
_WORD_AFTER = re.compile(rf"[-_. ](?:{_WORDS}|{_LAST_WORDS})$", re.IGNORECASE)
_MASK_WORD = re.compile(rf"^(?:{_MASK_WORDS})[-_. ]|[-_. ](?:{_MASK_WORDS})$", re.IGNORECASE)


def bare_name(stem: str) -> str:
    """Returns the name of a file without a word like ``_mask``, ``gt-`` or ``_FinalMap`` that says what it holds."""
    return _WORD_BEFORE.sub("", _WORD_AFTER.sub("", stem))


def image_name(stem: str) -> str:
    """Returns what the image of a mask is called: as the mask, without a word that says that it is one."""
    return _MASK_WORD.sub("", stem)


def candidates(names: Iterable[str], stems: Collection[str]) -> dict[str, list[str]]:
    """Returns for each name the stems of files that could be of it: its own, else those with a word around it."""
    by_name: dict[str, list[str]] = {}
    for stem in stems:
        for name in {bare_name(stem), _WORD_AFTER.sub("", stem), _WORD_BEFORE.sub("", stem)}:
            by_name.setdefault(name, []).append(stem)
    return {name: [name] if name in stems else by_name.get(name) or by_name.get(bare_name(name), []) for name in names}


def _without_suffix(line: str) -> str:
    return line[: -len(Path(line).suffix)] if Path(line).suffix.lower() in SUFFIXES else line
