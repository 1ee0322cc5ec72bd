import re
from pathlib import Path

import jax
import numpy as np
import pytest

from btbnet_jax.checkpoints import Checkpoints
from btbnet_jax.cli import main
from btbnet_jax.cli import weights as command
from btbnet_jax.digests import digest
from btbnet_jax.initial import weights_of
from btbnet_jax.network import init_params
from btbnet_jax.weights import load_weights, save_weights
from tests.small_runs import CONFIG

NUM_PARAMS = 18126  # of CONFIG: 17,640 of the stream, 243 each of FNet and RRNet


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    record = {"config": CONFIG.to_json(), "validation": {"mae": 0.25}, "next_batch": 6}
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(6, {"params": init_params(jax.random.key(0), CONFIG.network)}, record)
    return folder


def test_a_run_is_converted_inspected_and_verified(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "new" / "small.safetensors"
    assert main(["weights", "convert", str(run), str(path), "--licence", "CC0-1.0"]) == 0
    loaded = load_weights(path)
    assert loaded.digest == digest(init_params(jax.random.key(0), CONFIG.network))
    assert f"sha256 of its parameters {loaded.digest}" in capsys.readouterr().out
    assert main(["weights", "inspect", str(path)]) == 0
    output = capsys.readouterr().out
    for line in (
        "licence: CC0-1.0",
        "scales: ['1/2']",
        "steps: 6",
        "validation: {'mae': 0.25}",
        "started from: nothing",
        loaded.digest,
    ):
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
    monkeypatch.setattr(command, "_SCENE", 32)
    path = tmp_path / "small.safetensors"
    assert main(["weights", "convert", str(run), str(path), "--storage", storage]) == 0
    output = capsys.readouterr().out
    match = re.search(r"maps of 4 generated scenes changed by (\S+) in the mean, (\S+) at most", output)
    assert match is not None
    assert 0 < float(match[1]) < float(match[2]) < limit
    kept = load_weights(path).summary["storage_loss"]["maps of 4 generated scenes"]
    assert (f"{kept['mean']:.1e}", f"{kept['most']:.1e}") == (match[1], match[2])


def test_the_change_of_parameters_is_the_rounding_of_two_numbers_where_8_bits_hold_all_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def on_the_grid(leaf: np.ndarray) -> np.ndarray:
        """Multiples of 1/1024 up to 127/1024, which every channel has."""
        if leaf.ndim == 1:
            return leaf
        integers = np.clip(np.rint(leaf * 1024), -127, 127)
        integers[0, 0, 0] = 127
        return (integers / 1024).astype(np.float32)

    params = jax.tree.map(on_the_grid, jax.device_get(init_params(jax.random.key(0), CONFIG.network)))
    params["stream1"]["down1"]["kernel"][1, 1, :, 0] = np.array([3.375, -5.25], np.float32) / 1024
    with Checkpoints(tmp_path / "run") as checkpoints:
        checkpoints.save(6, {"params": params}, {"config": CONFIG.to_json()})
    monkeypatch.setattr(command, "_SCENE", 32)
    assert (
        main(["weights", "convert", str(tmp_path / "run"), str(tmp_path / "a.safetensors"), "--storage", "int8"]) == 0
    )
    mean, most = (0.375 + 0.25) / 1024 / NUM_PARAMS, 0.375 / 1024
    assert f"parameters changed by {mean:.1e} in the mean, {most:.1e} at most" in capsys.readouterr().out


def test_what_others_wrote_into_a_file_cannot_steer_the_terminal(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    hostile = weights_of(run, licence="\x1b[2J\x07")._replace(summary={"validation": "\n\x1b", "config": {"data": 3}})
    save_weights(tmp_path / "hostile.safetensors", hostile)
    assert main(["weights", "inspect", str(tmp_path / "hostile.safetensors")]) == 0
    output = capsys.readouterr().out
    assert "\nlicence: ?[2J?\n" in output
    assert "\nvalidation: ??\n" in output


@pytest.mark.parametrize("action", [(), ("inspect",), ("verify",), ("convert",)])
def test_the_help_shows_examples(action: tuple[str, ...], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="0"):
        main(["weights", *action, "--help"])
    text = capsys.readouterr().out
    assert f"\n  btbnet weights {''.join(action) or 'convert'}" in text
    assert max(map(len, text.splitlines())) <= 115


def test_no_file_is_replaced_unasked(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "small.safetensors"
    path.touch()
    assert main(["weights", "convert", str(run), str(path)]) == 1
    assert "is there already: give another name, or overwrite it (--overwrite)" in capsys.readouterr().err
    assert main(["weights", "convert", str(run), str(path), "--overwrite"]) == 0
    assert main(["weights", "convert", str(tmp_path / "absent"), str(path), "--overwrite"]) == 1
    assert "there is no run, no checkpoint and no file" in capsys.readouterr().err
