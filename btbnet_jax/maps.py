"""Folders of maps that any method has saved, to score them."""

from collections.abc import Mapping
from pathlib import Path

from btbnet_jax.images import ImageError, image_size
from btbnet_jax.sources.checks import SourceError, listed
from btbnet_jax.sources.folders import ambiguous_names, contents, images_by_stem
from btbnet_jax.sources.names import candidates

Size = tuple[int, int]


def check_folder(folder: Path) -> None:
    """Raises SourceError where there is no folder to look for maps in."""
    if not folder.is_dir():
        raise SourceError(f"no maps in {folder}", ["it is not a folder"])


def find_maps(
    folder: Path, sizes: Mapping[str, Size], *, scored_at: int = 0, resize: bool = False
) -> tuple[dict[str, Path], list[str]]:
    """Returns the file of each image's map, and what else is in the folder.

    A map has the name of its image, but for its suffix and for words such as ``_map`` or ``gt-``.

    Args:
      folder: of image files; white = in focus.
      sizes: height and width of the images by their names.
      scored_at: side of the square that images are resized to before they are scored, 0 for none.
      resize: whether maps of any other size are resized too.

    Raises:
      SourceError: with all that is wrong: no folder, maps that are missing, that several files could be, that are
        no images, or that have neither their image's size nor the size that is scored at.
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
    problems += [
        problem
        for name, path in files.items()
        if (problem := _wrong_size(path, sizes[name], scored_at=scored_at, resize=resize))
    ]
    if problems:
        raise SourceError(f"the maps in {folder} cannot be scored", problems)
    return files, sorted(path.name for stem in stems.keys() - used for path in stems[stem])


def _wrong_size(path: Path, size: Size, *, scored_at: int, resize: bool) -> str:
    try:
        found = image_size(path)
    except ImageError as error:
        return str(error)
    if resize or found in (size, (scored_at, scored_at)):
        return ""
    at = f", and {scored_at} × {scored_at} are scored" if scored_at else ""
    return (
        f"{path.name} has {found[0]} × {found[1]} pixels; its image has {size[0]} × {size[1]}{at}: "
        "save it at one of these sizes, or have it resized (evaluate.py --resize_maps, btbnet score --resize-maps)"
    )
