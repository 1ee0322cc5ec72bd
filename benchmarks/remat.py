"""What recomputing activations saves in a training step and costs, as the compiler counts it; nothing is run.

    python benchmarks/remat.py                      # the paper's network, AdamW, one image of 320 x 320
    python benchmarks/remat.py --exact              # direct convolutions, whose operations the compiler can count
    python benchmarks/remat.py --size 128 --width 0.25

On a CPU the convolutions of a step are otherwise loops over strips, and the compiler counts what is in a loop once.
Memory is that of temporaries, arguments and results, without what the step is given and returns in the same place.
"""

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.scaling import compiled
from benchmarks.tables import reader, show
from btbnet_jax.config import DataConfig, NetworkConfig, TrainConfig

COLUMNS = ("step", "memory, GiB", "TFLOP", "compilation, s")
WAYS: dict[str, dict[str, Any]] = {
    "without": {},
    "with remat of half": {"remat": True, "remat_policy": "half"},
    "with remat": {"remat": True},
}


def main() -> None:
    """Prints the table."""
    parser = reader(__doc__)
    parser.add_argument("--size", type=int, default=320, help="height and width (320)")
    parser.add_argument("--width", type=float, default=1.0, help="multiplier of the channels (1)")
    parser.add_argument("--batch", type=int, default=1, help="images at a time (1)")
    parser.add_argument("--exact", action="store_true", help="direct sums, and their number")
    arguments = parser.parse_args()
    precision = "highest" if arguments.exact else "default"
    columns = [name for name in COLUMNS if arguments.exact or name != "TFLOP"]
    rows = []
    for name, options in WAYS.items():
        network = NetworkConfig(width=arguments.width, precision=precision, **options)
        config = TrainConfig(network=network, data=DataConfig(batch_size=arguments.batch))
        start = time.perf_counter()
        program = compiled(config, arguments.size, 1)
        seconds = time.perf_counter() - start
        memory, work = _memory(program) / 2**30, program.cost_analysis()["flops"] / 1e12
        values = (name, f"{memory:.4g}", f"{work:.4g}", seconds)
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    show(rows, columns, arguments.save)


def _memory(program: Any) -> int:
    found = program.memory_analysis()
    sizes = found.temp_size_in_bytes + found.argument_size_in_bytes + found.output_size_in_bytes
    return sizes - found.alias_size_in_bytes


if __name__ == "__main__":
    main()
