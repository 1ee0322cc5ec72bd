import re
from pathlib import Path

import jax
import pytest
from small_runs import CONFIG

from btbnet_jax.checkpoints import Checkpoints, digest
from btbnet_jax.cli import main
from btbnet_jax.network import init_params
from btbnet_jax.sources import generated
from btbnet_jax.weights import load_weights


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    record = {"config": CONFIG.to_json(), "validation": {"mae": 0.25}, "next_batch": 6}
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(6, {"params": init_params(jax.random.key(0), CONFIG.network)}, record)
    return folder


def test_a_run_is_converted_inspected_and_verified(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "small.safetensors"
    assert main(["weights", "convert", str(run), str(path), "--licence", "CC0-1.0"]) == 0
    loaded = load_weights(path)
    assert loaded.digest == digest(init_params(jax.random.key(0), CONFIG.network))
    assert f"sha256 of its parameters {loaded.digest}" in capsys.readouterr().out
    assert main(["weights", "inspect", str(path)]) == 0
    output = capsys.readouterr().out
    for line in ("licence: CC0-1.0", "scales: ['1/2']", "steps: 6", "validation: {'mae': 0.25}", loaded.digest):
        assert line in output
    assert main(["weights", "verify", str(path)]) == 0
    assert "whole, sha256" in capsys.readouterr().out
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert main(["weights", "verify", str(path)]) == 1
    assert "is damaged: its sha256 is not that recorded" in capsys.readouterr().err


@pytest.mark.parametrize(("storage", "limit"), [("float16", 0.005), ("int8", 0.05)])
def test_the_loss_of_accuracy_is_measured_and_printed(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    storage: str,
    limit: float,
):
    whole = generated.scene
    monkeypatch.setattr(generated, "scene", lambda split, index: whole(split, index, height=32, width=32))
    path = tmp_path / "small.safetensors"
    assert main(["weights", "convert", str(run), str(path), "--storage", storage]) == 0
    match = re.search(r"changed by (\S+) in the mean, (\S+) at most", capsys.readouterr().out)
    assert match is not None
    assert 0 < float(match[1]) < float(match[2]) < limit


def test_no_file_is_replaced_unasked(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "small.safetensors"
    path.touch()
    assert main(["weights", "convert", str(run), str(path)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert main(["weights", "convert", str(run), str(path), "--overwrite"]) == 0
    assert main(["weights", "convert", str(tmp_path / "absent"), str(path), "--overwrite"]) == 1
    assert "holds no checkpoint" in capsys.readouterr().err
