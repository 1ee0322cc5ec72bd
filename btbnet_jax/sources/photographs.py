"""Clear photographs, the sources of the simulated data set.

Source: the paper takes 2000 clear images from the Berkeley segmentation data set and from UCID.  Assumption: any
folder of clear photographs will do; the Berkeley set gives 500.
"""

import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from btbnet_jax.images import ImageError, read_image
from btbnet_jax.sources.checks import listed
from btbnet_jax.sources.folders import is_image_file

HOW_TO_GET = (
    "put photographs that are clear everywhere into one folder, at any depth, or the archive BSR_bsds500.tgz of the "
    "Berkeley segmentation data set, whose 500 photographs the paper used among others"
)

# The Berkeley archive repeats a few of its images among its evaluation code and documentation.
_NOT_SOURCES = (("BSR", "bench"), ("BSR", "documentation"))

# Downloads of several data sets often share a folder; training on their test images would go unseen.
_BLURRED_NAME = re.compile(r"(?:out_of_focus|motion)\d{4}")
_BLURRED_FOLDERS = {"dut500-source", "dut500-gt", "1204source", "1204gt"}


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
    """Returns what is wrong with some images, after decoding them all; blurred ones of known data sets are wrong."""
    if blurred := [path for path in photographs.values() if _is_blurred(path)]:
        folders = listed(sorted({str(path.parent) for path in blurred}))
        return [
            f"{len(blurred)} of {len(photographs)} images are photographs with blur, or masks, of Shi's or DUT's data "
            f"sets, in {folders}: name a folder that holds clear photographs alone"
        ]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return [problem for problem in threads.map(_problem, photographs.values()) if problem]


def _is_left_out(relative: Path) -> bool:
    return any(relative.parts[:2] == part for part in _NOT_SOURCES)


def _is_blurred(path: Path) -> bool:
    return bool(_BLURRED_NAME.fullmatch(path.stem)) or not _BLURRED_FOLDERS.isdisjoint(path.parts)


def _problem(path: Path) -> str:
    try:
        read_image(path)
    except ImageError as error:
        return str(error)
    return ""
