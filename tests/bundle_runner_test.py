"""What the program of a bundle does, by the commands that it calls; `bundle_whole_test` runs it in earnest."""

import json
import shlex
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from btbnet_jax.bundle import runner
from btbnet_jax.bundle.packing import RECIPE
from btbnet_jax.bundle.runner import SETS, TIME_IS_UP, Runner, RunnerError

Run = Callable[..., int]


def is_look(line: list[str]) -> bool:
    return line[:2] == ["-m", "btbnet_jax.bundle.look"]


class Processes:
    """In the place of `subprocess.Popen`: keeps command lines, and gives training the ends that it is told.

    Training takes ten seconds: one for each of the steps after the first row of figures, and six beside these four.
    """

    def __init__(self, clock: list[float]) -> None:
        self.lines: list[list[str]] = []
        self.environments: list[dict[str, str]] = []
        self.ends: list[int] = []
        self.signal_during = ""
        self.hand_out_fails = False
        self.terminated: list[str] = []
        self._clock = clock

    def __call__(self, line: list[str], *, cwd: Path, env: dict[str, str], start_new_session: bool) -> "Processes":
        assert cwd.name == "code"
        assert start_new_session == ("hand-out" in line)  # or Ctrl-C would end it
        self.lines.append(line[1:])
        self.environments.append(env)
        return self

    def wait(self) -> int:
        line = self.lines[-1]
        if self.signal_during and self.signal_during in line:
            signal.raise_signal(signal.SIGTERM)
        if line[0] != "train.py":
            return int(self.hand_out_fails and "hand-out" in line)
        self._clock[0] += 10.0
        (run_dir,) = [Path(flag.partition("=")[2]) for flag in line if flag.startswith("--run_dir=")]
        (run_dir / "checkpoints" / "5").mkdir(parents=True, exist_ok=True)
        (run_dir / "config.json").write_text('{"data": {"batch_size": 2}}')
        (run_dir / "training.csv").write_text("step,images_per_second\n1,0.3\n3,2.0\n5,1.9\n")
        return self.ends.pop(0) if self.ends else 0

    def terminate(self) -> None:
        self.terminated.append(self.lines[-1][0])

    def called(self) -> list[str]:
        """What was called, in words: the stage that was trained or handed out, the set that was built."""
        words = {"pip": "install", "simulated": "build simulated", "pairs": "build shi"}
        lines = [line for line in self.lines if not is_look(line)]
        return [
            f"train {Path(line[1]).stem.removeprefix('--flagfile=configs/').removeprefix('btbnet_3s_')}"
            if line[0] == "train.py"
            else f"hand out {Path(line[4]).name}"
            if line[3] == "hand-out"
            else words[line[1] if line[1] == "pip" else line[3]]
            for line in lines
        ]

    def flags(self, stage: str) -> dict[str, str]:
        """Flags of the last training of a stage."""
        line = [line for line in self.lines if line[:2] == ["train.py", f"--flagfile={RECIPE[stage]}"]][-1]
        return {name.removeprefix("--"): value for name, _, value in (flag.partition("=") for flag in line[1:])}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds; a look at the clock takes a millisecond, training ten seconds, and nothing else any time."""
    now = [0.0]

    def monotonic() -> float:
        now[0] += 1e-3
        return now[0]

    monkeypatch.setattr(runner.time, "monotonic", monotonic)
    return now


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> Processes:
    made = Processes(clock)
    monkeypatch.setattr(runner.subprocess, "Popen", made)
    return made


@pytest.fixture
def run(tmp_path: Path, processes: Processes) -> Iterator[Run]:
    """Runs a bundle with nothing but a manifest in it, for 600 seconds of which 60 are left to hand out."""
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGINT)}

    def run_here(*options: str, files: dict[str, str] | None = None, **manifest: Any) -> int:
        archive = tmp_path / "bundle.pyz"
        content = {"stages": RECIPE} | manifest
        with zipfile.ZipFile(archive, "w") as members:
            for name, text in {"manifest.json": json.dumps(content), "code/train.py": "", **(files or {})}.items():
                members.writestr(zipfile.ZipInfo(name), text)
        (tmp_path / "work").mkdir(exist_ok=True)
        where = [f"--work={tmp_path / 'work'}", f"--output={tmp_path / 'out'}"]
        return Runner(runner.parser().parse_args(["--seconds=600", *where, *options]), archive).run()

    yield run_here
    for kind, handler in before.items():
        signal.signal(kind, handler)


def test_both_stages_are_built_trained_and_handed_out_one_from_the_other(
    run: Run, processes: Processes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("--both=--accumulate=4 --remat", "--shi=--steps=9") == 0
    stages = ["train simulated", "hand out simulated", "train shi", "hand out shi"]
    assert processes.called() == ["build simulated", "build shi", *stages]
    first, second = processes.flags("simulated"), processes.flags("shi")
    runs = tmp_path / "work" / "runs"
    assert (first["init_from"], second["init_from"]) == ("", str(runs / "simulated"))
    assert (first["data"], second["data"]) == (SETS["simulated"], SETS["shi"])
    assert (first["run_dir"], second["run_dir"]) == (str(runs / "simulated"), str(runs / "shi"))
    assert (first["accumulate"], second["accumulate"], second["steps"], "steps" in first) == ("4", "4", "9", False)
    # 0.45 of 540, and what is left of them, less the start of train.py.
    assert (first["max_seconds"], second["max_seconds"]) == ("228.0", "515.0")
    assert "all stages are finished" in capsys.readouterr().out


def test_the_second_stage_has_the_steps_that_there_is_time_for_at_the_speed_of_the_first(
    run: Run, processes: Processes
):
    processes.ends = [0, TIME_IS_UP]
    run()
    assert "steps" not in processes.flags("simulated")
    assert processes.flags("shi")["steps"] == str(int(0.9 * (530 - 6) - 40))
    run()
    assert processes.flags("shi")["steps"] == str(int(0.9 * (530 - 6) - 40))  # as it began


def test_the_speed_of_a_stage_that_was_stopped_counts_when_it_goes_on_and_ends_in_another_call(
    run: Run, processes: Processes, capsys: pytest.CaptureFixture[str]
):
    processes.ends = [143]
    assert run() == 143
    assert "simulated: 1.000 s a step, and 6 s beside the steps" in capsys.readouterr().out
    assert run() == 0
    assert "steps" not in processes.flags("simulated")
    assert processes.flags("shi")["steps"] == str(int(0.9 * (530 - 6) - 40))


def test_a_first_stage_that_fails_and_has_saved_something_is_gone_on_from(run: Run, processes: Processes):
    processes.ends = [1, 0]
    assert run() == 0
    assert processes.called()[2:] == ["train simulated", "hand out simulated", "train shi", "hand out shi"]


def test_what_is_there_is_looked_at_before_anything_takes_its_minutes(
    run: Run, processes: Processes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JAX_PLATFORMS", "")
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_exclude_nondeterministic_ops=false")
    run("--both=--dtype=float32", "--shi=--remat")
    assert processes.lines[0] == ["-m", "btbnet_jax.bundle.look", "--", "--dtype=float32 ", "--dtype=float32 --remat"]
    assert processes.environments[0]["JAX_PLATFORMS"] == "cuda,cpu"
    assert processes.environments[0]["XLA_FLAGS"].split() == [
        f"--xla_gpu_exclude_nondeterministic_ops={value}" for value in ("true", "false")
    ]
    run("--both=--dtype=float32")  # what trained once will train again
    assert [is_look(line) for line in processes.lines].count(True) == 1


def test_a_first_stage_that_cannot_be_handed_out_does_not_keep_the_second_from_its_training(
    run: Run, processes: Processes, capsys: pytest.CaptureFixture[str]
):
    processes.hand_out_fails = True
    with pytest.raises(RunnerError, match="failed with status 1"):
        run()
    assert processes.called()[2:] == ["train simulated", "hand out simulated", "train shi", "hand out shi"]
    assert "simulated could not be handed out (status 1, see above)" in capsys.readouterr().out


@pytest.mark.parametrize(("given", "platforms"), [("", "cuda,cpu"), ("tpu", "tpu")])
def test_commands_see_the_code_of_the_bundle_first_and_only_training_sees_a_gpu_without_which_it_fails(
    run: Run, processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, platforms: str
):
    monkeypatch.setenv("JAX_PLATFORMS", given)
    run()
    for line, environment in zip(processes.lines, processes.environments, strict=True):
        assert environment["PYTHONPATH"].split(":")[:2] == [
            str(tmp_path / "work" / name) for name in ("bundle/code", "site")
        ]
        assert environment["JAX_PLATFORMS"] == (platforms if line[0] == "train.py" or is_look(line) else "cpu")


def test_a_first_stage_that_has_had_its_share_ends_and_the_second_goes_on(run: Run, processes: Processes):
    processes.ends = [TIME_IS_UP, 0]
    assert run() == 0
    assert processes.called()[2:] == ["train simulated", "hand out simulated", "train shi", "hand out shi"]


def test_when_the_time_is_up_it_is_handed_out_and_the_same_command_goes_on(
    run: Run, processes: Processes, capsys: pytest.CaptureFixture[str]
):
    processes.ends = [0, TIME_IS_UP]
    assert run() == 0
    assert "the time is up; the same command goes on" in capsys.readouterr().out
    first = processes.flags("shi")
    assert run() == 0
    assert processes.called()[6:] == ["build simulated", "build shi", "train shi", "hand out shi"]
    assert processes.flags("shi") | {"max_seconds": ""} == first | {"max_seconds": ""}
    assert run() == 0  # all is finished: it is handed out again
    assert processes.called()[10:] == ["build simulated", "build shi", "hand out shi"]


def test_a_stage_is_not_begun_with_hardly_any_time(run: Run, processes: Processes):
    assert run("--reserve=475") == 0  # ten of 125 seconds are over when the first stage ends
    assert processes.called()[2:] == ["train simulated", "hand out simulated"]


@pytest.mark.parametrize("option", ["--reserve=600", "--reserve=481", "--share=0", "--share=1.5"])
def test_times_in_which_nothing_would_be_trained_are_refused(run: Run, option: str):
    with pytest.raises(RunnerError, match="nothing would be trained"):
        run(option)


@pytest.mark.parametrize("status", [143, 130, -15])
def test_training_that_is_stopped_is_handed_out_and_nothing_else_is_trained(
    run: Run, processes: Processes, status: int
):
    processes.ends = [status]
    assert run() == 143
    assert processes.called()[2:] == ["train simulated", "hand out simulated"]


def test_a_last_stage_that_fails_is_handed_out_and_said(run: Run, processes: Processes):
    processes.ends = [0, 1]
    assert run() == 1
    assert processes.called()[-2:] == ["train shi", "hand out shi"]


def test_a_signal_is_passed_on_to_training_and_not_to_handing_out(run: Run, processes: Processes):
    processes.signal_during, processes.ends = f"--data={SETS['simulated']}", [143]
    assert run() == 143
    assert processes.terminated == ["train.py"]
    processes.signal_during = "hand-out"
    assert run() == 143
    assert processes.terminated == ["train.py"]


def test_after_a_signal_while_sets_are_built_nothing_is_trained(run: Run, processes: Processes):
    processes.signal_during = "--focus"
    assert run() == 143
    assert processes.called() == ["build simulated", "build shi"]


def test_a_signal_while_wheels_are_installed_is_an_end_by_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def stopped(self: Runner) -> int:
        self._stopped = True
        self._call = lambda *_, **__: -signal.SIGTERM
        self._succeed("-m", "pip")
        return 0

    monkeypatch.setattr(Runner, "run", stopped)
    assert runner.main(["--seconds=600", f"--work={tmp_path}", f"--output={tmp_path}"]) == 143
    assert "stopped by a signal: -m pip; the same command goes on" in capsys.readouterr().err


def test_a_restart_from_weights_trains_the_stages_of_the_bundle_alone(run: Run, processes: Processes, tmp_path: Path):
    assert run(stages={"shi": RECIPE["shi"]}, files={"weights/start.safetensors": "parameters"}) == 0
    assert processes.called() == ["build shi", "train shi", "hand out shi"]
    assert processes.flags("shi")["init_from"] == str(tmp_path / "work" / "bundle" / "weights" / "start.safetensors")
    assert processes.flags("shi")["max_seconds"] == "525.0"


def test_wheels_are_installed_without_network_unless_they_are_there(run: Run, processes: Processes, tmp_path: Path):
    files = {"wheels/one-1-py3-none-any.whl": "", "wheels/two-1-py3-none-any.whl": ""}
    site = tmp_path / "work" / "site.unfinished"
    site.mkdir(parents=True)  # what pip would make
    run(files=files)
    line = shlex.join(processes.lines[0])
    assert line.startswith("-m pip install --quiet --no-index --no-deps")
    assert line.count(".whl") == 2
    run(files=files)
    assert processes.called().count("install") == 1
    assert not site.exists()


def test_skipped_wheels_are_not_installed(run: Run, processes: Processes):
    run("--skip-wheels", files={"wheels/one-1-py3-none-any.whl": ""})
    assert "install" not in processes.called()


def test_a_folder_of_another_bundle_is_refused(run: Run, tmp_path: Path):
    run()
    with pytest.raises(RunnerError, match=r"work is of another bundle: give another folder \(--work\)"):
        run(files={"code/other.py": ""})


def test_a_bundle_that_is_damaged_is_named_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "bundle.pyz").write_text("half of it")
    monkeypatch.setattr(runner, "__file__", str(tmp_path / "bundle.pyz" / "__main__.py"))
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGINT)}
    status = runner.main(["--seconds=600", f"--work={tmp_path / 'work'}", f"--output={tmp_path}"])
    for kind, handler in before.items():
        signal.signal(kind, handler)
    assert status == 1
    assert capsys.readouterr().err == "bundle: File is not a zip file\n"
