"""How far btbnet-small's maps are from each other on several Pythons, each with the JAX that is installed in it.

    python benchmarks/pythons.py .venv/bin/python .venv313/bin/python

Each is to have this project's packages, with the extra `demo`; the photographs are those of docs/examples.png.  Where
there is no tensorstore, grain or array-record yet (Python 3.15), maps can be made without:

    pip install jax scipy scikit-image safetensors
    pip install --no-deps flax jaxtyping wadler-lindig optax msgpack rich absl-py etils treescope pyyaml
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.tables import reader, show

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
    parser = reader(__doc__)
    parser.add_argument("pythons", type=Path, nargs="+", help="the first is what the others are compared with")
    arguments = parser.parse_args()
    rows, first = [], {}
    for python in arguments.pythons:
        (version, jax), maps = _maps(python.absolute())
        first = first or maps
        differences = [float(np.abs(maps[name] - expected).max()) for name, expected in first.items()]
        rows.append({"python": version, "jax": jax, "largest difference": f"{max(differences):.1e}"})
    show(rows, ["python", "jax", "largest difference"], arguments.save)


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
