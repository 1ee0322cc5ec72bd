import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from btbnet_jax.checkpoints import CheckpointError, Checkpoints
from btbnet_jax.data import Examples
from btbnet_jax.loop import Stopped
from btbnet_jax.report import write_json
from tests.script_calls import FLAGS, Call, caller, loaded
from tests.small_runs import CONFIG


@pytest.fixture
def train_module() -> Iterator[ModuleType]:
    with loaded("train") as module:
        yield module


@pytest.fixture
def train(train_module: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    return caller(train_module, capsys, monkeypatch)


def test_flags_make_the_configuration(train_module: ModuleType, train: Call, monkeypatch: pytest.MonkeyPatch):
    made = []
    monkeypatch.setattr(train_module, "train", lambda config, **options: made.append((config, options)))
    assert train(*FLAGS, "--run_dir=r", "--noresume", "--devices=3")[0] == 0
    ((config, options),) = made
    assert config == CONFIG
    schedule = options.pop("schedule")
    assert (schedule.log_every, schedule.evaluate_every, schedule.save_every) == (1, 3, 2)
    assert options == {"data_dir": "data", "run_dir": "r", "resume": False, "num_devices": 3}


@pytest.mark.parametrize("arguments", [("learning_rate=0.3",), ("--steps=5", "scales=1", "more")])
def test_flags_without_dashes_are_not_passed_over(train: Call, arguments: tuple[str, ...]):
    bare = " ".join(argument for argument in arguments if not argument.startswith("--"))
    status, _, errors = train("--run_dir=r", *arguments)
    assert (status, errors) == (1, f"train.py: flags begin with --; what are {bare}?")


def test_unknown_flags_are_named_with_what_was_meant(train: Call):
    status, _, errors = train("--run_dir=r", "--learning_rat=0.3")
    assert status == 1
    assert "Unknown command line flag 'learning_rat'. Did you mean: learning_rate" in errors


def test_a_run_needs_a_folder(train: Call):
    status, _, errors = train(*FLAGS)
    assert status == 1
    assert "give the folder of the run, which is made where it is not there: --run_dir=" in errors


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--scales=1/0", "scales"),
        ("--scales=big", "scales"),
        ("--stream_weights=1,2", "2 stream weights for 1 streams"),
        ("--stream_weights=much", "--stream_weights takes numbers with commas between, not much"),
        ("--width=0", "width multiplier"),
        ("--batch_size=0", "batch_size and threads are 1 or more, not 0 and 2"),
        ("--warmup_steps=6", "warmup_steps is less than the 6 steps of the run, not 6"),
        ("--save_every=0", "intervals are 1 step or more"),
        ("--validation=shi60", "names 60 images of Shi's set and 0 are here"),
        ("--validation=8", "leaves none to train on"),
        ("--data=shi", "no data set 'shi' is built"),
        ("--data=sky", "what can be built is called shi, dut, simulated, pairs"),
        ("--split=valid", "no split 'valid'"),
        ("--split=train[:0]", "has no example in 'train[:0]'"),
        ("--devices=9", "there are 8 devices to train on, not 9"),
        ("--init_from=absent", "there is no run, no checkpoint and no file absent, and no weights of that name: train"),
        (
            "--init_from=btbnet-small",
            "That one has --scales=3/4,3/8,3/16 --width=0.125 --noshare_streams --fnet --rrnet",
        ),
        ("--split=test", "the images of a test split would be trained on"),
        ("--split=train+test[:1]", "the images of a test split would be trained on"),
    ],
)
def test_a_value_that_is_no_good_is_named_before_anything_is_written(
    train: Call, small_data: Path, tmp_path: Path, argument: str, words: str
):
    arguments = [*FLAGS, f"--data_dir={small_data}", f"--run_dir={tmp_path / 'run'}"]
    status, _, errors = train(*arguments, "--devices=1", argument)
    assert (status, errors.startswith("train.py: "), words in errors) == (1, True, True), errors
    assert not (tmp_path / "run").exists()


def test_shi_s_test_images_are_not_trained_on_whatever_their_split(
    train: Call, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Examples, "name", lambda _, index: f"out_of_focus{index + 37:04d}")
    status, _, errors = train(*FLAGS, f"--data_dir={small_data}", f"--run_dir={tmp_path / 'run'}")
    assert (status, "1 of Shi's test images would be trained on" in errors) == (1, True), errors
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_configuration_is_refused_and_so_is_a_second_one_in_its_folder(
    train: Call, small_data: Path, tmp_path: Path
):
    write_json(tmp_path / "config.json", CONFIG.to_json())
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, {"params": {"bias": np.zeros(1)}}, {})
    arguments = [*FLAGS, f"--data_dir={small_data}", f"--run_dir={tmp_path}", "--devices=1"]
    status, _, errors = train(*arguments, "--learning_rate=0.5", "--data_seed=3")
    assert (status, errors.splitlines()[1:3]) == (1, ["  data.seed: 0 -> 3", "  optimiser.learning_rate: 0.01 -> 0.5"])
    assert "another folder (--run_dir)" in errors.splitlines()[3]
    status, _, errors = train(*arguments, "--noresume")
    assert (status, "holds a run already; give another folder, or leave out --noresume" in errors) == (1, True)


def test_a_folder_that_cannot_be_written_is_named(train: Call, small_data: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    arguments = [*FLAGS, f"--data_dir={small_data}", f"--run_dir={tmp_path / 'file' / 'run'}", "--devices=1"]
    status, _, errors = train(*arguments)
    assert (status, len(errors.splitlines())) == (1, 1)
    assert errors.startswith(
        f"train.py: cannot write into {tmp_path / 'file' / 'run' / 'checkpoints'}: Not a directory"
    )


@pytest.mark.parametrize(
    "error",
    [
        CheckpointError("the disk"),
        FloatingPointError("a loss"),
        ImportError("h5py"),
        OSError("a file"),
        ValueError("a"),
    ],
)
def test_what_a_user_can_mend_ends_in_one_line(
    train_module: ModuleType, train: Call, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(train_module, "train", fail)
    assert train("--run_dir=r") == (1, "", f"train.py: {error}")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_has_the_exit_status_of_its_signal(
    train_module: ModuleType, train: Call, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, status: int
):
    def stop(*_: object, **__: object) -> None:
        raise Stopped(number, 7, Path("r"))

    monkeypatch.setattr(train_module, "train", stop)
    expected = f"stopped by {number.name} after step 7, which is saved; the same command continues r\n"
    assert train("--run_dir=r") == (status, expected, "")
