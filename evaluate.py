"""Scores networks, maps in folders, and methods without learning: see README.md.

python evaluate.py --run=runs/cpu_small --output=results/cpu_small
python evaluate.py --maps=mine=MAPS --maps=theirs=OTHER_MAPS --masks=MASKS --output=results/mine
"""

import dataclasses
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from absl import app, flags, logging

from btbnet_jax import metrics, results
from btbnet_jax.baselines import BASELINES, CLASSICAL
from btbnet_jax.builders import SplitError, find_built
from btbnet_jax.compiler import keep_compiled_programs
from btbnet_jax.config import DataConfig, TrainConfig
from btbnet_jax.data import Examples, hold_out
from btbnet_jax.difficulty import difficulty
from btbnet_jax.evaluation import (
    Method,
    baseline_method,
    count_levels,
    folder_examples,
    folder_method,
    maps_method,
    network_method,
)
from btbnet_jax.histograms import LevelCounts
from btbnet_jax.initial import Trained, load_trained
from btbnet_jax.maps import check_folder, named
from btbnet_jax.report import print_table
from btbnet_jax.sources import shi
from btbnet_jax.weights import cache_folder
from btbnet_jax.writing import output_folder

ALL_BASELINES = {baseline.__name__: baseline for baseline in BASELINES + CLASSICAL}

RUN = flags.DEFINE_multi_string(
    "run", [], "[NAME=]FOLDER of a run or a checkpoint, a weights file, or a name such as btbnet-small; adds to others."
)
MAPS = flags.DEFINE_multi_string("maps", [], "NAME=FOLDER of maps to score, white = in focus; adds to others.")
BLUR_MAPS = flags.DEFINE_multi_string("blur_maps", [], "NAME=FOLDER of maps to score, white = blurred.")
RESIZE_MAPS = flags.DEFINE_bool("resize_maps", False, "Resize maps that are not of their image's size.")
CLASSICS = flags.DEFINE_list(
    "baselines",
    [baseline.__name__ for baseline in BASELINES],
    f'Methods without learning: {", ".join(ALL_BASELINES)}; or "all".',
)
DATA = flags.DEFINE_string("data", None, "Data set: shi, dut, simulated/generated, pairs/NAME; the run's by default.")
SPLIT = flags.DEFINE_string("split", "validation", '"validation": the images that the run held out; or a split.')
DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder that the data sets are built in.")
MASKS = flags.DEFINE_string("masks", None, "Folder of masks to score by, instead of a data set.")
IMAGES = flags.DEFINE_string("images", None, "Folder of their images, for what needs them.")
FOCUS = flags.DEFINE_enum("focus", "white", ["white", "black"], "What is in focus in --masks.")
POLARITY = flags.DEFINE_bool("polarity_check", True, "Refuse --masks that are nearly all mostly in focus.")
SIZE = flags.DEFINE_integer(
    "size",
    None,
    "Images are resized to, and scored at; 0 for their own; unset, the run's, or 320 without a run.",
    lower_bound=0,
)
MASK_THRESHOLD = flags.DEFINE_float(
    "mask_threshold", None, "Of masks in 0..1, to make them black and white for all protocols alike.", 0, 1
)
POSITIVE = flags.DEFINE_enum("positive", "focus", ["focus", "blur"], "The class that the protocols call in focus.")
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 4, "Images at a time; 1 where they keep their own sizes.", lower_bound=1
)
THREADS = flags.DEFINE_integer("threads", 2, "That read and decode.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", None, "Folder for tables, curves and pictures.")
SAVE_MAPS = flags.DEFINE_bool("save_maps", False, "Write every map that is scored as a PNG file, into OUTPUT/maps.")
FINAL = flags.DEFINE_bool("final", False, "Allow a test split; the look at it is written into the test log.")
TEST_LOG = flags.DEFINE_string("test_log", "results/test_log.csv", "Log of all evaluations on test splits.")
BEAT = flags.DEFINE_bool("must_beat_baselines", False, "Fail where a method without learning has a better F.")
HALF = flags.DEFINE_bool("half", False, "Compute networks in bfloat16, as btbnet detect --half does.")
_FLAGS = [flag for flag in list(globals().values()) if isinstance(flag, flags.FlagHolder)]

_NO_FIGURE = ("output", "batch_size", "threads", "final", "test_log", "must_beat_baselines")


def main(arguments: list[str]) -> None:
    """Evaluates as the flags say; what a user can mend ends in a message and exit status 1."""
    if flags.FLAGS.verbosity == logging.INFO:  # the default of absl, by which Orbax reports every file that it reads
        logging.set_verbosity(logging.WARNING)
    try:
        if arguments[1:]:
            raise ValueError(f"flags begin with --; what are {' '.join(arguments[1:])}?")
        if not OUTPUT.value:
            raise ValueError("give the folder for tables, curves and pictures: --output=results/first")
        figures_of = [flag for flag in _FLAGS if flag.name not in _NO_FIGURE]
        results.check_earlier(Path(OUTPUT.value), {flag.name: flag.value for flag in figures_of})
        keep_compiled_programs(cache_folder() / "compiled")
        with output_folder(Path(OUTPUT.value)):
            evaluate(Path(OUTPUT.value))
    except KeyboardInterrupt:
        sys.exit("evaluate.py: interrupted before the end")
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"evaluate.py: {error}")


def evaluate(output: Path) -> None:
    """Scores all methods in one pass over the images, and writes what came out."""
    _refuse_idle_flags()
    runs = _runs()
    folders = _map_folders(runs)
    config = next(iter(runs.values())).config if runs else TrainConfig()
    name, split = (MASKS.value, "folder") if MASKS.value else (DATA.value or config.data.name, SPLIT.value)
    size = config.data.size if SIZE.value is None else SIZE.value
    if not MASKS.value:
        _check_final(_is_test(config))
    examples = _examples(name, runs)
    names = [examples.name(index) for index in range(len(examples))]
    is_test = not set(names).isdisjoint(shi.TEST) or (not MASKS.value and _is_test(config))
    _check_final(is_test)
    methods = _methods(runs, folders, examples, size)
    scored = methods | _baselines()
    maps_dir = output / "maps" if SAVE_MAPS.value else None

    reading: dict[str, Any] = {"size": size, "batch_size": BATCH_SIZE.value if size else 1, "threads": THREADS.value}
    counts = count_levels(scored, examples, **reading, maps_dir=maps_dir)
    counts = {label: _as_asked(one) for label, one in counts.items()}
    what = {"data": name, "split": split, "size": size, "positive": POSITIVE.value}
    what["mask_threshold"] = "" if MASK_THRESHOLD.value is None else MASK_THRESHOLD.value
    digests = {label: runs[label].digest if label in runs else "none" for label in methods}
    if is_test:
        how = " in bfloat16" if HALF.value else ""
        looks = [
            {**what, "params_sha256": digest, "method": label + how} | metrics.scores(counts[label])
            for label, digest in digests.items()
        ]
        results.log_test(Path(TEST_LOG.value), looks)
    details = what | {"images_sha256": examples.digest(), "params_sha256": digests} | _settings(runs)
    title = f"{name}, {split}, {len(examples)} images at {f'{size} × {size}' if size else 'their own sizes'}"
    measures = difficulty(examples, **reading) if examples.has_images else None
    subject = next(iter(methods))
    rows = results.write_results(output, counts, subject=subject, title=title, details=details, measures=measures)
    if maps_dir:  # which has them all
        scored = {label: maps_method({name: maps_dir / label / f"{name}.png" for name in names}) for label in scored}
    results.write_panels(output, counts, scored, list(methods), examples, size=size)
    print_table(rows, ["method", *results.HEADLINE], title=title)
    for note in results.notes(counts[subject]):
        print(f"note: {note}")
    print(f"all protocols, intervals, curves and pictures: {output}")
    if BEAT.value and (better := results.beaten(rows, list(methods))):
        raise RuntimeError(f"the adaptive F of {' or '.join(methods)} does not beat that of {', '.join(better)}")


def _settings(runs: dict[str, Trained]) -> dict[str, Any]:
    """All that the scores of this call depend on, beside the images and the parameters."""
    return {
        "steps": {label: trained.step for label, trained in runs.items()},
        "configs": {label: trained.config.to_json() for label, trained in runs.items()},
        "flags": {flag.name: flag.value for flag in _FLAGS},
    }


def _refuse_idle_flags() -> None:
    """Raises ValueError for a flag that was given and would change nothing."""
    no_effect = {
        "beside --masks": (DATA, SPLIT) if MASKS.value else (),
        "without --masks": () if MASKS.value else (IMAGES, FOCUS, POLARITY),
        "without --run": () if RUN.value else (HALF,),
        "without --maps": () if MAPS.value or BLUR_MAPS.value else (RESIZE_MAPS,),
        "where images keep their own sizes": (BATCH_SIZE,) if SIZE.value == 0 else (),
    }
    for where, idle in no_effect.items():
        for flag in idle:
            if flag.present:
                raise ValueError(f"--{flag.name} has no effect {where}: leave it out, or say what it is for")


def _as_asked(counts: LevelCounts) -> LevelCounts:
    """The counts after masks were made black and white, and after turning round what is positive, if asked for."""
    if MASK_THRESHOLD.value is not None:
        counts = counts.binarise_masks(MASK_THRESHOLD.value)
    return counts.swap_polarity() if POSITIVE.value == "blur" else counts


def _runs() -> dict[str, Trained]:
    """The runs by their names: those given, else those of their folders or files."""
    runs: dict[str, Trained] = {}
    for entry in RUN.value:
        label, folder = named(entry)
        label = label or Path(folder).absolute().name.removesuffix(".safetensors")
        _check_label(label, folder, f"--run={entry}", runs)
        trained = load_trained(folder)
        if HALF.value:
            network = dataclasses.replace(trained.config.network, dtype="bfloat16")
            trained = trained._replace(config=dataclasses.replace(trained.config, network=network))
        runs[label] = trained
    return runs


def _map_folders(runs: dict[str, Trained]) -> dict[str, tuple[Path, bool]]:
    """The folders of maps by their names, and whether white is in focus in them."""
    folders: dict[str, tuple[Path, bool]] = {}
    for flag, focus_is_white in ((MAPS, True), (BLUR_MAPS, False)):
        for entry in flag.value:
            label, folder = named(entry)
            _check_label(label, folder, f"--{flag.name}={entry}", runs.keys() | folders.keys())
            check_folder(Path(folder))
            folders[label] = Path(folder), focus_is_white
    return folders


def _check_label(label: str, folder: str, flag: str, taken: Collection[str]) -> None:
    if not label or not folder or label in taken or label in ALL_BASELINES:
        raise ValueError(f"{flag}: give NAME=FOLDER, with a name that no other method has")


def _is_test(config: TrainConfig) -> bool:
    """Whether a split has test images: also a part of one, or one with another."""
    return "test" in (config.data.split if SPLIT.value == "validation" else SPLIT.value)


def _check_final(is_test: bool) -> None:
    """Raises ValueError where test images would be scored without being asked for, or could not be logged."""
    if is_test and not FINAL.value:
        raise ValueError(
            "a test split is for the last figure, not for choosing: evaluate on --split=validation, or add --final, "
            f"which logs this look in {TEST_LOG.value}"
        )
    if is_test:
        results.check_test_log(Path(TEST_LOG.value))


def _examples(name: str, runs: dict[str, Trained]) -> Examples:
    if MASKS.value:
        images = Path(IMAGES.value) if IMAGES.value else None
        white = FOCUS.value == "white"
        return folder_examples(Path(MASKS.value), images, focus_is_white=white, check_polarity=POLARITY.value)
    find_built(DATA_DIR.value, name)
    if SPLIT.value != "validation":
        try:
            return Examples(DATA_DIR.value, name, SPLIT.value)
        except SplitError as error:
            raise ValueError(f'{error}, and "validation" is what a run held out') from error
    data = [trained.config.data for trained in runs.values()] or [DataConfig(name=name)]
    # The committed list is of Shi's photographs, in whatever set they were trained on.
    sets = {("shi" if one.validation == "shi60" else one.name, one.split, one.validation) for one in data}
    if len(sets) > 1 or name not in (data[0].name, next(iter(sets))[0]):
        raise ValueError(f"what the runs held out for validation is not the same, or not of {name}: give --split")
    if not runs and name != "shi":
        raise ValueError(f"no list of validation images is known for {name}: give --split")
    held_out = hold_out(Examples(DATA_DIR.value, name, data[0].split), data[0].validation)[1]
    if not len(held_out):
        raise ValueError("the run held out no validation images; give --split")
    return held_out


def _methods(
    runs: dict[str, Trained], folders: dict[str, tuple[Path, bool]], examples: Examples, size: int
) -> dict[str, Method]:
    """The networks first, then the folders of maps."""
    if MASKS.value and runs and not IMAGES.value:
        raise ValueError("a run needs the images of --masks: give --images")
    methods = {label: network_method(trained.config.network, trained.params) for label, trained in runs.items()}
    sizes = examples.image_sizes() if folders else {}
    for label, (folder, focus_is_white) in folders.items():
        reading = {"size": size, "resize": RESIZE_MAPS.value, "focus_is_white": focus_is_white}
        methods[label], others = folder_method(folder, sizes, **reading)
        if others:
            print(f"{folder}: left out are {len(others)} files of no image here, such as {', '.join(others[:5])}")
    if not methods:
        raise ValueError("nothing to score: give --run, or --maps=NAME=FOLDER, or both")
    return methods


def _baselines() -> dict[str, Method]:
    names = list(ALL_BASELINES) if CLASSICS.value == ["all"] else CLASSICS.value
    if unknown := [name for name in names if name not in ALL_BASELINES]:
        raise ValueError(f"no baseline is called {', '.join(unknown)}; there are {', '.join(ALL_BASELINES)}, and all")
    if MASKS.value and not IMAGES.value:
        blind = ("all_blurred", "all_in_focus")
        given = CLASSICS.present and CLASSICS.value != ["all"]
        if given and (seeing := [name for name in names if name not in blind]):
            raise ValueError(f"--baselines: {', '.join(seeing)} need the images of --masks: give --images")
        names = [name for name in names if name in blind]
    return {name: baseline_method(ALL_BASELINES[name]) for name in names}


if __name__ == "__main__":
    app.run(main)
