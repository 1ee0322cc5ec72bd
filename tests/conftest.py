"""Settings for all tests: on the CPU unless JAX_PLATFORMS says otherwise, and no broadcasting over ranks unasked."""

import os
from pathlib import Path

import jax
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # also for the commands that tests start
jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def python_files() -> list[Path]:
    """Every Python file of the project."""
    root = Path(__file__).parents[1]
    folders = ("benchmarks", "btbnet_jax", "datasets", "docs", "tests")
    return sorted([*root.glob("*.py"), *(path for folder in folders for path in (root / folder).rglob("*.py"))])
