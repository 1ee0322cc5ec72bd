"""Trains ablations, and writes their table: `python ablations.py --flagfile=configs/ablations_cpu.flags`.

All flags of train.py hold for every row; --run_dir is the folder of them all.
"""

from pathlib import Path

from absl import app, flags

import train
from btbnet_jax.ablations import ROWS, TABLES, run_ablations

TABLE = flags.DEFINE_enum(
    "table", "network", list(TABLES), "Of the network's parts, or of what the simulation consists of."
)
ROW = flags.DEFINE_multi_string("row", None, f"Rows to train, instead of a whole table: {', '.join(ROWS)}.")
SCORES = flags.DEFINE_string("scores", None, "File, .json, of the scores; RUN_DIR/ablations.json if unset.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Runs of each row.", lower_bound=1)


def train_all() -> None:
    """Trains what is not finished yet, and prints the table after each run."""
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
