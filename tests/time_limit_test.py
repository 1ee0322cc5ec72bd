"""A run that has little time: how it stops, and how another one starts from what it has learned."""

import dataclasses
import signal
import threading
from pathlib import Path

import pytest

from btbnet_jax.checkpoints import find, read
from btbnet_jax.config import TrainConfig
from btbnet_jax.initial import load_trained
from btbnet_jax.loop import Schedule, Stopped, train
from tests.script_calls import table
from tests.small_runs import CONFIG

UNVALIDATED = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, validation="none"), steps=3)


def run(data_dir: Path, folder: Path, config: TrainConfig = UNVALIDATED, *, max_seconds: float = 0.0) -> None:
    schedule = Schedule(log_every=1, max_seconds=max_seconds)
    train(config, data_dir=data_dir, run_dir=folder, schedule=schedule, num_devices=1)


@pytest.fixture(scope="module")
def whole(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run(small_data, folder)
    return folder


def test_a_run_that_its_limit_stops_at_every_step_ends_with_the_bits_of_one_without(
    small_data: Path, whole: Path, tmp_path: Path
):
    for step in (1, 2):
        with pytest.raises(Stopped, match=rf"stopped by its limit of time after step {step}, which is") as stopped:
            run(small_data, tmp_path, max_seconds=1e-3)
        assert stopped.value.signal_number == signal.SIGALRM
    run(small_data, tmp_path, max_seconds=600.0)  # the alarm of a run that has ended does not ring later
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert read(find(tmp_path)[0]).digests == read(find(whole)[0]).digests


def test_what_its_limit_stops_is_scored_first(small_data: Path, tmp_path: Path):
    config = dataclasses.replace(UNVALIDATED, data=CONFIG.data)
    with pytest.raises(Stopped):
        run(small_data, tmp_path, config, max_seconds=1e-3)
    assert [row["step"] for row in table(tmp_path / "validation.csv")] == ["1"]


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_a_limit_that_is_none_is_refused(seconds: float):
    with pytest.raises(ValueError, match="max_seconds is 0 for no limit"):
        Schedule(max_seconds=seconds)


def test_a_limit_is_refused_where_no_signal_comes(small_data: Path, tmp_path: Path):
    errors = []

    def here() -> None:
        try:
            run(small_data, tmp_path / "run", max_seconds=600.0)
        except ValueError as error:
            errors.append(str(error))

    thread = threading.Thread(target=here)
    thread.start()
    thread.join()
    assert errors == ["a limit of time needs the main thread: leave out max_seconds"]


@pytest.mark.parametrize(
    ("warmup", "words", "rates"),
    [
        (2, "the optimiser begins anew, re-warmed: its rate rises from 0 over 2 steps", [0.0, 0.005, 0.01]),
        (0, "the optimiser begins anew, at its full rate (--warmup_steps=0)", [0.01, 0.01, 0.01]),
    ],
)
def test_what_a_start_from_parameters_means_for_the_optimiser_stands_in_the_log(
    small_data: Path,
    whole: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    warmup: int,
    words: str,
    rates: list[float],
):
    optimiser = dataclasses.replace(UNVALIDATED.optimiser, warmup_steps=warmup)
    restarted = dataclasses.replace(UNVALIDATED, init_from=str(whole), optimiser=optimiser)
    with pytest.raises(Stopped):
        run(small_data, tmp_path, restarted, max_seconds=1e-3)
    assert f"starts from the parameters of {whole}; {words}" in capsys.readouterr().out
    run(small_data, tmp_path, restarted)
    assert "starts from" not in capsys.readouterr().out  # it goes on: the state of its optimiser is there
    assert [float(row["learning_rate"]) for row in table(tmp_path / "training.csv")] == rates
    assert load_trained(tmp_path).step == 3
