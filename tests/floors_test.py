"""The order of the code: who may import whom, and who alone may import which library."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the highest floor to the lowest. A module imports from floors below and from its right on its own floor.
FLOORS = (
    ("ablations", "train", "evaluate", "__main__", "cli"),
    (
        "bundle",
        "loop",
        "results",
        "difficulty",
        "evaluation",
        "training",
        "silence",
        "initial",
        "journal",
        "detect",
        "pictures",
        "tiles",
        "tiling",
        "grid",
        "buckets",
        "plots",
        "report",
        "export",
    ),
    ("weights", "checkpoints", "data", "augment", "builders", "pretrained"),
    ("storage",),
    ("losses", "network", "maps", "intervals", "metrics", "histograms", "baselines", "sources"),
    ("images", "resize", "writing", "compiler", "processes", "digests", "config", "fields", "types"),
)
ORDER = ["__init__", *(room for floor in FLOORS for room in floor)]

# Libraries that have a room of their own, and modules that nobody imports here.
ROOMS = {
    "PIL": {"images"},
    "tensorflow_datasets": {"data", "builders"},
    "grain": {"data"},
    "orbax": {"checkpoints"},
    "matplotlib": {"plots"},
    "absl.flags": {"ablations", "train", "evaluate"},
    "datasets": set(),
}
VAGUE_NAMES = {"utils", "util", "common", "helpers", "base", "misc"}


def imported(source: str) -> Iterator[str]:
    """Every dotted name that `source` imports, wherever it does so."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def package_files(root: Path) -> dict[Path, str]:
    """The files of the package and the scripts, each with its room: a module, or a package of modules."""
    inside = {path: path.relative_to(root / "btbnet_jax") for path in (root / "btbnet_jax").rglob("*.py")}
    rooms = {path: name.parts[0].removesuffix(".py") for path, name in inside.items()}
    return rooms | {path: path.stem for path in root.glob("*.py")}


def wrong_imports(root: Path) -> list[str]:
    """What breaks the order in the tree at `root`, one line each."""
    files = sorted(package_files(root).items())
    return [f"{path.relative_to(root)} has no floor yet" for path, room in files if room not in ORDER] + [
        f"{path.relative_to(root)} imports {name}: {reason}"
        for path, room in files
        if room in ORDER
        for name in imported(path.read_text(encoding="utf-8"))
        if (reason := _objection(room, name))
    ]


def _objection(room: str, name: str) -> str:
    if name.startswith("."):
        return "write absolute imports"
    for library, rooms in ROOMS.items():
        if f"{name}.".startswith(f"{library}.") and room not in rooms:
            return f"only {sorted(rooms)} may"
    package, _, rest = name.partition(".")
    if package != "btbnet_jax" or rest == "__version__":
        return ""
    target = rest.partition(".")[0]
    if target not in ORDER:
        return "import modules that have a floor, not names of the package's front"
    return "" if target == room or ORDER.index(room) < ORDER.index(target) else f"{target} is not below {room}"


def test_imports_go_downward_and_libraries_stay_in_their_rooms():
    assert wrong_imports(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("btbnet_jax/network/vgg.py", "from btbnet_jax.losses import joint_loss"),
        ("btbnet_jax/network/vgg.py", "from btbnet_jax import training"),
        ("btbnet_jax/resize.py", "from btbnet_jax import BTBNet"),
        ("btbnet_jax/resize.py", "from . import types"),
        ("btbnet_jax/report.py", "import btbnet_jax.training"),
        ("btbnet_jax/report.py", "def f():\n    from PIL import Image"),
        ("btbnet_jax/training.py", "import orbax.checkpoint as ocp"),
        ("btbnet_jax/training.py", "from absl import flags"),
        ("btbnet_jax/builders.py", "from datasets.shi import shi"),
        ("train.py", "import matplotlib.pyplot as plt"),
        ("btbnet_jax/novelty.py", "import math"),
    ],
)
def test_a_breach_of_the_order_is_found(tmp_path: Path, file: str, line: str):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line)
    assert len(wrong_imports(tmp_path)) == 1


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("btbnet_jax/training.py", "from btbnet_jax.plots import panel"),
        ("btbnet_jax/network/btbnet.py", "from btbnet_jax.network.vgg import VGG16"),
        ("btbnet_jax/network/btbnet.py", "from btbnet_jax import __version__"),
        ("btbnet_jax/network/btbnet.py", "from btbnet_jax import types"),
        ("btbnet_jax/images.py", "from PIL import Image"),
        ("train.py", "from absl import flags"),
    ],
)
def test_what_the_order_allows_is_let_through(tmp_path: Path, file: str, line: str):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line)
    assert wrong_imports(tmp_path) == []


def test_no_file_is_longer_than_320_lines(python_files: list[Path]):
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in python_files}
    assert {name: length for name, length in lengths.items() if length > 320} == {}


def test_no_module_has_a_name_that_says_nothing(python_files: list[Path]):
    assert [path.name for path in python_files if {path.stem, path.parent.name} & VAGUE_NAMES] == []
