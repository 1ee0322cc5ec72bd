"""A bundle from the photographs to the joined weights, as a program of its own."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

from btbnet_jax.bundle import join, pack
from btbnet_jax.bundle.pieces import INDEX
from btbnet_jax.initial import initial_params
from btbnet_jax.weights import Weights, save_weights
from tests.small_bundles import SMALL, build_sets, small_project
from tests.small_runs import CONFIG


def test_a_bundle_trains_from_incoming_weights_and_hands_out_parameters_that_can_be_joined(tmp_path: Path):
    start = Weights(jax.device_get(initial_params(CONFIG)[1]), CONFIG.network, {}, "")
    save_weights(tmp_path / "start.safetensors", start)
    bundle, out, joined = tmp_path / "small.pyz", tmp_path / "out", tmp_path / "joined.safetensors"
    places = {"project": small_project(tmp_path / "project"), "data_dir": build_sets(tmp_path)}
    pack(bundle, **places, stages=["shi"], weights=tmp_path / "start.safetensors")
    # Its code comes out of the bundle: the folder that it runs in has none.
    line = [sys.executable, str(bundle), "--seconds=1000", f"--work={tmp_path / 'work'}", f"--output={out}"]
    process = subprocess.run([*line, f"--both={SMALL}"], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "544 images to train on, 60 to validate by" in process.stdout
    assert (
        "start.safetensors; the optimiser begins anew, re-warmed: its rate rises from 0 over 2 steps" in process.stdout
    )
    assert "all stages are finished" in process.stdout
    assert [path.name for path in out.iterdir() if ".piece" not in path.name] == [INDEX]
    weights = join(out, joined)
    assert weights.summary["step"] == 3
    assert weights.summary["validation"]["mae"] > 0
    changes = jax.tree.map(lambda new, old: float(np.abs(new - old).max()), weights.params, start.params)
    assert max(jax.tree.leaves(changes)) > 1e-4
