import dataclasses
import fcntl
import functools
import json
import logging
import math
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btbnet_jax import loop
from btbnet_jax.checkpoints import Checkpoints, find, read
from btbnet_jax.config import Normalisation, TrainConfig
from btbnet_jax.digests import digest
from btbnet_jax.images import image_size
from btbnet_jax.journal import Journal
from btbnet_jax.loop import Schedule, Stopped, train
from btbnet_jax.training import Metrics, TrainState
from tests import script_calls
from tests.checkpoints_test import flip_a_byte
from tests.small_runs import CONFIG

SCHEDULE = Schedule(log_every=1, evaluate_every=3, save_every=2)
UNVALIDATED = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, validation="none"))


@pytest.fixture(scope="module", autouse=True)
def _traced_once() -> Iterator[None]:
    """All runs of one configuration share their compiled step; runs of separate processes are in `scripts_test`."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(loop, "make_train_step", functools.cache(loop.make_train_step))
        yield


@pytest.fixture(scope="module")
def run(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TrainState]:
    """Trains in a folder, on one device."""

    def train_here(folder: Path, config: TrainConfig = CONFIG, **options: Any) -> TrainState:
        options = {"schedule": SCHEDULE, "num_devices": 1} | options
        return train(config, data_dir=small_data, run_dir=folder, **options)

    return train_here


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run(folder)
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return shutil.copytree(whole, tmp_path / "copy")


def steps_of(folder: Path, name: str = "training") -> list[int]:
    return [int(row["step"]) for row in script_calls.table(folder / f"{name}.csv")]


def saved_steps(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())


def assert_same_end(folder: Path, other: Path) -> None:
    """The same parameters, average and state of the optimiser to the last bit, and the same figures on the way."""
    digests = [read(path / "checkpoints" / "6").digests for path in (folder, other)]
    assert digests[0] == digests[1]
    assert sorted(digests[0]) == ["average", "optimiser", "params"]
    for name in ("training", "validation"):
        timeless = [
            [
                {key: row[key] for key in row if "second" not in key and "waiting" not in key}
                for row in script_calls.table(path / f"{name}.csv")
            ]
            for path in (folder, other)
        ]
        assert timeless[0] == timeless[1]


def after_row(monkeypatch: pytest.MonkeyPatch, step: int, action: Callable[[], None]) -> None:
    """Makes `action` happen once the figures of a step are written, before it is saved."""
    write = Journal.write

    def write_and_act(self: Journal, name: str, at: int, values: dict[str, float]) -> None:
        write(self, name, at, values)
        if (name, at) == ("training", step):
            action()

    monkeypatch.setattr(Journal, "write", write_and_act)


def fail() -> None:
    raise RuntimeError("a failure")


def fake_steps(monkeypatch: pytest.MonkeyPatch, **figures: list[float]) -> None:
    """Replaces training by steps that change nothing and have these figures."""

    def make_step(_: TrainConfig):
        def step(state: TrainState, _: Any) -> tuple[TrainState, Metrics]:
            number = int(state.step)
            return state.replace(step=state.step + 1), {
                name: jnp.asarray(values[number]) for name, values in figures.items()
            }

        return step

    monkeypatch.setattr(loop, "make_train_step", make_step)


def test_a_run_leaves_its_configuration_figures_pictures_and_checkpoints(whole: Path):
    assert TrainConfig.from_json(json.loads((whole / "config.json").read_text())) == CONFIG
    assert steps_of(whole) == [1, 2, 3, 4, 5, 6]
    assert steps_of(whole, "validation") == [3, 6]
    assert {
        "loss",
        "loss/final",
        "learning_rate",
        "gradient_norm",
        "images_per_second",
        "share_waiting_for_data",
    } < set(script_calls.table(whole / "training.csv")[0])
    assert {"mae", "adaptive", "blur_at_half"} < set(script_calls.table(whole / "validation.csv")[0])
    assert list((whole / "events").glob("*tfevents*"))
    panels = sorted((whole / "validation").iterdir())
    assert [path.name for path in panels] == ["0000003.png", "0000006.png"]
    assert min(image_size(panels[0])) > 50
    assert {4, 6} <= set(saved_steps(whole)) <= {3, 4, 6}  # the last two, and the best


def test_a_checkpoint_says_where_it_comes_from(whole: Path):
    record = read(whole / "checkpoints" / "6", only=()).record
    assert TrainConfig.from_json(record["config"]) == CONFIG
    assert record["next_batch"] == 6
    assert {name: f"{value:.6g}" for name, value in record["validation"].items()}.items() <= (
        script_calls.table(whole / "validation.csv")[-1].items()
    )
    assert {"jax", "btbnet_jax"} < set(record["versions"])


def test_the_checkpoint_with_the_highest_adaptive_f_is_kept_as_the_best(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fake_steps(monkeypatch, loss=[0.5] * 6, gradient_norm=[1.0] * 6)
    figures = iter([0.5, 0.9, 0.7, 0.6, 0.8, 0.1])
    monkeypatch.setattr(loop, "_validate", lambda *_: {"adaptive": next(figures), "mae": 0.5})
    run(tmp_path, schedule=Schedule(log_every=1, evaluate_every=1, save_every=1))
    assert [path.name for path in find(tmp_path)] == ["2", "6", "5"]


def test_a_run_that_is_stopped_by_signals_goes_on_as_if_it_had_not_been(whole: Path, run, tmp_path: Path):
    for step, number in ((2, signal.SIGTERM), (4, signal.SIGINT)):
        with pytest.MonkeyPatch.context() as monkeypatch:
            after_row(monkeypatch, step, lambda number=number: signal.raise_signal(number))
            handler = signal.getsignal(number)
            with pytest.raises(Stopped, match=rf"{number.name} after step {step + 1}, which is saved") as stopped:
                run(tmp_path)
        assert stopped.value.signal_number == number
        assert signal.getsignal(number) is handler
        assert saved_steps(tmp_path)[-1] == step + 1
    run(tmp_path)
    assert_same_end(tmp_path, whole)


def test_a_run_that_fails_goes_on_from_its_last_checkpoint_and_no_row_is_doubled(
    whole: Path, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        after_row(patch, 5, fail)
        with pytest.raises(RuntimeError, match="a failure"):
            run(tmp_path)
    assert (saved_steps(tmp_path)[-1], steps_of(tmp_path)[-1]) == (4, 5)
    run(tmp_path)
    assert_same_end(tmp_path, whole)


def test_a_run_that_ended_before_it_saved_starts_over(whole: Path, run, copy: Path):
    shutil.rmtree(copy / "checkpoints")
    run(copy)
    assert_same_end(copy, whole)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of coroutines that Orbax leaves
@pytest.mark.usefixtures("collect_garbage")
def test_a_run_whose_newest_checkpoint_is_damaged_goes_on_from_the_one_before(
    whole: Path, run, copy: Path, caplog: pytest.LogCaptureFixture
):
    flip_a_byte(copy / "checkpoints" / "6")
    with caplog.at_level(logging.WARNING):
        run(copy)
    assert "going on from that of step 4, and keeping this one as 6.damaged" in caplog.text
    assert_same_end(copy, whole)


def test_a_finished_run_that_is_started_again_does_nothing_more(whole: Path, run):
    before = {path: path.stat().st_mtime_ns for path in (whole / "checkpoints").rglob("*")}
    rows = (whole / "training.csv").read_text()
    state = run(whole)
    assert int(state.step) == 6
    assert digest(state.params) == read(whole / "checkpoints" / "6").digests["params"]
    assert {path: path.stat().st_mtime_ns for path in (whole / "checkpoints").rglob("*")} == before
    assert (whole / "training.csv").read_text() == rows


def test_another_configuration_is_refused_with_all_that_differs(whole: Path, run):
    values = CONFIG.to_json()
    values["optimiser"]["learning_rate"] = 0.5
    values["network"]["scales"] = ["1", "4/5"]
    values["steps"] = 7
    with pytest.raises(ValueError, match="holds a run of another configuration") as caught:
        run(whole, TrainConfig.from_json(values))
    assert [line.strip() for line in str(caught.value).splitlines()[1:-1]] == [
        "network.scales: ['1/2'] -> ['1', '4/5']",
        "optimiser.learning_rate: 0.01 -> 0.5",
        "steps: 6 -> 7",
    ]


def test_other_images_than_a_run_was_trained_on_are_refused(whole: Path, run, monkeypatch: pytest.MonkeyPatch):
    held_out = loop.hold_out
    monkeypatch.setattr(loop, "hold_out", lambda examples, _: held_out(examples.only(range(1, len(examples))), "2"))
    with pytest.raises(ValueError, match=r"was trained with other .* images than the data folder holds now"):
        run(whole)


def test_another_number_of_threads_is_taken(whole: Path, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    taken, read = [], loop.train_batches
    monkeypatch.setattr(loop, "train_batches", lambda *a, **b: taken.append(a[1].threads) or read(*a, **b))
    one, more = (dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, threads=n)) for n in (1, 3))
    with monkeypatch.context() as patch:
        after_row(patch, 3, fail)
        with pytest.raises(RuntimeError, match="a failure"):
            run(tmp_path, one)
    run(tmp_path, more)
    assert taken == [1, 3]
    assert_same_end(tmp_path, whole)


def test_the_normalisation_that_came_with_the_weights_contradicts_nothing(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    normalisation = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    network = dataclasses.replace(CONFIG.network, normalisation=normalisation)
    params = jax.tree.map(np.asarray, loop.init_state(CONFIG).params)
    with Checkpoints(tmp_path / "first") as checkpoints:
        config = dataclasses.replace(CONFIG, network=network)
        checkpoints.save(1, {"params": params}, {"config": config.to_json()})
    fake_steps(monkeypatch, loss=[0.5] * 6, gradient_norm=[1.0] * 6)
    second = dataclasses.replace(UNVALIDATED, init_from=str(tmp_path / "first"))
    for _ in range(2):
        state = run(tmp_path / "second", second)
        assert digest(state.params) == digest(params)
    written = TrainConfig.from_json(json.loads((tmp_path / "second" / "config.json").read_text()))
    assert written == dataclasses.replace(second, network=network)


def test_a_folder_with_a_run_is_refused_where_a_new_one_is_wanted(whole: Path, run, tmp_path: Path):
    with pytest.raises(ValueError, match=r"whole holds a run already; give another folder, or leave out --noresume"):
        run(whole, resume=False)


def test_a_folder_that_another_program_trains_in_is_refused(run, tmp_path: Path):
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another program is training in"):
            run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_checkpoints_without_their_configuration_are_not_trained_over(run, copy: Path):
    (copy / "config.json").unlink()
    with pytest.raises(ValueError, match=r"holds checkpoints without the config\.json"):
        run(copy)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_or_gradient_that_is_not_finite_stops_with_its_steps_named_and_nothing_of_it_saved(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: float
):
    fake_steps(monkeypatch, loss=[0.5, 0.5, bad, 0.5, 0.5, 0.5], gradient_norm=[1.0, 1.0, 1.0, bad, 1.0, 1.0])
    with pytest.raises(FloatingPointError, match=r"is not finite at steps 3, 4; what .* saved before is still good"):
        run(tmp_path, UNVALIDATED, schedule=Schedule(log_every=100, evaluate_every=100, save_every=2))
    assert saved_steps(tmp_path) == [2]


def test_without_validation_images_there_are_no_scores_and_the_last_checkpoint_is_the_best(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fake_steps(monkeypatch, loss=[0.5] * 6, gradient_norm=[1.0] * 6)
    run(tmp_path, UNVALIDATED)
    assert not list(tmp_path.glob("validation*"))
    assert find(tmp_path)[0].name == "6"


def test_figures_between_rows_are_averaged(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake_steps(monkeypatch, loss=[1.0, 2.0, 6.0, 3.0, 4.0, 8.0], gradient_norm=[1.0] * 6)
    events, write = [], Journal.write
    monkeypatch.setattr(loop.jax, "block_until_ready", lambda one: events.append(one and float(one["loss"])))
    monkeypatch.setattr(Journal, "write", lambda *row: (events.append("row"), write(*row)))
    run(tmp_path, UNVALIDATED, schedule=Schedule(log_every=3, evaluate_every=100, save_every=100))
    assert [float(row["loss"]) for row in script_calls.table(tmp_path / "training.csv")] == [3.0, 5.0]
    assert events == [None, 1, 2, 6, "row", 3, 4, "row"]  # one step is always ahead of the devices


def test_devices_that_cannot_share_a_batch_are_refused(run, tmp_path: Path):
    config = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, batch_size=3))
    with pytest.raises(ValueError, match=r"2 devices cannot share a batch of 3 images equally: give .*--devices=1"):
        run(tmp_path, config, num_devices=2)
    assert list(tmp_path.iterdir()) == []
