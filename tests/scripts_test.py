"""`train.py` and `evaluate.py`: as commands where a whole process is the point, and called here elsewhere."""

import csv
import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from absl import app, flags
from small_runs import CONFIG

from btbnet_jax.checkpoints import CheckpointError, find, read
from btbnet_jax.data import Examples, hold_out
from btbnet_jax.images import image_size, write_png
from btbnet_jax.loop import Stopped

ROOT = Path(__file__).parents[1]
FLAGS = [
    *("--data=pairs/small", "--validation=2", "--size=16", "--orientations=right_angles", "--batch_size=2"),
    *("--scales=1/2", "--recurrent_steps=2", "--width=0.03125", "--precision=highest", "--optimiser=adamw"),
    *("--learning_rate=0.01", "--trunk_factor=0.5", "--schedule=constant", "--clip_norm=1", "--ema=0.15"),
    *("--steps=6", "--log_every=1", "--evaluate_every=3", "--save_every=2"),
]

Call = Callable[..., tuple[int, str, str]]
"""From arguments to exit status, standard output and error."""


def command(*arguments: str | Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and output of a command, which is never a traceback."""
    output, errors = process.communicate(timeout=600)
    assert "Traceback" not in output + errors, errors
    return process.returncode, output + errors


@dataclasses.dataclass
class Runs:
    """The folders of two runs, and how each command for the second ended."""

    whole: Path
    interrupted: Path
    ends: list[tuple[int, str]]


@pytest.fixture(scope="module")
def runs(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A run of one command, and the same run stopped by SIGTERM, killed by SIGKILL, and finished."""
    folder = tmp_path_factory.mktemp("runs")
    script = [ROOT / "train.py", *FLAGS, f"--data_dir={small_data}"]
    whole = command(*script, f"--run_dir={folder / 'whole'}")
    script.append(f"--run_dir={folder / 'interrupted'}")
    stop_at = Path(__file__).with_name("stop_at.py")
    ends = [
        ended(command(stop_at, "SIGTERM", "1", *script)),
        ended(command(stop_at, "SIGKILL", "5", *script)),
        ended(command(*script)),
    ]
    assert ended(whole)[0] == 0
    return Runs(folder / "whole", folder / "interrupted", ends)


@pytest.fixture(scope="module")
def white_maps(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of maps of all images: their masks, and these turned round."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("right", "wrong")}
    for split in ("train", "test"):
        examples = Examples(small_data, "pairs/small", split)
        for index in range(len(examples)):
            write_png(folders["right"] / f"{examples.name(index)}.png", examples[index][1])
            write_png(folders["wrong"] / f"{examples.name(index)}.png", 255 - examples[index][1])
    return folders


@contextmanager
def loaded(name: str) -> Iterator[ModuleType]:
    """A script as a module; its flags, which are global to the process, go with it."""
    before = set(flags.FLAGS)
    spec = importlib.util.spec_from_file_location(name, ROOT / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        for flag in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, flag)


def caller(module: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs a script as its own last line does, but here."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        argv = [f"{module.__name__}.py", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", argv)
        for flag in vars(module).values():
            if isinstance(flag, flags.FlagHolder):
                flags.FLAGS[flag.name].unparse()  # back to its default
        capsys.readouterr()
        status, message = 0, ""
        try:
            module.main(app.parse_flags_with_usage(argv))
        except SystemExit as end:
            status, message = (1, end.code) if isinstance(end.code, str) else (end.code or 0, "")
        output = capsys.readouterr()
        return status, output.out, output.err + message

    return call


@pytest.fixture
def train_module() -> Iterator[ModuleType]:
    with loaded("train") as module:
        yield module


@pytest.fixture
def train(train_module: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    return caller(train_module, capsys, monkeypatch)


@pytest.fixture
def evaluate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, small_data: Path, tmp_path: Path
) -> Iterator[Call]:
    """`evaluate.py` on the small data, writing into folders of the test."""
    monkeypatch.chdir(tmp_path)
    with loaded("evaluate") as module:
        call = caller(module, capsys, monkeypatch)
        yield lambda *arguments: call(f"--data_dir={small_data}", "--output=out", *arguments)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def digests(run: Path) -> dict[str, str]:
    return read(run / "checkpoints" / "6").digests


def test_a_command_that_is_stopped_and_killed_ends_where_an_uninterrupted_one_does(runs: Runs):
    (stopped, message), (killed, _), (finished, _) = runs.ends
    assert stopped == 128 + signal.SIGTERM == 143
    assert "stopped by SIGTERM after step 2, which is saved; the same command continues" in " ".join(message.split())
    assert killed == -signal.SIGKILL
    assert finished == 0
    assert digests(runs.interrupted) == digests(runs.whole)
    for name in ("training", "validation"):
        rows, expected = (
            [(row["step"], row.get("loss"), row.get("mae")) for row in table(run / f"{name}.csv")]
            for run in (runs.interrupted, runs.whole)
        )
        assert rows == expected


def test_the_command_evaluates_the_images_that_the_run_held_out(runs: Runs, small_data: Path, tmp_path: Path):
    arguments = [f"--run={runs.interrupted}", f"--data_dir={small_data}", f"--output={tmp_path}"]
    status, output = ended(command(ROOT / "evaluate.py", *arguments))
    assert (status, "pairs/small, validation, 2 images at 16 × 16" in output) == (0, True)
    for method in ("BTBNet", "all_blurred", "all_in_focus", "laplacian_variance"):
        assert f"{method} " in output
    held_out = hold_out(Examples(small_data, "pairs/small", "train"), "2")[1]
    assert [row["image"] for row in table(tmp_path / "images.csv")] == [held_out.name(index) for index in range(2)]
    values = json.loads((tmp_path / "results.json").read_text())
    assert values["params_sha256"] == read(find(runs.interrupted)[0]).digests["average"]
    assert (values["config"], values["flags"]) == (CONFIG.to_json(), arguments)
    # The run itself has scored the same checkpoint on the same images.
    (scored,) = [row for row in table(runs.interrupted / "validation.csv") if row["step"] == find(runs.whole)[0].name]
    for protocol in ("mae", "adaptive", "max_of_mean"):
        assert f"{values['scores'][0][protocol]:.6g}" == scored[protocol]
    assert image_size(tmp_path / "best_median_worst.png")[1] > 100


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


def test_flags_without_dashes_are_not_passed_over_in_an_evaluation(evaluate: Call):
    status, _, errors = evaluate("run=r", "--split=validation")
    assert (status, errors) == (1, "evaluate.py: flags begin with --; what are run=r?")


def test_unknown_flags_are_named_with_what_was_meant(train: Call):
    status, _, errors = train("--run_dir=r", "--learning_rat=0.3")
    assert status == 1
    assert "Unknown command line flag 'learning_rat'. Did you mean: learning_rate" in errors


def test_a_run_needs_a_folder(train: Call):
    status, _, errors = train(*FLAGS)
    assert status == 1
    assert "--run_dir must have a value" in errors


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--scales=1/0", "scales"),
        ("--scales=big", "scales"),
        ("--stream_weights=1,2", "2 stream weights for 1 streams"),
        ("--stream_weights=much", "much"),
        ("--width=0", "width multiplier"),
        ("--batch_size=0", "batch_size"),
        ("--warmup_steps=6", "a warm-up of 6 steps leaves none of 6"),
        ("--save_every=0", "intervals are 1 step or more"),
        ("--validation=shi60", "names 60 images of Shi's set and 0 are here"),
        ("--validation=8", "leaves none to train on"),
        ("--data=shi", "no data set 'shi' is built"),
        ("--split=valid", "no split 'valid'"),
        ("--split=train[:0]", "has no example in 'train[:0]'"),
        ("--devices=9", "there are 1 to 2 devices to train on, not 9"),
        ("--init_from=absent", "there is no run and no VGG16 file absent"),
    ],
)
def test_a_value_that_is_no_good_is_named_before_anything_is_written(
    train: Call, small_data: Path, tmp_path: Path, argument: str, words: str
):
    arguments = [*FLAGS, f"--data_dir={small_data}", f"--run_dir={tmp_path / 'run'}"]
    status, _, errors = train(*arguments, "--devices=1", argument)
    assert (status, errors.startswith("train.py: "), words in errors) == (1, True, True), errors
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_run_of_another_configuration_is_refused_and_so_is_a_second_one_in_its_folder(
    train: Call, runs: Runs, small_data: Path
):
    arguments = [*FLAGS, f"--data_dir={small_data}", f"--run_dir={runs.whole}", "--devices=1"]
    status, _, errors = train(*arguments, "--learning_rate=0.5", "--data_seed=3")
    assert (status, errors.splitlines()[1:]) == (1, ["  data.seed: 0 -> 3", "  optimiser.learning_rate: 0.01 -> 0.5"])
    status, _, errors = train(*arguments, "--noresume")
    assert (status, "holds a run already; give another folder, or leave out --noresume" in errors) == (1, True)


def test_a_folder_that_cannot_be_written_is_named(train: Call, small_data: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    arguments = [*FLAGS, f"--data_dir={small_data}", f"--run_dir={tmp_path / 'file' / 'run'}", "--devices=1"]
    status, _, errors = train(*arguments)
    assert (status, len(errors.splitlines())) == (1, 1)
    assert errors.startswith(f"train.py: cannot write checkpoints to {tmp_path / 'file' / 'run'}")


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


@pytest.mark.parametrize("split", ["test", "test[:2]", "train+test[:1]"])
def test_a_look_at_test_images_has_to_be_the_final_one(evaluate: Call, runs: Runs, tmp_path: Path, split: str):
    status, _, errors = evaluate(f"--run={runs.whole}", f"--split={split}")
    assert status == 1
    assert "evaluate on --split=validation, or add --final, which logs this look in results/test_log.csv" in errors
    assert list(tmp_path.iterdir()) == []


def test_a_final_look_is_logged_with_the_digest_of_the_weights_each_time(
    evaluate: Call, runs: Runs, white_maps: dict[str, Path], tmp_path: Path
):
    arguments = [f"--run={runs.whole}", "--split=test", "--final", f"--maps=masks={white_maps['right']}"]
    for _ in range(2):
        status, output, errors = evaluate(*arguments, "--test_log=results/log.csv")
        assert (status, "pairs/small, test, 3 images" in output) == (0, True), errors
    rows = table(tmp_path / "results" / "log.csv")
    assert [(row["method"], row["params_sha256"]) for row in rows] == [
        ("BTBNet", read(find(runs.whole)[0]).digests["average"]),
        ("masks", "none"),
    ] * 2
    assert {(row["data"], row["split"], row["size"]) for row in rows} == {("pairs/small", "test", "16")}
    scores = {row["method"]: row for row in json.loads((tmp_path / "out" / "results.json").read_text())["scores"]}
    assert [row["adaptive"] for row in rows[:2]] == [f"{scores[name]['adaptive']:.4f}" for name in ("BTBNet", "masks")]
    assert scores["masks"]["mae"] == 0


def test_only_what_beats_the_baselines_passes_where_it_must(evaluate: Call, white_maps: dict[str, Path]):
    arguments = ["--data=pairs/small", "--split=train", "--size=0", "--must_beat_baselines"]
    status, output, errors = evaluate(*arguments, f"--maps=right={white_maps['right']}")
    assert (status, errors, "their own sizes" in output) == (0, "", True)
    status, output, errors = evaluate(*arguments, f"--maps=wrong={white_maps['wrong']}")
    assert (status, "wrong " in output) == (1, True)
    expected = (
        "evaluate.py: the adaptive F of wrong does not beat that of all_blurred, all_in_focus, laplacian_variance"
    )
    assert errors == expected


def test_missing_maps_are_named(evaluate: Call, tmp_path: Path):
    (tmp_path / "train0.png").touch()
    status, _, errors = evaluate("--data=pairs/small", "--split=train", f"--maps=mine={tmp_path}")
    assert status == 1
    assert "lacks the maps of 7 of 8 images" in errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--run=absent"], "absent holds no checkpoint; give the folder of a run"),
        (["--data=pairs/small", "--split=train"], "nothing to score: give --run, or --maps=NAME=FOLDER"),
        (["--data=pairs/small", "--split=train", "--maps=mine"], "give NAME=FOLDER, with a name that no other"),
        (["--data=pairs/small", "--split=train", "--maps=all_blurred=."], "with a name that no other method has"),
        (["--data=pairs/small", "--split=train", "--maps=mine=absent"], "there is no folder of maps absent"),
        (["--data=pairs/small", "--split=dev"], "no split 'dev'"),
        (["--data=dut"], "no data set 'dut' is built"),
        (["--batch_size=0"], "flag --batch_size=0"),
    ],
)
def test_what_cannot_be_evaluated_is_named_and_leaves_nothing(
    evaluate: Call, tmp_path: Path, arguments: list[str], words: str
):
    status, _, errors = evaluate(*arguments)
    assert (status, words in errors) == (1, True), errors
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_cannot_be_written_is_named(evaluate: Call, white_maps: dict[str, Path], tmp_path: Path):
    (tmp_path / "file").touch()
    arguments = ["--data=pairs/small", "--split=train", f"--maps=right={white_maps['right']}"]
    status, _, errors = evaluate(*arguments, "--output=file/out")
    assert (status, len(errors.splitlines()), "file/out" in errors) == (1, 1, True)
