"""`btbnet bundle` as a command, and what its dry run finds."""

import importlib
from pathlib import Path
from typing import Any

import jax
import pytest

from btbnet_jax import cli
from btbnet_jax.bundle import hand_out
from btbnet_jax.initial import initial_params
from btbnet_jax.weights import Weights, load_weights, save_weights
from tests.small_bundles import build_sets, small_project
from tests.small_runs import CONFIG

dry_run: Any = importlib.import_module("btbnet_jax.bundle.dry_run")  # not the function of that name


@pytest.fixture(scope="module")
def params() -> Any:
    return jax.device_get(initial_params(CONFIG)[1])


@pytest.fixture
def file(params: Any, tmp_path: Path) -> Path:
    """A weights file of a small network."""
    save_weights(tmp_path / "small.safetensors", Weights(params, CONFIG.network, {"step": 7}, ""))
    return tmp_path / "small.safetensors"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("places")
    return [f"--project={small_project(folder / 'project')}", f"--data-dir={build_sets(folder)}"]


def test_the_commands_pack_hand_out_and_join(
    places: list[str], file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    bundle, out, joined = (str(tmp_path / name) for name in ("small.pyz", "out", "joined.safetensors"))
    assert cli.main(["bundle", "pack", bundle, *places, "--weights", str(file)]) == 0
    assert "incoming weights" in capsys.readouterr().out
    assert cli.main(["bundle", "hand-out", str(file), out]) == 0
    assert "after 7 steps, 0.04 MB in float16, 1 pieces and pieces.json" in capsys.readouterr().out
    assert cli.main(["bundle", "join", out, joined, "--licence", "CC0-1.0"]) == 0
    assert "whole, float16, sha256 of its parameters" in capsys.readouterr().out
    assert (load_weights(Path(joined)).storage, load_weights(Path(joined)).licence) == ("float16", "CC0-1.0")
    assert cli.main(["bundle", "join", out, joined]) == 1
    assert "is there already" in capsys.readouterr().err


class Calls:
    """In the place of a bundle's calls: hands out parameters that are its calls' number larger, if it is to."""

    def __init__(self, params: Any, *, drifts: bool, log: str) -> None:
        self._params, self._drifts, self._log = params, drifts, log
        self.names: list[str] = []

    def __call__(self, bundle: Path, name: Path, options: Any, *, stop_after: str = "") -> str:
        assert bundle.is_file()
        assert options[0].startswith("--both=")
        change = len(self.names) if self._drifts else 0
        weights = Weights(jax.tree.map(lambda leaf: leaf + change, self._params), CONFIG.network, {"step": 7}, "")
        save_weights(name.parent / "learned.safetensors", weights, overwrite=True)
        hand_out(name.parent / "learned.safetensors", name / "out", storage="float32")
        self.names.append(name.name + " stopped" * bool(stop_after))
        return self._log


RE_WARMED = "the optimiser begins anew, re-warmed: its rate rises from 0 over 2 steps"


def test_the_dry_run_stops_a_run_restarts_one_and_maps_with_the_full_network(
    places: list[str], params: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    calls = Calls(params, drifts=False, log=RE_WARMED)
    monkeypatch.setattr(dry_run, "_called", calls)
    command = ["bundle", "dry-run", *places, f"--folder={tmp_path / 'dry'}"]
    assert cli.main(command) == 0
    assert calls.names == ["whole", "interrupted stopped", "interrupted", "again", "full"]
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("ok: ")]
    assert len(found) == 6
    assert "full.safetensors" in found[-1]
    assert cli.main(command) == 1
    assert "is there already: delete it, or name another one (--folder)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("drifts", "log", "words"),
    [
        (True, RE_WARMED, "does not hold: a run that was stopped and went on ends with the bits"),
        (False, "step 1", "does not hold: a restart from handed-out parameters re-warms the optimiser"),
    ],
)
def test_the_dry_run_fails_where_something_does_not_hold(
    places: list[str],
    params: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    drifts: bool,
    log: str,
    words: str,
):
    monkeypatch.setattr(dry_run, "_called", Calls(params, drifts=drifts, log=log))
    assert cli.main(["bundle", "dry-run", "--quick", *places, f"--folder={tmp_path / 'dry'}"]) == 1
    assert words in capsys.readouterr().err
