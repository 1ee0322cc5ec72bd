"""Folders of maps that any method has saved, to score them."""

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from btbnet_jax.images import ImageError, brightest, image_size
from btbnet_jax.sources.checks import SourceError, listed
from btbnet_jax.sources.folders import ambiguous_names, contents, images_by_stem
from btbnet_jax.sources.names import candidates

Size = tuple[int, int]

_MISTAKEN = {
    255: (1, "multiply levels of 0 and 1 by 255 before they are saved"),
    65535: (255, "save levels of 8 bits with 8 bits, or multiply them by 257"),
}
"""By the white level of a file: up to where no map can be meant to go, unless all are 0, and what to do."""


def named(entry: str) -> tuple[str, str]:
    """Returns name and path of ``NAME=PATH``; no name for a path alone, which may hold the sign if it is there."""
    name, sign, path = entry.partition("=")
    return (name, path) if sign and not Path(entry).exists() else ("", entry)


def check_folder(folder: Path) -> None:
    """Raises SourceError where there is no folder to look for maps in."""
    if not folder.is_dir():
        raise SourceError(f"no maps in {folder}", ["it is not a folder"])


def find_maps(
    folder: Path, sizes: Mapping[str, Size], *, scored_at: int = 0, resize: bool = False
) -> tuple[dict[str, Path], list[str]]:
    """Returns the file of each image's map, and what else is in the folder.

    A map has the name of its image, but for its suffix and for words such as ``_map`` or ``gt-``.  All maps are
    decoded once here, so that what is wrong with them is known before any is scored.

    Args:
      folder: of image files; white = in focus.
      sizes: height and width of the images by their names.
      scored_at: side of the square that images are resized to before they are scored, 0 for none.
      resize: whether maps of any other size are resized too.

    Raises:
      SourceError: with all that is wrong: no folder, maps that are missing, that several files could be, that
        `images.read_map` refuses, that have neither their image's size nor the size that is scored at, or that are
        nearly black by mistake.  Maps that are all 0 are none: a method may find nothing in focus.
    """
    check_folder(folder)
    stems = images_by_stem(folder)
    found = candidates(sizes, stems)
    missing = [name for name, of in found.items() if not of]
    if len(missing) == len(found):
        raise SourceError(
            f"no map in {folder} has the name of an image",
            [f"images are called {listed(sizes)}", contents(folder)],
        )
    problems = [f"{len(missing)} of {len(sizes)} maps are missing: {listed(missing)}"] if missing else []
    problems += [f"{name} could be {listed(of)}" for name, of in found.items() if len(of) > 1]
    used = {stem for of in found.values() for stem in of}
    problems += ambiguous_names({stem: stems[stem] for stem in used})
    files = {name: stems[of[0]][0] for name, of in found.items() if len(of) == 1}
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        check = partial(_check, scored_at=scored_at, resize=resize)
        checked = list(threads.map(check, files.values(), map(sizes.__getitem__, files)))
    problems += [problem for problem, _, _ in checked if problem]
    if not problems:
        problems = _nearly_black((level, white) for _, level, white in checked)
    if problems:
        raise SourceError(f"the maps in {folder} cannot be scored", problems)
    return files, sorted(path.name for stem in stems.keys() - used for path in stems[stem])


def _check(path: Path, size: Size, *, scored_at: int, resize: bool) -> tuple[str, float, int]:
    """What is wrong with a map, its brightest level, and the level that is white in its file."""
    try:
        problem = _wrong_size(path, image_size(path), size, scored_at=scored_at, resize=resize)
        return problem, *brightest(path)
    except ImageError as error:
        return str(error), 0.0, 255


def _nearly_black(levels: Iterable[tuple[float, int]]) -> list[str]:
    """What is wrong with maps whose brightest and white levels are these, if they are dark by mistake."""
    level, white = max(levels, key=lambda one: one[0] / one[1])
    highest, advice = _MISTAKEN.get(white, (0, ""))
    if not 0 < level <= highest:
        return []
    return [f"the brightest level of all maps is {level:g} of {white}, which is nearly black: {advice}"]


def _wrong_size(path: Path, found: Size, size: Size, *, scored_at: int, resize: bool) -> str:
    if resize or found in (size, (scored_at, scored_at)):
        return ""
    at = f", and {scored_at} × {scored_at} are scored" if scored_at else ""
    return (
        f"{path.name} has {found[0]} × {found[1]} pixels; its image has {size[0]} × {size[1]}{at}: "
        "save it at one of these sizes, or have it resized (evaluate.py --resize_maps, btbnet score --resize-maps)"
    )
