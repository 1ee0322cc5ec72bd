"""Times the start: imports, and the first map of a photograph, without and with programs that were kept.

    python benchmarks/start.py
    python benchmarks/start.py --size 2000x1500 --repeat 5

Every figure is of a process of its own, from its begin to its end, in turns; but the last, which is of one call of
`Detector` in a process that has made one before, from the file to the map of its size.  The photograph is generated.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.tables import reader, show
from btbnet_jax.images import write_png
from btbnet_jax.sources import generated, simulated

COLUMNS = ("process", "seconds, median", "least", "most")
IMPORTS = {
    "import numpy": "import numpy",
    "import jax": "import jax",
    "import btbnet_jax": "import jax, btbnet_jax",
    "from btbnet_jax import Detector": "import jax; from btbnet_jax import Detector",
}

WARM = """
import sys, time
from btbnet_jax import Detector
detector = Detector.load("btbnet-small")
detector(sys.argv[1])
for _ in range(9):
    start = time.perf_counter()
    detector(sys.argv[1])
    print(time.perf_counter() - start)
"""


def main() -> None:
    """Prints the table."""
    parser = reader(__doc__)
    parser.add_argument("--size", default="480x320", help="height and width of the photograph (480x320)")
    parser.add_argument("--repeat", type=int, default=3, help="turns (3)")
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        photograph = Path(folder, "photo.png")
        write_png(photograph, simulated.blurred_version(generated.scene("train", 0, height=height, width=width), 12)[0])
        for turn in range(arguments.repeat):
            for name, program in IMPORTS.items():
                seconds.setdefault(name, []).append(_seconds(["-c", program], folder))
            cache = Path(folder, f"cache{turn}")
            detect = ["-m", "btbnet_jax", "detect", str(photograph), "--output", str(cache / "maps"), "--overwrite"]
            for name in ("btbnet detect, the first time", "btbnet detect, again"):
                seconds.setdefault(name, []).append(_seconds(detect, str(cache)))
            seconds.setdefault("Detector, warm", []).extend(_warm(photograph, str(cache)))
    rows: list[dict[str, str | float]] = [
        dict(zip(COLUMNS, (name, float(np.median(times)), min(times), max(times)), strict=True))
        for name, times in seconds.items()
    ]
    show(rows, COLUMNS, arguments.save, before=f"a photograph of {height} × {width}")


def _seconds(arguments: list[str], cache: str) -> float:
    start = time.perf_counter()
    _output(arguments, cache)
    return time.perf_counter() - start


def _warm(photograph: Path, cache: str) -> list[float]:
    return [float(line) for line in _output(["-c", WARM, str(photograph)], cache).split()]


def _output(arguments: list[str], cache: str) -> str:
    environment = os.environ | {"XDG_CACHE_HOME": cache, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


if __name__ == "__main__":
    main()
