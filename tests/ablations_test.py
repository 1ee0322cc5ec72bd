import dataclasses
import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from btbnet_jax import ablations
from btbnet_jax.ablations import ROWS, TABLES, configured, run_ablations, table_of
from btbnet_jax.builders import SimulatedBuilder
from btbnet_jax.config import TrainConfig
from btbnet_jax.data import Examples, hold_out
from btbnet_jax.evaluation import count_levels, network_method
from btbnet_jax.fields import differences
from btbnet_jax.initial import load_trained
from btbnet_jax.loop import Schedule
from btbnet_jax.metrics import mae
from tests import script_calls
from tests.small_runs import CONFIG

ROW = "3S without RRNet"
ONE_STREAM = dataclasses.replace(CONFIG, steps=2)


@pytest.fixture
def rows_of_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows with the scales of the small network, which is compiled anyway; few numbers of steps, each a program."""
    monkeypatch.setattr(ablations, "INFERENCE_STEPS", (0, 2))
    monkeypatch.setitem(ROWS, "3S", lambda base: base)
    monkeypatch.setitem(
        ROWS, ROW, lambda base: dataclasses.replace(base, network=dataclasses.replace(base.network, use_rrnet=False))
    )


def test_the_rows_are_the_paper_s():
    networks = {row: change(CONFIG).network for row, change in TABLES["network"].items()}
    half = Fraction(1, 2)
    assert networks["4S"].scales == (half, half * 4 / 5, half * 3 / 5, half * 2 / 5)
    assert [len(networks[f"{n}S"].scales) for n in (1, 2, 3)] == [1, 2, 3]
    assert not networks["3S without RRNet"].use_rrnet
    assert not networks["3S without FNet"].use_fnet
    assert networks["3S, shared streams"].share_streams
    assert [networks[f"3S, {n} steps"].num_steps for n in (1, 6)] == [1, 6]


def test_all_rows_have_one_budget_and_seeds_of_their_own():
    rows = [*TABLES["network"], *TABLES["simulation"]]
    configs = [configured(CONFIG, row, seed) for row in rows for seed in (0, 1)]
    assert {(config.steps, config.optimiser, config.network.width) for config in configs} == {
        (CONFIG.steps, CONFIG.optimiser, CONFIG.network.width)
    }
    assert {(config.seed, config.data.seed) for config in configs} == {(0, 0), (1, 1)}


def test_the_weights_of_maps_that_a_row_has_not_are_dropped():
    loss = dataclasses.replace(CONFIG.loss, fnet_weight=0.5, step_weight=0.25)
    base = dataclasses.replace(CONFIG, loss=loss)
    assert configured(base, "3S", 0).loss == configured(base, "3S without FNet", 0).loss == loss
    assert configured(base, "3S without RRNet", 0).loss == CONFIG.loss


@pytest.mark.usefixtures("rows_of_one_stream")
def test_finished_runs_are_not_trained_again_and_the_table_grows(small_data: Path, tmp_path: Path):
    options: dict[str, Any] = {
        "rows": ["3S", ROW],
        "data_dir": small_data,
        "folder": tmp_path / "runs",
        "scores": tmp_path / "scores.json",
        "schedule": Schedule(log_every=1),
        "num_devices": 1,
    }
    first = list(run_ablations(ONE_STREAM, num_seeds=1, **options))
    assert [(progress.row, progress.seed) for progress in first] == [("3S", 0), (ROW, 0)]
    assert "| 3S | 1 |" in first[0].table
    assert ROW not in first[0].table
    assert f"| {ROW} | 1 |" in first[1].table
    assert "| 3S, 0 steps when used | 1 |" in first[1].table
    assert (tmp_path / "scores.md").read_text() == first[1].table
    shutil.rmtree(tmp_path / "runs")  # what is finished stands in the file
    options["rows"] = ["3S"]
    (again,) = run_ablations(ONE_STREAM, num_seeds=2, **options)
    assert (again.row, again.seed) == ("3S", 1)
    assert "| 3S | 2 |" in again.table
    assert f"| {ROW} | 1 |" in again.table
    with pytest.raises(ValueError, match=r"(?s)another budget .*steps: 2 -> 3"):
        next(run_ablations(dataclasses.replace(ONE_STREAM, steps=3), num_seeds=3, **options))


def test_the_rows_of_the_simulation_differ_in_what_they_are_trained_on():
    configs = {row: configured(CONFIG, row, 0) for row in TABLES["simulation"]}
    assert {config.network for config in configs.values()} == {CONFIG.network}
    names = {row: config.data.name.removeprefix("simulated/") for row, config in configs.items()}
    assert set(names.values()) == set(SimulatedBuilder.builder_configs) - {"generated", "photographs"}
    assert names["layered without depth"] == "layered_without_depth"


def test_the_rows_of_the_recipe_change_one_thing_each():
    data = dataclasses.replace(CONFIG.data, size=320, crop=160, batch_size=4)
    optimiser = dataclasses.replace(CONFIG.optimiser, schedule="cosine", keep_norms=True)
    base = dataclasses.replace(CONFIG, data=data, optimiser=optimiser)
    changes = {row: differences(base, configured(base, row, 0)) for row in TABLES["recipe"]}
    assert not changes.pop("as given")
    fields = {row: {change.split(":")[0] for change in found} for row, found in changes.items()}
    assert {row for row, names in fields.items() if len(names) > 1} == {row for row in fields if "at a time" in row}
    assert set().union(*fields.values()) == {
        *("network.width", "network.scales"),
        *(f"optimiser.{name}" for name in ("learning_rate", "schedule", "keep_norms")),
        *(f"data.{name}" for name in ("size", "crop", "batch_size", "orientations", "grain")),
    }


def test_a_row_of_another_data_set_is_judged_by_the_validation_images_asked_for(
    small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def on_all(base: TrainConfig) -> TrainConfig:
        return dataclasses.replace(base, data=dataclasses.replace(base.data, validation="none"))

    monkeypatch.setitem(ROWS, ROW, on_all)
    where: dict[str, Any] = {"data_dir": small_data, "folder": tmp_path, "scores": tmp_path / "scores.json"}
    list(run_ablations(ONE_STREAM, rows=[ROW], num_seeds=1, **where, schedule=Schedule(), num_devices=1))
    found = json.loads((tmp_path / "scores.json").read_text())["runs"][ROW]["0"]
    held_out = hold_out(Examples(small_data, "pairs/small", "train"), "2")[1]
    (checkpoint,) = tmp_path.glob("*/seed0/checkpoints/2")
    method = network_method(CONFIG.network, load_trained(checkpoint).params)
    (counts,) = count_levels({"": method}, held_out, size=16, batch_size=1).values()
    assert len(held_out) == 2
    assert found["mae"] == pytest.approx(mae(counts), abs=1e-6)


@pytest.mark.usefixtures("rows_of_one_stream")
def test_as_many_steps_as_it_was_trained_with_score_as_after_training(small_data: Path, tmp_path: Path):
    where: dict[str, Any] = {"data_dir": small_data, "folder": tmp_path, "scores": tmp_path / "scores.json"}
    list(run_ablations(ONE_STREAM, rows=["3S"], num_seeds=1, **where, schedule=Schedule(), num_devices=1))
    values = json.loads((tmp_path / "scores.json").read_text())["runs"]
    assert values["3S, 2 steps when used"]["0"]["mae"] == pytest.approx(values["3S"]["0"]["mae"], rel=1e-5)
    assert values["3S, 0 steps when used"] != values["3S, 2 steps when used"]


def test_the_table_has_means_with_standard_errors_of_finished_runs_alone():
    scores = {str(seed): {"mae": f, "adaptive": f, "max_of_mean": 1.0} for seed, f in enumerate((0.5, 0.7))}
    text = table_of({"3S": scores})
    assert "| 3S | 2 | 0.600 ± 0.100 | 0.600 ± 0.100 | 1.000 ± 0.000 |" in text
    assert "4S" not in text


def test_a_row_that_does_not_exist_and_a_run_without_validation_are_refused(tmp_path: Path):
    options: dict[str, Any] = {"num_seeds": 1, "data_dir": tmp_path, "folder": tmp_path, "scores": tmp_path / "a.json"}
    options["schedule"] = Schedule()
    with pytest.raises(ValueError, match="no row 5S; there are 1S, 2S"):
        next(run_ablations(CONFIG, rows=["5S"], **options))
    config = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, validation="none"))
    with pytest.raises(ValueError, match="hold some out"):
        next(run_ablations(config, rows=["3S"], **options))


def test_flags_of_a_single_run_are_refused(tmp_path: Path):
    given = (f"--run_dir={tmp_path / 'runs'}", "--seed=3", "--noresume")
    status, output = script_calls.ended(script_calls.command(script_calls.ROOT / "ablations.py", *given))
    assert (status, "--resume, --seed: flags of a single run" in output) == (1, True), output
    assert not (tmp_path / "runs").exists()
