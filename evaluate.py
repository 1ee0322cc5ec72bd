"""Scores a trained network: `python evaluate.py --run=runs/cpu_small --data=shi --split=validation`, see README.md."""

import sys
from pathlib import Path

from absl import app, flags, logging

from btbnet_jax import results
from btbnet_jax.baselines import BASELINES
from btbnet_jax.config import TrainConfig
from btbnet_jax.data import Examples, hold_out
from btbnet_jax.evaluation import Method, baseline_method, count_levels, folder_method, network_method
from btbnet_jax.initial import Trained, load_trained
from btbnet_jax.report import print_table

NETWORK = "BTBNet"

RUN = flags.DEFINE_string("run", None, "Run folder, for its best checkpoint, or the folder of one checkpoint.")
MAPS = flags.DEFINE_multi_string("maps", [], "NAME=FOLDER of maps to score beside it, white = in focus.")
DATA = flags.DEFINE_string("data", None, "Data set: shi, dut, simulated/generated, pairs/NAME; the run's by default.")
SPLIT = flags.DEFINE_string("split", "validation", '"validation": the images that the run held out; or a split.')
DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder that the data sets are built in.")
SIZE = flags.DEFINE_integer(
    "size", None, "Images are resized to, and scored at; 0 for their own; the run's if unset.", lower_bound=0
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 4, "Images at a time; 1 where they keep their own sizes.", lower_bound=1
)
THREADS = flags.DEFINE_integer("threads", 2, "That read and decode.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", None, "Folder for tables, curves and pictures.", required=True)
FINAL = flags.DEFINE_bool("final", False, "Allow a test split; the look at it is written into the test log.")
TEST_LOG = flags.DEFINE_string("test_log", "results/test_log.csv", "Log of all evaluations on test splits.")
BEAT = flags.DEFINE_bool("must_beat_baselines", False, "Fail where a method without learning has a better F.")


def main(arguments: list[str]) -> None:
    """Evaluates as the flags say; what a user can mend ends in a message and exit status 1."""
    if flags.FLAGS.verbosity == logging.INFO:  # the default of absl, by which Orbax reports every file that it reads
        logging.set_verbosity(logging.WARNING)
    try:
        if arguments[1:]:
            raise ValueError(f"flags begin with --; what are {' '.join(arguments[1:])}?")
        evaluate()
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"evaluate.py: {error}")


def evaluate() -> None:
    """Scores the run, the folders of maps and the baselines in one pass, and writes what came out."""
    trained = load_trained(RUN.value) if RUN.value else None
    config = trained.config if trained else TrainConfig()
    name, size = DATA.value or config.data.name, config.data.size if SIZE.value is None else SIZE.value
    is_test = _is_test(config)
    examples = _examples(name, config)
    methods = _methods(trained, [examples.name(index) for index in range(len(examples))])
    output, subject = Path(OUTPUT.value), next(iter(methods))
    output.mkdir(parents=True, exist_ok=True)  # before the work, not after it

    scored = methods | {baseline.__name__: baseline_method(baseline) for baseline in BASELINES}
    counts = count_levels(
        scored, examples, size=size, batch_size=BATCH_SIZE.value if size else 1, threads=THREADS.value
    )
    protocol = f"{name}, {SPLIT.value}, {len(examples)} images at {f'{size} × {size}' if size else 'their own sizes'}"
    what = {"data": name, "split": SPLIT.value, "size": size}
    digests = {label: trained.digest if trained and label == NETWORK else "none" for label in methods}
    details = {**what, "params_sha256": digests, "config": trained and config.to_json(), "flags": sys.argv[1:]}
    rows = results.write_results(output, counts, subject=subject, title=protocol, details=details)
    if is_test:
        looks = [{**what, "params_sha256": digests[row["method"]]} | row for row in rows if row["method"] in digests]
        results.log_test(Path(TEST_LOG.value), looks)
    results.write_panel(output / "best_median_worst.png", counts[subject], methods, examples, size=size)
    print_table(rows, ["method", *results.HEADLINE], title=protocol)
    print(f"all protocols, curves and pictures: {output}")
    if BEAT.value and (better := results.beaten(rows, subject)):
        raise RuntimeError(f"the adaptive F of {subject} does not beat that of {', '.join(better)}")


def _is_test(config: TrainConfig) -> bool:
    """Whether test images are scored, which has to be asked for and is logged."""
    split = config.data.split if SPLIT.value == "validation" else SPLIT.value
    is_test = "test" in split  # a part of it, or it with another, as well
    if is_test and not FINAL.value:
        raise ValueError(
            "a test split is for the last figure, not for choosing: evaluate on --split=validation, or add --final, "
            f"which logs this look in {TEST_LOG.value}"
        )
    if is_test:
        results.check_test_log(Path(TEST_LOG.value))
    return is_test


def _examples(name: str, config: TrainConfig) -> Examples:
    if SPLIT.value != "validation":
        return Examples(DATA_DIR.value, name, SPLIT.value)
    held_out = hold_out(Examples(DATA_DIR.value, name, config.data.split), config.data.validation)[1]
    if not len(held_out):
        raise ValueError("the run held out no validation images; give --split")
    return held_out


def _methods(trained: Trained | None, names: list[str]) -> dict[str, Method]:
    """The network first, then the folders of maps of these images."""
    methods = {NETWORK: network_method(trained.config.network, trained.params)} if trained else {}
    taken = {NETWORK, *(baseline.__name__ for baseline in BASELINES)}
    for label, _, folder in (entry.partition("=") for entry in MAPS.value):
        if not label or not folder or label in methods or label in taken:
            raise ValueError(f"--maps={label}={folder}: give NAME=FOLDER, with a name that no other method has")
        methods[label] = folder_method(folder, names)
    if not methods:
        raise ValueError("nothing to score: give --run, or --maps=NAME=FOLDER, or both")
    return methods


if __name__ == "__main__":
    app.run(main)
