"""Settings for all tests: on the CPU unless JAX_PLATFORMS says otherwise, and no broadcasting over ranks unasked.

The CPU counts as eight devices, so that what is divided among devices can be compared with what is not.  Most of the
time of the tests is compilation, so machine code is not optimised, and written in the way that takes half as long where
XLA still has it; XLA's own optimisations stay.  Python looks for garbage less often than by default, which would
take a twelfth of the time where functions are traced all the while.
"""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import jaxtyping
import pytest

from btbnet_jax.cli import main
from btbnet_jax.data import Examples
from btbnet_jax.images import write_png
from btbnet_jax.network import init_params
from btbnet_jax.weights import Weights, save_weights
from tests.raw_sets import noise
from tests.script_calls import Call, caller, loaded
from tests.small_runs import CONFIG
from tests.small_sets import build_pairs, half_in_focus

gc.set_threshold(100_000, 50, 1000)
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # also for the commands that tests start
quick = ["--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
if jax.__version_info__ < (0, 11):  # newer ones end at a flag that they do not know
    quick.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(quick))
jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config: pytest.Config) -> None:
    # Another worker may be in the middle of writing it; it is compiled again then.
    config.addinivalue_line("filterwarnings", "ignore:Error (read|writ)ing persistent compilation cache entry")


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What takes long to compile is compiled once, for all tests and for the commands that they start."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # shared by the workers
    for name, value in (
        ("compilation_cache_dir", str(folder / "compiled")),
        ("persistent_cache_min_compile_time_secs", 0.1),
    ):
        os.environ[f"JAX_{name.upper()}"] = str(value)
        jax.config.update(f"jax_{name}", value)


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with pairs/small: 8 images to train on, two of them of sizes of their own, and 3 to test."""
    folder = tmp_path_factory.mktemp("data")
    sizes = {3: (70, 24), 6: (20, 30)}
    pairs = {f"train{number}": half_in_focus(number, sizes.get(number, (24, 24))) for number in range(8)}
    tests = {f"test{number}": half_in_focus(100 + number) for number in range(3)}
    build_pairs(folder, "small", pairs | tests, test=tuple(tests))
    return folder


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of the smallest network, with fresh parameters."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    params = jax.device_get(init_params(jax.random.key(0), CONFIG.network))
    save_weights(path, Weights(params, CONFIG.network, {"config": CONFIG.to_json()}, "CC0-1.0"))
    return path


@pytest.fixture
def detect(small_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """`btbnet detect` in a folder with some photographs, writing into `focus`."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "album/b.png", "album/deep/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_png(tmp_path / name, noise((20, 24)))

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["detect", "--weights", str(small_weights), *arguments])
        output = capsys.readouterr()
        return status, output.out, output.err

    return call


@pytest.fixture
def collect_garbage() -> Iterator[None]:
    """What a test leaves behind is collected at its end, so that what that warns of counts as its own."""
    gc.freeze()  # all that was there before, which would take a second to look through
    yield
    gc.collect()
    gc.unfreeze()


@pytest.fixture(scope="session")
def python_files() -> list[Path]:
    """Every Python file of the project."""
    root = Path(__file__).parents[1]
    folders = ("benchmarks", "btbnet_jax", "datasets", "docs", "tests")
    return sorted([*root.glob("*.py"), *(path for folder in folders for path in (root / folder).rglob("*.py"))])


@pytest.fixture
def as_in_production(monkeypatch: pytest.MonkeyPatch):
    """The checks of types that only tests have would come before those under test."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def white_maps(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of maps of all images: their masks, and these turned round."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("right", "wrong")}
    for split in ("train", "test"):
        examples = Examples(small_data, "pairs/small", split)
        for index in range(len(examples)):
            write_png(folders["right"] / f"{examples.name(index)}.png", examples[index][1])
            write_png(folders["wrong"] / f"{examples.name(index)}.png", 255 - examples[index][1])
    return folders


@pytest.fixture
def evaluate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, small_data: Path, tmp_path: Path
) -> Iterator[Call]:
    """`evaluate.py` on the small data, writing into folders of the test."""
    monkeypatch.chdir(tmp_path)
    with loaded("evaluate") as module:
        call = caller(module, capsys, monkeypatch)
        yield lambda *arguments: call(f"--data_dir={small_data}", "--output=out", *arguments)
