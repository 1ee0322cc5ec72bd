"""How far btbnet-small's maps are from each other on several Pythons, each with the JAX that is installed in it.

    python benchmarks/pythons.py .venv/bin/python .venv313/bin/python

Each is to have this project's packages, with the extra `demo`; the photographs are those of docs/examples.png.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from btbnet_jax.report import markdown_table

_MAPS = """
import platform, sys
import jax, numpy
from skimage import data
from btbnet_jax import Detector
detector = Detector.load("btbnet-small")
maps = {name: detector(getattr(data, name)()).focus_map for name in ("astronaut", "chelsea", "coffee")}
numpy.savez(sys.argv[1], **maps)
print(platform.python_version(), jax.__version__)
"""


def main() -> None:
    """Prints the largest difference of each Python's maps from the first one's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", type=Path, nargs="+", help="the first is what the others are compared with")
    rows, first = [], {}
    for python in parser.parse_args().pythons:
        (version, jax), maps = _maps(python.absolute())
        first = first or maps
        differences = [float(np.abs(maps[name] - expected).max()) for name, expected in first.items()]
        rows.append({"python": version, "jax": jax, "largest difference": f"{max(differences):.1e}"})
    print(markdown_table(rows, ["python", "jax", "largest difference"]))


def _maps(python: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """Versions of a Python and its JAX, and the maps that they make with the code that is here."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "maps.npz")
        line = [str(python), "-c", _MAPS, str(path)]
        said = subprocess.run(line, env=environment, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
        with np.load(path) as archive:
            return said.split(), dict(archive)


if __name__ == "__main__":
    main()
