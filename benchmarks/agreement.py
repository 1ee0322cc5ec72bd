"""How alike the maps of two folders are, image by image: ours, say, and those that a method's authors published.

    python evaluate.py --baselines=hifst --maps=published=MAPS --data=shi --split=test --size=0 --final --save_maps ...
    python benchmarks/agreement.py OUTPUT/maps/hifst MAPS

Maps belong together by the names of their files; both are in 0..1.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from btbnet_jax.images import image_size, read_map
from btbnet_jax.maps import find_maps
from btbnet_jax.report import markdown_table


def main() -> None:
    """Prints the mean, the median and the least of the correlation, and the mean absolute difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, help="folder of maps")
    parser.add_argument("second", type=Path, help="folder of maps with the same names")
    arguments = parser.parse_args()
    names = {path.stem: path for path in sorted(arguments.first.iterdir())}
    others, _ = find_maps(arguments.second, {name: image_size(path) for name, path in names.items()})
    pairs = [(_map(path), _map(others[name])) for name, path in names.items()]
    correlations = [float(np.corrcoef(first.ravel(), second.ravel())[0, 1]) for first, second in pairs]
    differences = [float(np.abs(first - second).mean()) for first, second in pairs]
    row: dict[str, str | float] = {
        "maps": str(len(pairs)),
        "correlation, mean": float(np.mean(correlations)),
        "median": float(np.median(correlations)),
        "least": min(correlations),
        "least alike": list(names)[int(np.argmin(correlations))],
        "absolute difference, mean": float(np.mean(differences)),
    }
    print(markdown_table([row], list(row)))


def _map(path: Path) -> np.ndarray:
    return read_map(path).astype(np.float64) / 255


if __name__ == "__main__":
    main()
