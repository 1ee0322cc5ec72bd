import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from btbnet_jax.cli import main
from btbnet_jax.detect import Detector
from btbnet_jax.images import quantise, write_png
from btbnet_jax.network import BTBNet, init_params
from btbnet_jax.weights import Weights, find_weights, load_weights, save_weights
from tests.raw_sets import noise
from tests.small_runs import CONFIG

ROOT = Path(__file__).parents[1]
WITHOUT_US = "import sys\nfor name in ('btbnet_jax', 'flax', 'jaxtyping'):\n    sys.modules[name] = None\n"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    params = jax.device_get(init_params(jax.random.key(0), CONFIG.network))
    for last in ("down1", "side1"):  # fresh ones have a map of 1/2
        params["stream1"][last]["kernel"] = 100 * params["stream1"][last]["kernel"]
    path = tmp_path_factory.mktemp("weights") / "trained.safetensors"
    save_weights(path, Weights(params, CONFIG.network, {"config": CONFIG.to_json()}, "CC0-1.0"))
    return str(path)


def test_the_programs_of_the_documentation_run_without_this_package(weights: str, tmp_path: Path):
    examples = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "export.md").read_text("utf-8"), re.M | re.S)
    assert len(examples) == 2
    assert main(["export", str(tmp_path / "small.jax"), "--weights", weights]) == 0
    assert main(["export", str(tmp_path / "apart.jax"), "--weights", weights, "--params", "beside"]) == 0
    photograph = noise((20, 30))
    write_png(tmp_path / "photo.png", photograph)
    program = "\n".join([WITHOUT_US, *examples]).replace("photo.jpg", "photo.png")
    line = [sys.executable, "-I", "-W", "error", "-c", program]
    done = subprocess.run(line, cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = quantise(Detector.load(weights)(photograph).focus_map)
    found = np.asarray(Image.open(tmp_path / "focus.png"))
    assert expected.std() > 2
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)
    assert "the same map" in done.stdout


def test_the_network_of_the_package_is_exported_without_being_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BTBNET_WEIGHTS", raising=False)
    path = tmp_path / "new" / "small.jax"
    assert main(["export", str(path), "--platforms", "cpu"]) == 0
    size = path.stat().st_size
    assert f"{path}: {size:,} bytes" in capsys.readouterr().out
    assert 4 * 843_168 < size < 4 * 843_168 + 150_000  # its parameters, see the model card
    released = load_weights(find_weights("btbnet-small"))
    assert json.loads(path.with_suffix(".json").read_text("utf-8"))["parameters"]["sha256"] == released.digest
    images = np.random.default_rng(0).integers(0, 256, (2, 33, 47, 3), np.uint8)
    outputs = jax.jit(BTBNet(released.config).apply)({"params": released.params}, jnp.asarray(images) / 255.0)
    found = jax.export.deserialize(bytearray(path.read_bytes())).call(images)
    np.testing.assert_allclose(found, outputs.focus_map[..., 0], atol=1e-5, rtol=0)


def test_what_cannot_be_done_is_said_in_a_line(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def error(*arguments: str) -> str:
        assert main(["export", str(tmp_path / "a.jax"), *arguments]) == 1
        return capsys.readouterr().err

    assert "no weights nowhere found" in error("--weights", "nowhere")
    assert "not cpu, gpu" in error("--weights", weights, "--platforms", "cpu,gpu")
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    assert "btbnet: jax.export writes by flatbuffers, which is missing: pip install" in error("--weights", weights)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.json").write_text("mine")
    assert "there already" in error("--weights", weights)
    assert (tmp_path / "a.json").read_text() == "mine"
    (tmp_path / "a.safetensors").write_bytes(before := Path(weights).read_bytes())
    here = ("--weights", str(tmp_path / "a.safetensors"), "--params", "beside", "--overwrite")
    assert "a.safetensors would be replaced by the same parameters in float32" in error(*here)
    assert (tmp_path / "a.safetensors").read_bytes() == before


def test_the_help_shows_examples(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="0"):
        main(["export", "--help"])
    text = capsys.readouterr().out
    assert "\n  btbnet export small.jax" in text
    assert max(map(len, text.splitlines())) <= 115
