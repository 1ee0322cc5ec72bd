"""How far data-parallel training scales, from the bytes and operations of the compiled step and a cluster's rates.

    python benchmarks/scaling.py                    # the paper's network, AdamW, an image of 320 x 320 a device
    python benchmarks/scaling.py --width 0.125 --size 64

The step is compiled for as many simulated devices as are asked for, and not run.  What its collectives exchange is
read from the compiled program.  A ring of n devices sends each byte that is summed 2 (n - 1) / n times through every
link, so

    computing  = operations of a device / (its peak x the share of the peak that it reaches)
    exchanging = 2 (n - 1) / n x bytes / bandwidth of the slowest link + 2 (n - 1) x latency
    efficiency = computing / (computing + exchanging)             where nothing overlaps
               = computing / max(computing, exchanging)           where all of it does
"""

import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.tables import reader, show
from btbnet_jax.config import DataConfig, NetworkConfig, TrainConfig
from btbnet_jax.network import convolution
from btbnet_jax.training import init_state, make_mesh, make_train_step, replicated, shared
from btbnet_jax.types import Batch

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "f64": 8}


class Cluster(NamedTuple):
    """Devices and the links between them.

    Attributes:
      name: of the kind.
      flops: a device's peak, operations a second, in the type that is computed in.
      bandwidth: of the slowest link that a ring passes, bytes a second in one direction for each device.
      latency: of one exchange, seconds.
    """

    name: str
    flops: float
    bandwidth: float
    latency: float


CLUSTERS = (
    Cluster("GPUs of 800 TFLOP/s, NVLink of 450 GB/s", 800e12, 450e9, 5e-6),
    Cluster("GPUs of 800 TFLOP/s, InfiniBand of 400 Gbit/s for each", 800e12, 50e9, 10e-6),
    Cluster("GPUs of 800 TFLOP/s, Ethernet of 100 Gbit/s for each", 800e12, 12.5e9, 50e-6),
    Cluster("CPUs of 1 TFLOP/s, Ethernet of 10 Gbit/s", 1e12, 1.25e9, 50e-6),
)


def main() -> None:
    """Prints what is exchanged and the table."""
    parser = reader(__doc__)
    parser.add_argument("--size", type=int, default=320, help="height and width (320)")
    parser.add_argument("--width", type=float, default=1.0, help="multiplier of the channels (1)")
    parser.add_argument("--per-device", type=int, default=1, help="images of a device and step (1)")
    parser.add_argument("--devices", type=int, default=8, help="simulated, for which the step is compiled (8)")
    parser.add_argument("--reached", type=float, default=0.5, help="share of the peak that a device reaches (0.5)")
    arguments = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", arguments.devices)

    data = DataConfig(batch_size=arguments.per_device * arguments.devices)
    # Direct sums in one piece, as the compiler counts the operations of a loop once.
    convolution.MOST_PIXELS = sys.maxsize
    config = TrainConfig(network=NetworkConfig(width=arguments.width, precision="highest"), data=data)
    program = compiled(config, arguments.size, arguments.devices)
    found = dict(exchanged(program.as_text()))
    flop, summed = program.cost_analysis()["flops"], sum(found.values())
    bytes_of = ", ".join(f"{kind} {number / 1e6:.4g}" for kind, number in found.items()) or "nothing"
    before = f"a device computes {flop / 1e12:.4g} TFLOP a step, and of its collectives exchange, MB: {bytes_of}"
    rows: list[dict[str, str | float]] = []
    for cluster in CLUSTERS:
        row: dict[str, str | float] = {"cluster": cluster.name}
        for num in (2, 8, 64, 512):
            apart, overlapped = efficiencies(cluster, num, flop, summed, arguments.reached)
            row[f"{num} devices"] = f"{apart:.0%} to {overlapped:.0%}"
        rows.append(row)
    show(rows, list(rows[0]), arguments.save, before=before)


def exchanged(program: str) -> Iterator[tuple[str, int]]:
    """Yields each kind of collective in the text of a compiled program, and the bytes of its results in all."""
    for kind in COLLECTIVES:
        if results := re.findall(rf"= (.*?) {kind}(?:-start)?\(", program):
            yield kind, sum(map(num_bytes, results))


def num_bytes(shapes: str) -> int:
    """Returns the bytes of the arrays whose shapes stand in the text of a program, as in "(f32[3,4]{1,0}, u8[2])"."""
    found = re.findall(r"(\w+)\[([\d,]*)\]", shapes)
    return sum(_BYTES.get(dtype, 0) * math.prod(map(int, filter(None, dims.split(",")))) for dtype, dims in found)


def efficiencies(cluster: Cluster, num: int, flop: float, summed: float, reached: float) -> tuple[float, float]:
    """Returns the share of the time that devices compute, where no exchange overlaps with it, and where all does."""
    computing = flop / (cluster.flops * reached)
    exchanging = 2 * (num - 1) / num * summed / cluster.bandwidth + 2 * (num - 1) * cluster.latency
    return computing / (computing + exchanging), computing / max(computing, exchanging)


def compiled(config: TrainConfig, size: int, num: int) -> Any:
    """Returns the program of the training step for images of a size and so many devices."""
    mesh = make_mesh(num)
    state = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh)),
        jax.eval_shape(lambda: init_state(config)),
    )
    images, masks = (np.zeros((config.data.batch_size, size, size, channels), np.uint8) for channels in (3, 1))
    sizes = np.full((config.data.batch_size, 2), size, np.int32)
    batch = shared(Batch(images, masks, sizes, np.zeros(len(images), np.int32)), mesh)
    step: Any = make_train_step(config)
    return step.lower(state, batch).compile()


if __name__ == "__main__":
    main()
