"""Clear photographs, the sources of the simulated data set.

Source: the paper takes 2000 clear images from the Berkeley segmentation data set and from UCID.  Assumption: any
folder of clear photographs will do; the Berkeley set gives 500.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from btbnet_jax.images import ImageError, read_image
from btbnet_jax.sources.folders import is_image_file

HOW_TO_GET = (
    "put photographs that are clear everywhere into one folder, at any depth, or the archive BSR_bsds500.tgz of the "
    "Berkeley segmentation data set, whose 500 photographs the paper used among others"
)

# The Berkeley archive repeats a few of its images among its evaluation code and documentation.
_NOT_SOURCES = (("BSR", "bench"), ("BSR", "documentation"))


def find_photographs(roots: Sequence[Path]) -> dict[str, Path]:
    """Returns all images in some folders and in the folders within them, by a name that is stable and unique.

    The name is the file's without suffix; where several files share that, folders come before it, ``a-b-name``.
    """
    files = {
        path: path.relative_to(root)
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.is_file() and is_image_file(path) and not _is_left_out(path.relative_to(root))
    }
    stems = [path.stem for path in files]
    shared = {stem for stem in stems if stems.count(stem) > 1}
    named: dict[str, Path] = {}
    for path, relative in files.items():
        name = "-".join(relative.with_suffix("").parts) if path.stem in shared else path.stem
        named[name if name not in named else f"{name}-{path.suffix[1:]}"] = path
    return named


def check_photographs(photographs: Mapping[str, Path]) -> list[str]:
    """Returns what is wrong with some images, after decoding them all."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return [problem for problem in threads.map(_problem, photographs.values()) if problem]


def _is_left_out(relative: Path) -> bool:
    return any(relative.parts[:2] == part for part in _NOT_SOURCES)


def _problem(path: Path) -> str:
    try:
        read_image(path)
    except ImageError as error:
        return str(error)
    return ""
