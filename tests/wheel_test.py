"""What pip installs: everything that the package needs to map a photograph, and nothing beside it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from btbnet_jax import Detector
from btbnet_jax.images import quantise
from tests.script_calls import ROOT

LICENCES = {"LICENSE", "LICENSE-WEIGHTS"}


def pip(*arguments: str | Path) -> None:
    line = [sys.executable, "-m", "pip", *map(str, arguments), "--no-deps", "--no-index", "--quiet"]
    subprocess.run(line, check=True, capture_output=True, timeout=600)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the files that are here, built in a folder of its own."""
    source, wheels = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for name in ("pyproject.toml", "README.md", *LICENCES):
        shutil.copy(ROOT / name, source)
    for name in ("btbnet_jax", "datasets", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip("wheel", "--no-build-isolation", "--wheel-dir", wheels, source)
    (path,) = wheels.iterdir()
    return path


def test_a_wheel_holds_the_package_its_weights_and_its_lists_and_nothing_else(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        licences = {name.rpartition("/")[2] for name in archive.namelist() if ".dist-info/licenses/" in name}
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = [path for path in (ROOT / "btbnet_jax").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert licences == LICENCES
    assert names == {str(path.relative_to(ROOT)) for path in files}
    assert "btbnet_jax/released/btbnet-small.safetensors" in names
    assert wheel.stat().st_size <= 8_000_000


def test_an_installed_wheel_maps_a_photograph_without_anything_else(wheel: Path, tmp_path: Path):
    site = tmp_path / "site"
    pip("install", "--target", site, wheel)
    photograph = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(photograph).save(tmp_path / "photo.png")
    command = "import btbnet_jax.cli as cli; print(cli.__file__); cli.main(['detect', 'photo.png'])"
    done = subprocess.run(
        [sys.executable, "-c", command],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[0]).is_relative_to(site)
    expected = quantise(Detector.load("btbnet-small")(photograph).focus_map)
    with Image.open(tmp_path / "focus" / "photo_focus.png") as focus_map:
        np.testing.assert_allclose(np.asarray(focus_map).astype(int), expected, atol=1)
