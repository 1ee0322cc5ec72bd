"""Trains ablations, and writes their table: `python ablations.py --flagfile=configs/ablations_cpu.flags`.

The flags of train.py hold for every row, but for those of several processes; --run_dir is the folder of them all, and
seeds count from 0.
"""

from pathlib import Path

from absl import app, flags

import train
from btbnet_jax.ablations import ROWS, TABLES, run_ablations

TABLE = flags.DEFINE_enum(
    "table", "network", list(TABLES), "Of the network's parts, the simulation's, or the small network's recipe."
)
ROW = flags.DEFINE_multi_string("row", None, f"Rows to train, instead of a whole table: {', '.join(ROWS)}.")
SCORES = flags.DEFINE_string("scores", None, "File, .json, of the scores; RUN_DIR/ablations.json if unset.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Runs of each row.", lower_bound=1)


_OF_ONE_RUN = (train.RESUME, train.COORDINATOR, train.NUM_PROCESSES, train.PROCESS, train.SEED, train.DATA_SEED)


def train_all() -> None:
    """Trains what is not finished yet, and prints the table after each run."""
    if given := [f"--{flag.name}" for flag in _OF_ONE_RUN if flag.present]:
        raise ValueError(f"{', '.join(given)}: flags of a single run, which ablations do not have; leave them out")
    runs = run_ablations(
        train.config_from_flags(),
        rows=ROW.value or list(TABLES[TABLE.value]),
        num_seeds=SEEDS.value,
        data_dir=train.DATA_DIR.value,
        folder=train.RUN_DIR.value,
        scores=Path(SCORES.value or Path(train.RUN_DIR.value, "ablations.json")),
        schedule=train.schedule_from_flags(),
        num_devices=train.DEVICES.value,
    )
    for progress in runs:
        print(f"{progress.row}, seed {progress.seed}: finished\n\n{progress.table}")


def main(arguments: list[str]) -> None:
    """Trains all rows."""
    train.run_script("ablations.py", arguments, train_all)


if __name__ == "__main__":
    app.run(main)
