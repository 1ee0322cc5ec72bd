"""``btbnet score``: how good the maps of any method are, by masks."""

import argparse
import contextlib
from pathlib import Path
from typing import Any

from btbnet_jax import metrics, results
from btbnet_jax.baselines import all_blurred, all_in_focus
from btbnet_jax.data import Examples
from btbnet_jax.evaluation import Method, baseline_method, count_levels, folder_examples, folder_method
from btbnet_jax.histograms import LevelCounts
from btbnet_jax.maps import check_folder, named
from btbnet_jax.report import print_table
from btbnet_jax.sources import shi
from btbnet_jax.writing import output_folder

CONSTANT = {"all_blurred": all_blurred, "all_in_focus": all_in_focus}
"""Stand beside every method: what they score is what a definition gives for nothing."""

_DESCRIPTION = """\
Scores folders of maps by a folder of masks, under all protocols of this field, beside the two constant maps.

A map and a mask belong together by their names; words such as _map, _focus or gt- around them do not matter.  Nothing
is resized unless you say so.  evaluate.py, in the repository, scores networks and data sets as well.

examples:
  btbnet detect photos --output maps
  btbnet score maps --masks masks                       the table of all protocols
  btbnet score ours=maps theirs=other --masks masks --output scores
                                                        also intervals, curves and a panel of pictures
  btbnet score maps --masks gt --focus black            masks that are black where in focus
  btbnet score maps --maps-focus black --masks gt       maps that are
  btbnet score maps --masks masks --size 320            all of them resized to 320 x 320
"""


def add_command(commands: Any) -> None:
    """Adds ``score`` to the subcommands of an argument parser."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser("score", help="score maps by masks", description=_DESCRIPTION, formatter_class=kind)
    parser.add_argument("maps", nargs="+", metavar="[NAME=]FOLDER", help="maps of a method, by the folder's name")
    parser.add_argument("--masks", type=Path, required=True, help="folder of masks")
    parser.add_argument(
        "--focus", choices=("white", "black"), default="white", help="what is in focus in masks (white)"
    )
    parser.add_argument("--maps-focus", choices=("white", "black"), default="white", help="and in maps (white)")
    parser.add_argument("--size", type=int, default=0, help="side of the square to score at (0: the masks' own sizes)")
    parser.add_argument("--resize-maps", action="store_true", help="resize maps that are not of their mask's size")
    parser.add_argument(
        "--mask-threshold", type=float, help="0..1, to make masks black and white (default: as they are)"
    )
    parser.add_argument("--no-polarity-check", action="store_true", help="allow masks that are mostly in focus")
    parser.add_argument("--output", type=Path, help="folder for tables, curves and pictures (default: the table alone)")
    parser.add_argument(
        "--final", action="store_true", help="allow test images of Shi's set, and log this look at them"
    )
    parser.add_argument("--test-log", type=Path, default=Path("results/test_log.csv"), help="where (%(default)s)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Scores the maps, and prints their table."""
    _check(options)
    folders = _folders(options)
    check = not options.no_polarity_check
    examples = folder_examples(options.masks, focus_is_white=options.focus == "white", check_polarity=check)
    is_test = not set(shi.TEST).isdisjoint(examples.name(index) for index in range(len(examples)))
    if is_test and not options.final:
        raise ValueError(
            f"{options.masks} has test images of Shi's set, which are for the last figure and not for choosing: add "
            f"--final, which logs this look in {options.test_log}"
        )
    if is_test:
        results.check_test_log(options.test_log)
    if options.output:
        results.check_earlier(options.output, _flags(options))
    with output_folder(options.output) if options.output else contextlib.nullcontext():
        _score(options, folders, examples, is_test)


def _score(options: argparse.Namespace, folders: dict[str, Path], examples: Examples, is_test: bool) -> None:
    methods = _methods(options, folders, examples)
    constant = {name: baseline_method(method) for name, method in CONSTANT.items()}
    counts = count_levels(methods | constant, examples, size=options.size, batch_size=4 if options.size else 1)
    if options.mask_threshold is not None:
        counts = {name: one.binarise_masks(options.mask_threshold) for name, one in counts.items()}
    what = {"data": str(options.masks), "split": "folder", "size": options.size, "positive": "focus"}
    what["mask_threshold"] = "" if options.mask_threshold is None else options.mask_threshold
    rows = [{"method": name} | metrics.scores(one) for name, one in counts.items()]
    if is_test:
        looks = [{**what, "params_sha256": "none", **row} for row in rows if row["method"] in methods]
        results.log_test(options.test_log, looks)
    at = f"{options.size} × {options.size}" if options.size else "their own sizes"
    title = f"{options.masks}, {len(examples)} masks at {at}"
    if options.output:
        details = what | {"flags": _flags(options)}
        _write(options.output, counts, methods | constant, list(methods), examples, details, title)
    print_table(rows, list(rows[0]), title=title)
    for note in results.notes(next(iter(counts.values()))):
        print(f"note: {note}")


def _flags(options: argparse.Namespace) -> dict[str, Any]:
    """The options that figures depend on, as JSON values."""
    names = ("maps", "masks", "focus", "maps_focus", "size", "resize_maps", "mask_threshold")
    return {name: str(value) if isinstance(value := getattr(options, name), Path) else value for name in names}


def _check(options: argparse.Namespace) -> None:
    """Raises ValueError for options that cannot be."""
    if options.size < 0:
        raise ValueError(f"--size is 0 or more, not {options.size}")
    if options.mask_threshold is not None and not 0 <= options.mask_threshold <= 1:
        raise ValueError(f"--mask-threshold is from 0 to 1, not {options.mask_threshold}")


def _folders(options: argparse.Namespace) -> dict[str, Path]:
    """The folders of maps by their names."""
    folders: dict[str, Path] = {}
    for entry in options.maps:
        label, folder = named(entry)
        label = label or Path(folder).name
        if not label or label in folders or label in CONSTANT:
            raise ValueError(f"{entry}: give NAME=FOLDER, with a name that no other method has")
        check_folder(Path(folder))
        folders[label] = Path(folder)
    return folders


def _methods(options: argparse.Namespace, folders: dict[str, Path], examples: Examples) -> dict[str, Method]:
    methods: dict[str, Method] = {}
    sizes = examples.image_sizes()
    for label, folder in folders.items():
        white = options.maps_focus == "white"
        methods[label], others = folder_method(
            folder, sizes, size=options.size, resize=options.resize_maps, focus_is_white=white
        )
        if others:
            print(f"{folder}: left out are {len(others)} files of no mask, such as {', '.join(others[:5])}")
    return methods


def _write(
    folder: Path,
    counts: dict[str, LevelCounts],
    methods: dict[str, Method],
    subjects: list[str],
    examples: Examples,
    details: dict[str, Any],
    title: str,
) -> None:
    results.write_results(folder, counts, subject=subjects[0], title=title, details=details)
    results.write_panels(folder, counts, methods, subjects, examples, size=details["size"])
    print(f"all protocols, intervals, curves and pictures: {folder}")
