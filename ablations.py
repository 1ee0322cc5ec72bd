"""Trains the paper's ablations, and writes their table: `python ablations.py --flagfile=configs/ablations_cpu.flags`.

All flags of train.py hold for every row; --run_dir is the folder of them all.
"""

import sys

from absl import app, flags, logging

import train
from btbnet_jax.ablations import ROWS, run_ablations
from btbnet_jax.loop import Schedule, Stopped

ROW = flags.DEFINE_multi_string("row", list(ROWS), f"Rows of the table: {', '.join(ROWS)}.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Runs of each row.", lower_bound=1)


def main(arguments: list[str]) -> None:
    """Trains what is not finished yet; what a user can mend ends in a message and exit status 1."""
    if flags.FLAGS.verbosity == logging.INFO:
        logging.set_verbosity(logging.WARNING)
    try:
        if arguments[1:]:
            raise ValueError(f"flags begin with --; what are {' '.join(arguments[1:])}?")
        schedule = Schedule(
            log_every=train.LOG_EVERY.value,
            evaluate_every=train.EVALUATE_EVERY.value,
            save_every=train.SAVE_EVERY.value,
        )
        runs = run_ablations(
            train.config_from_flags(),
            rows=ROW.value,
            num_seeds=SEEDS.value,
            data_dir=train.DATA_DIR.value,
            folder=train.RUN_DIR.value,
            schedule=schedule,
        )
        for progress in runs:
            print(f"{progress.row}, seed {progress.seed}: finished\n\n{progress.table}")
    except Stopped as stopped:
        print(stopped)
        sys.exit(128 + stopped.signal_number)
    except (ValueError, OSError, ImportError, FloatingPointError, RuntimeError) as error:
        sys.exit(f"ablations.py: {error}")


if __name__ == "__main__":
    app.run(main)
