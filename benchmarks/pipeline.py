"""How fast batches come, and what share of a training step they would be waited for.

    python benchmarks/pipeline.py --data shi                # a data set that is built
    python benchmarks/pipeline.py --flagfile configs/cpu_small.flags,configs/demo.flags --steps 30

Without a flag file, images of a data set are read, decoded, resized to 320 x 320 and turned, and nothing is computed
from them.  With some, these recipes are trained from nothing for some steps in temporary folders: how long a step took,
and what share of the time was waited for data, as the run itself measures it (`training.csv` has it for every run).
"""

import csv
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.tables import reader, show
from btbnet_jax.config import DataConfig
from btbnet_jax.data import Examples, train_batches


def main() -> None:
    """Prints the table."""
    parser = reader(__doc__)
    parser.add_argument("--data-dir", default="data", help="folder of the built data sets (data)")
    parser.add_argument("--data", default="simulated/generated", help="set to read (simulated/generated)")
    parser.add_argument("--images", type=int, default=100, help="that are timed, after the first batch (100)")
    parser.add_argument("--threads", default="1,2", help="numbers of threads (1,2)")
    parser.add_argument("--flagfile", help="of recipes to train by, separated by commas")
    parser.add_argument("--steps", type=int, default=30, help="of that recipe (30)")
    arguments = parser.parse_args()
    if arguments.flagfile:
        rows = [_train(recipe, arguments.data_dir, arguments.steps) for recipe in arguments.flagfile.split(",")]
        show(rows, list(rows[0]), arguments.save)
        return
    examples = Examples(arguments.data_dir, arguments.data, "train")
    rows = []
    for threads, orientations in itertools.product(map(int, arguments.threads.split(",")), ("right_angles", "paper")):
        config = DataConfig(name=arguments.data, orientations=orientations, threads=threads)
        rate = _rate(examples, config, arguments.images)
        rows.append({"threads": threads, "orientations": orientations, "images/s": rate, "ms an image": 1e3 / rate})
    show(rows, list(rows[0]), arguments.save)


def _rate(examples: Examples, config: DataConfig, num: int) -> float:
    batches = train_batches(examples, config)
    for _ in range(2 * config.threads + 1):  # those that are read ahead
        next(batches)
    start = time.perf_counter()
    for _ in range(num):
        next(batches)
    return num / (time.perf_counter() - start)


def _train(flagfile: str, data_dir: str, steps: int) -> dict[str, Any]:
    root = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as folder:
        # Compilation is in the first half of the steps.
        flags = [f"--flagfile={flagfile}", f"--run_dir={folder}/run", f"--data_dir={data_dir}", f"--steps={steps}"]
        flags += ["--init_from=", "--warmup_steps=0", f"--log_every={max(1, steps // 2)}", "--evaluate_every=100000"]
        subprocess.run(
            [sys.executable, str(root / "train.py"), *flags], check=True, cwd=root, stdout=subprocess.DEVNULL
        )
        with (Path(folder) / "run" / "training.csv").open(newline="") as file:
            last = list(csv.DictReader(file))[-1]
    rate, share = (float(last[name]) for name in ("images_per_second", "share_waiting_for_data"))
    return {"recipe": flagfile, "images/s": rate, "waited for data": f"{share:.2%}"}


if __name__ == "__main__":
    main()
