"""Maps a folder of photographs of mixed sizes: the detector beside the same network jitted for every size.

    python benchmarks/folder.py $BTBNET_DATA/shi/image --list=btbnet_jax/sources/lists/shi_test100.txt

Photographs keep their own sizes; each is read, mapped, and its map rounded to 8 bits.  In this order, in one process:

- the network jitted as it comes, which compiles for every size, compilation included;
- the detector, compilation included;
- then turns of both, all compiled, photograph by photograph or in lists of 4; their medians are compared.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.tables import reader, show
from btbnet_jax import Detector, detect
from btbnet_jax.images import quantise, read_image
from btbnet_jax.network import BTBNet
from btbnet_jax.pictures import ahead, find_pictures
from btbnet_jax.weights import find_weights, load_weights

COLUMNS = ("what", "compilations", "photographs/s", "beside jit for each size, warm")


def main() -> None:
    """Prints the table."""
    parser = reader(__doc__)
    parser.add_argument("folder", type=Path, help="of photographs, with all folders within")
    parser.add_argument("--list", type=Path, help="file with the names to take, one a line")
    parser.add_argument("--num", type=int, help="take the first so many")
    parser.add_argument("--turns", type=int, default=2, help="of each, when all is compiled (2)")
    arguments = parser.parse_args()
    paths = _paths(arguments.folder, arguments.list)[: arguments.num]

    naive, detector = _Naive(), Detector.load("btbnet-small", resolution="native")
    seconds = {
        "jit as it comes": [_seconds(lambda: naive(paths))],
        "Detector, first time": [_seconds(lambda: _detect(detector, paths))],
    }
    compiled = {"jit as it comes": naive.compiled(), "Detector, first time": len(detector.programs)}
    for _ in range(arguments.turns):
        seconds.setdefault("jit for each size, warm", []).append(_seconds(lambda: naive(paths)))
        seconds.setdefault("Detector, warm", []).append(_seconds(lambda: _detect(detector, paths)))
    rates = {what: len(paths) / float(np.median(times)) for what, times in seconds.items()}
    rows: list[dict[str, str | float]] = [
        dict(zip(COLUMNS, (what, compiled.get(what, 0), rate, rate / rates["jit for each size, warm"]), strict=True))
        for what, rate in rates.items()
    ]
    show(rows, COLUMNS, arguments.save, before=f"{len(paths)} photographs of {len(naive.sizes)} sizes")


class _Naive:
    """The network as anybody would jit it, one photograph at a time."""

    def __init__(self) -> None:
        weights = load_weights(find_weights("btbnet-small"))
        self._params = jax.device_put(weights.params)
        self._network: Any = jax.jit(lambda params, image: self._map(BTBNet(weights.config), params, image))
        self.sizes: set[tuple[int, ...]] = set()

    @staticmethod
    def _map(network: BTBNet, params: Any, image: Any) -> Any:
        outputs: Any = network.apply({"params": params}, image[None] / 255.0)
        return outputs.focus_map

    def __call__(self, paths: list[Path]) -> None:
        for path in paths:
            image = read_image(path)
            self.sizes.add(image.shape)
            quantise(np.asarray(self._network(self._params, image))[0, ..., 0])

    def compiled(self) -> int:
        return self._network._cache_size()


def _detect(detector: Detector, paths: list[Path]) -> None:
    """As `btbnet detect` does: photographs are read while others are computed."""
    some = []
    for number, (_, photograph) in enumerate(ahead(detect.read_photograph, paths), start=1):
        some.append(photograph.result())
        if len(some) == 4 or number == len(paths):
            for detection in detector.detect(some):
                quantise(detection.focus_map)
            some = []


def _paths(folder: Path, names: Path | None) -> list[Path]:
    paths = [found.path for found in find_pictures([str(folder)])[0]]
    if names is None:
        return paths
    wanted = {Path(line).stem for line in names.read_text().split()}
    return [path for path in paths if path.stem in wanted]


def _seconds(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
