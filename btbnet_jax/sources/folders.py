"""Looking for the files of a data set in folders."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from btbnet_jax.images import SUFFIXES
from btbnet_jax.sources.checks import listed


def is_image_file(path: Path) -> bool:
    """Whether a file's name is an image's; hidden files, of which macOS leaves many, are not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and "__MACOSX" not in path.parts


def images_by_stem(folder: Path, *, pattern: str = ".*") -> dict[str, list[Path]]:
    """Returns the image files of a folder, not of those within it, by their names without suffix.

    Args:
      folder: to look into.
      pattern: regular expression that the whole stem has to match.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if is_image_file(path) and re.fullmatch(pattern, path.stem):
            found.setdefault(path.stem, []).append(path)
    return found


def find_folder(roots: Sequence[Path], names: Collection[str], *, pattern: str) -> Path | None:
    """Returns the folder with one of the names that holds most images of a pattern, or None.

    Args:
      roots: folders to look into, and into all within them.
      names: of the folder, in lower case.
      pattern: regular expression that the stems of its images match.
    """
    folders = [path for root in roots for path in (root, *sorted(root.rglob("*"))) if path.name.lower() in names]
    counts = {path: len(images_by_stem(path, pattern=pattern)) for path in folders if path.is_dir()}
    best = max(counts, key=lambda path: counts[path], default=None)
    return best if best and counts[best] else None


def missing_names(folder: Path, expected: Collection[str], found: Collection[str]) -> list[str]:
    """Returns a line that says which of the expected images a folder lacks, or nothing."""
    missing = set(expected) - set(found)
    return [f"{folder} lacks {len(missing)} of {len(expected)}: {listed(missing)}"] if missing else []


def ambiguous_names(found: dict[str, list[Path]]) -> list[str]:
    """Returns a line for each stem that several files of a folder share."""
    return [
        f"{paths[0].parent} has {listed(path.name for path in paths)} for one image"
        for paths in found.values()
        if len(paths) > 1
    ]


def contents(folder: Path) -> str:
    """Returns what a folder holds, in words for an error."""
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    kinds = (("folder", [path for path in entries if path.is_dir()]), ("file", [p for p in entries if p.is_file()]))
    parts = [
        f"{len(paths)} {kind}{'s' * (len(paths) > 1)} ({listed(path.name for path in paths)})"
        for kind, paths in kinds
        if paths
    ]
    return f"{folder} holds {' and '.join(parts) or 'nothing'}"
