"""Scores a trained network: `python evaluate.py --run=runs/cpu_small --data=shi --split=validation`, see README.md."""

import sys
from pathlib import Path

from absl import app, flags, logging

from btbnet_jax import results
from btbnet_jax.baselines import BASELINES
from btbnet_jax.config import TrainConfig
from btbnet_jax.data import Examples, hold_out
from btbnet_jax.evaluation import Method, baseline_method, count_levels, folder_method, network_method
from btbnet_jax.initial import load_params
from btbnet_jax.report import print_table

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
    is_test = "test" in SPLIT.value  # a part of it, or it with another, as well
    if is_test and not FINAL.value:
        raise ValueError(
            "a test split is for the last figure, not for choosing: evaluate on --split=validation, or add --final, "
            f"which logs this look in {TEST_LOG.value}"
        )
    methods: dict[str, Method] = {}
    digest, config = "none", TrainConfig()
    if RUN.value:
        params, network, checkpoint = load_params(RUN.value)
        config = TrainConfig.from_json(checkpoint.record["config"])
        digest = checkpoint.digests.get("average", checkpoint.digests["params"])
        methods["BTBNet"] = network_method(network, params)
    name, size = DATA.value or config.data.name, config.data.size if SIZE.value is None else SIZE.value
    examples = _examples(name, config)
    names = [examples.name(index) for index in range(len(examples))]
    baselines = {baseline.__name__: baseline_method(baseline) for baseline in BASELINES}
    for label, _, folder in (entry.partition("=") for entry in MAPS.value):
        if not label or not folder or label in methods | baselines:
            raise ValueError(f"--maps={label}={folder}: give NAME=FOLDER, with a name that no other method has")
        methods[label] = folder_method(folder, names)
    if not methods:
        raise ValueError("nothing to score: give --run, or --maps=NAME=FOLDER, or both")
    subject = next(iter(methods))
    shown = dict(methods)
    methods |= baselines
    output = Path(OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)  # before the work, not after it

    batch_size = BATCH_SIZE.value if size else 1
    counts = count_levels(methods, examples, size=size, batch_size=batch_size, threads=THREADS.value)
    protocol = f"{name}, {SPLIT.value}, {len(examples)} images at {f'{size} × {size}' if size else 'their own sizes'}"
    details = {
        "data": name,
        "split": SPLIT.value,
        "size": size,
        "params_sha256": digest,
        "config": config.to_json() if RUN.value else None,
        "flags": sys.argv[1:],
    }
    rows = results.write_results(output, counts, subject=subject, title=protocol, details=details)
    if is_test:
        entry = {"data": name, "split": SPLIT.value, "size": size}
        for label in shown:
            scores = next(row for row in rows if row["method"] == label)
            results.log_test(
                Path(TEST_LOG.value), {**entry, "params_sha256": digest if label == "BTBNet" else "none", **scores}
            )
    results.write_panel(output / "best_median_worst.png", counts[subject], shown, examples, size=size)
    print_table(rows, ["method", *results.HEADLINE], title=protocol)
    print(f"all protocols, curves and pictures: {output}")
    if BEAT.value and (better := results.beaten(rows, subject)):
        raise RuntimeError(f"the adaptive F of {subject} does not beat that of {', '.join(better)}")


def _examples(name: str, config: TrainConfig) -> Examples:
    if SPLIT.value != "validation":
        return Examples(DATA_DIR.value, name, SPLIT.value)
    held_out = hold_out(Examples(DATA_DIR.value, name, config.data.split), config.data.validation)[1]
    if not len(held_out):
        raise ValueError("the run held out no validation images; give --split")
    return held_out


if __name__ == "__main__":
    app.run(main)
