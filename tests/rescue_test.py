"""What a run keeps, and what it lets go of, where something went wrong."""

import dataclasses
import json
from pathlib import Path
from typing import NoReturn

import pytest

from btbnet_jax import loop
from btbnet_jax.checkpoints import find
from btbnet_jax.loop import Schedule, Stopped, train
from tests.small_runs import CONFIG

SHORT = dataclasses.replace(CONFIG, steps=2)


def run(data_dir: Path, folder: Path, schedule: Schedule) -> None:
    train(SHORT, data_dir=data_dir, run_dir=folder, schedule=schedule, num_devices=1)


def test_a_run_that_ended_before_it_saved_anything_binds_nobody_to_its_configuration(small_data: Path, tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(SHORT.to_json() | {"accumulate": 2}))
    with pytest.raises(Stopped):
        run(small_data, tmp_path, Schedule(max_seconds=1e-3))
    assert json.loads((tmp_path / "config.json").read_text())["accumulate"] == 1


def test_a_step_whose_validation_fails_is_saved(small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> NoReturn:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as failing:
        failing.setattr(loop, "_validate", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            run(small_data, tmp_path, Schedule(evaluate_every=1))
    assert [path.name for path in find(tmp_path)] == ["1"]
    run(small_data, tmp_path, Schedule())
    assert find(tmp_path)[0].name == "2"
