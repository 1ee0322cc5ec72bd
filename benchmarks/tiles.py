"""Maps large photographs in tiles: seconds, peak memory, and multiplications beyond those of the image in one piece.

    python benchmarks/tiles.py                                  # the small network at 3 and 12 megapixels
    python benchmarks/tiles.py --paper --sizes 800x600 --tiles 256,512
    python benchmarks/tiles.py --tiles 512 --sizes 375x267,750x533,1224x817,2121x1414,3000x2000,4243x2828 \
        --plot docs/cost.png

Each row is measured in a process of its own, so that its peak of memory (the GPU's where there is one) is its own.  The
image is generated.  The first time includes compilation; multiplications are those of the convolutions.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.memory import peak_memory
from benchmarks.tables import reader, show
from btbnet_jax.config import NetworkConfig
from btbnet_jax.grid import choose_tile
from btbnet_jax.network import for_inference, init_params
from btbnet_jax.resize import scaled_size
from btbnet_jax.tiles import STREAM_RADIUS, fusion_radius, tiled_logits
from btbnet_jax.tiling import Tiling
from btbnet_jax.weights import find_weights, load_weights

COLUMNS = ("image", "tile", "first time, s", "again, s", "peak memory, GiB", "multiplications")
PLOTTED = {"again, s": "seconds, without compilation", "peak memory, GiB": "peak memory of the process, GiB"}


def main() -> None:
    """Prints a table of all sizes and tiles, or the row of one."""
    parser = reader(__doc__)
    parser.add_argument("--sizes", default="2000x1500,3999x3001", help="heights and widths (2000x1500,3999x3001)")
    parser.add_argument("--tiles", default="256,512", help="sides of the tiles in pixels (256,512)")
    parser.add_argument("--paper", action="store_true", help="the paper's network, with fresh parameters")
    parser.add_argument("--once", action="store_true", help="measure the first time alone (the paper's take minutes)")
    parser.add_argument("--plot", type=Path, help="file for a picture of seconds and memory against the pixels, .png")
    parser.add_argument("--only", action="store_true", help="measure the first size and tile, in this process")
    arguments = parser.parse_args()
    if arguments.once and arguments.plot:
        parser.error("--plot shows the time of the second call, which --once leaves out: give one of the two")
    sizes = [tuple(map(int, size.split("x"))) for size in arguments.sizes.split(",")]
    tiles = [int(tile) for tile in arguments.tiles.split(",")]
    if arguments.only:
        print(*_measured(sizes[0], tiles[0], paper=arguments.paper, calls=1 if arguments.once else 2), sep="\t")
        return
    rows = []
    for tile in tiles:
        for height, width in sizes:
            command = [sys.executable, __file__, "--only", f"--sizes={height}x{width}", f"--tiles={tile}"]
            command += ["--paper"] * arguments.paper + ["--once"] * arguments.once
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows.append(dict(zip(COLUMNS, done.stdout.strip().split("\t"), strict=True)))
    show(rows, COLUMNS, arguments.save)
    if arguments.plot:
        _plot(arguments.plot, rows)


def _measured(size: Sequence[int], tile: int, *, paper: bool, calls: int) -> list[str]:
    config, params = _network(paper=paper)
    convolution, ready = for_inference(config, params)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        tiled_logits(config, ready, image, Tiling(tile, convolution=convolution))
        times.append(f"{time.perf_counter() - start:.1f}")
    peak = peak_memory() / 2**30
    ratio = _multiplications(config, params, size, tile) / _multiplications(config, params, size, None)
    times += ["–"] * (2 - calls)
    return [f"{size[0]} × {size[1]}", str(tile), *times, f"{peak:.2f}", f"{ratio:.3f} ×"]


def _plot(path: Path, rows: Sequence[dict[str, str]]) -> None:
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, (column, words) in zip(figure.subplots(1, 2), PLOTTED.items(), strict=True):
        for tile in dict.fromkeys(row["tile"] for row in rows):
            own = [row for row in rows if row["tile"] == tile]
            pixels = [np.prod([int(n) for n in row["image"].split(" × ")]) / 1e6 for row in own]
            axes.plot(pixels, [float(row[column]) for row in own], "o-", label=f"tiles of {tile} × {tile}")
        axes.set(xlabel="megapixels", ylabel=words, xlim=(0, None), ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


def _network(*, paper: bool) -> tuple[NetworkConfig, Any]:
    if paper:
        return NetworkConfig(), init_params(jax.random.key(0), NetworkConfig())
    weights = load_weights(find_weights("btbnet-small"))
    return weights.config, weights.params


def _multiplications(config: NetworkConfig, params: Any, size: Sequence[int], tile: int | None) -> int:
    """Those of the convolutions: at every pixel that is computed, as many as the kernels have numbers."""

    def pixels(of_map: Sequence[int], radius: int) -> int:
        return choose_tile(of_map, tile, radius).computed_pixels(of_map) if tile else of_map[0] * of_map[1]

    def numbers(part: Any) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(part) if leaf.ndim == 4)

    shared = config.share_streams
    streams = sum(
        numbers(params["stream" if shared else f"stream{number}"])
        * pixels([scaled_size(n, scale) for n in size], STREAM_RADIUS)
        for number, scale in enumerate(config.scales, start=1)
    )
    fusion = numbers(params.get("fnet", {})) + config.num_steps * numbers(params.get("rrnet", {}))
    return streams + fusion * pixels(size, fusion_radius(config))


if __name__ == "__main__":
    main()
