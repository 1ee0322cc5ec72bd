"""Settings for all tests: on the CPU unless JAX_PLATFORMS says otherwise, and no broadcasting over ranks unasked.

The CPU counts as two devices, so that what is divided among devices can be compared with what is not.
"""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # also for the commands that tests start
jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What takes long to compile is compiled once, for all tests and for the commands that they start."""
    folder = str(tmp_path_factory.mktemp("compiled"))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    jax.config.update("jax_compilation_cache_dir", folder)


@pytest.fixture
def collect_garbage() -> Iterator[None]:
    """What a test leaves behind is collected at its end, so that what that warns of counts as its own."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def python_files() -> list[Path]:
    """Every Python file of the project."""
    root = Path(__file__).parents[1]
    folders = ("benchmarks", "btbnet_jax", "datasets", "docs", "tests")
    return sorted([*root.glob("*.py"), *(path for folder in folders for path in (root / folder).rglob("*.py"))])
