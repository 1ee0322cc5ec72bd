"""Runs of several processes on this machine, which meet over loopback and the CPU's own collectives."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from btbnet_jax.checkpoints import read
from btbnet_jax.config import TrainConfig
from btbnet_jax.data import Examples, hold_out, train_batches
from btbnet_jax.processes import together
from tests.script_calls import FLAGS, ROOT, command, ended, table
from tests.small_sets import build_pairs, half_in_focus

SAVED, STEPS = 20, 40
SCRIPT = [
    ROOT / "train.py",
    *FLAGS,
    *("--optimiser=sgd", "--learning_rate=0.001"),
    *("--size=0", "--crop=40", "--batch_size=4", "--validation=2"),
    *(f"--steps={STEPS}", "--log_every=1", f"--evaluate_every={SAVED}", f"--save_every={SAVED}"),
]
SIZES = [(40, 40), (8, 12), (20, 30), (33, 9), (16, 40), (70, 24), (12, 12), (28, 36)]
"""Of images, in crops of 40: processes have unequal numbers of valid pixels."""


def start(data: Path, folder: Path, num: int) -> list[subprocess.Popen[str]]:
    """Starts a run's processes; one for `num` 1, by itself."""
    script = [*SCRIPT, f"--data_dir={data}", f"--run_dir={folder}"]
    if num == 1:
        return [command(*script)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = (f"--coordinator=127.0.0.1:{port}", f"--num_processes={num}")
    return [command(*script, *where, f"--process={process}") for process in range(num)]


def train(data: Path, folder: Path, num: int) -> Path:
    """Trains to the end, and returns the run's folder."""
    ends = [ended(process) for process in start(data, folder, num)]
    assert [status for status, _ in ends] == [0] * num, ends
    return folder


def wait_for(happened: Callable[[], bool], processes: list[subprocess.Popen[str]]) -> None:
    deadline = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes), [process.communicate() for process in processes]
        time.sleep(0.05)


def assert_same_parameters(run: Path, other: Path, step: int = STEPS) -> None:
    """Equal to 1e-5 after a step."""
    trees = [read(folder / "checkpoints" / str(step)).trees for folder in (run, other)]
    for name in ("params", "average"):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), *(tree[name] for tree in trees))


def assert_same_figures(run: Path, other: Path) -> None:
    """The same ones on the way, and one row for every step."""
    for name, column in (("training", "loss"), ("validation", "mae")):
        rows, expected = (table(folder / f"{name}.csv") for folder in (run, other))
        assert [row["step"] for row in rows] == [row["step"] for row in expected]
        figures, wanted = ([float(row[column]) for row in side] for side in (rows, expected))
        np.testing.assert_allclose(figures, wanted, atol=1e-4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with pairs/small."""
    folder = tmp_path_factory.mktemp("data")
    build_pairs(folder, "small", {f"train{number}": half_in_focus(number, size) for number, size in enumerate(SIZES)})
    return folder


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process on one device."""
    return train(data, tmp_path_factory.mktemp("alone"), 1)


def kill(data: Path, folder: Path, victim: int) -> tuple[list[tuple[int, str]], float]:
    """Starts four processes and kills one; returns how all ended, in order, and after how many seconds."""
    processes = start(data, folder, 4)
    wait_for((folder / "checkpoints" / str(SAVED)).exists, processes)
    processes[victim].kill()
    killed_at = time.monotonic()
    ends = [ended(process) for process in processes]
    return ends, time.monotonic() - killed_at


@pytest.fixture(scope="module")
def killed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[int, str]], float]:
    """A run of four whose third process was killed, and what `kill` returns."""
    folder = tmp_path_factory.mktemp("killed")
    return folder, *kill(data, folder, 2)


def test_the_death_of_one_process_ends_the_others_with_a_clear_message(killed):
    assert_all_ended(*killed[1:], victim=2)


def test_the_death_of_the_process_that_the_others_met_at_ends_them_too(data: Path, tmp_path: Path):
    assert_all_ended(*kill(data, tmp_path / "run", 0), victim=0)


def assert_all_ended(ends: list[tuple[int, str]], seconds: float, *, victim: int) -> None:
    assert seconds < 60
    assert ends[victim][0] == -signal.SIGKILL
    for process, (status, output) in enumerate(ends):
        assert status not in (0, None)
        assert f"process {process} of 4 ends, and with it all others" in output


@pytest.mark.parametrize("num", [2, 4])
def test_processes_have_unequal_numbers_of_valid_pixels(data: Path, alone: Path, num: int):
    config = TrainConfig.from_json(json.loads((alone / "config.json").read_text())).data
    examples = hold_out(Examples(data, config.name, config.split), config.validation)[0]
    shares = [train_batches(examples, config, shard=(process, num)) for process in range(num)]
    pixels = [[int(next(share).size.prod(axis=1).sum()) for share in shares] for _ in range(STEPS)]
    assert min(len(set(step)) for step in pixels) > 1
    assert max(len(set(step)) for step in pixels) == num


def test_twenty_steps_of_four_processes_end_where_those_of_one_device_do(killed, alone: Path):
    assert_same_parameters(killed[0], alone, SAVED)


@pytest.fixture(scope="module")
def copies(killed, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The run whose process was killed, three times."""
    folder = tmp_path_factory.mktemp("copies")
    return [shutil.copytree(killed[0], folder / name) for name in ("with one", "with two", "with two and one")]


@pytest.mark.parametrize("num", [1, 2])
def test_a_run_of_four_goes_on_with_fewer_and_ends_where_one_device_does(
    copies: list[Path], alone: Path, data: Path, num: int
):
    folder = train(data, copies[num - 1], num)
    assert_same_parameters(folder, alone)
    assert_same_figures(folder, alone)


def test_a_run_of_two_that_is_asked_to_stop_goes_on_with_one_and_ends_there_too(
    copies: list[Path], alone: Path, data: Path
):
    folder = copies[2]
    rows = folder / "training.csv"
    before = rows.stat().st_mtime_ns  # the killed ones may have written rows that those who go on write anew
    processes = start(data, folder, 2)
    wait_for(lambda: rows.stat().st_mtime_ns > before and len(table(rows)) > SAVED, processes)
    processes[1].send_signal(signal.SIGTERM)  # to one of them, which stops both
    ends = [ended(process) for process in processes]
    assert [status for status, _ in ends] == [128 + signal.SIGTERM] * 2
    stops = {" ".join(output.split()).partition("stopped by")[2].partition(",")[0] for _, output in ends}
    assert len(stops) == 1
    step = stops.pop().removeprefix(" SIGTERM after step ")
    assert (folder / "checkpoints" / step).exists()
    assert not (folder / "checkpoints" / str(STEPS)).exists()
    assert_same_parameters(train(data, folder, 1), alone)
    assert_same_figures(folder, alone)
    assert [path.name for path in sorted((folder / "validation").iterdir())] == ["0000020.png", "0000040.png"]


@pytest.mark.parametrize(
    ("coordinator", "numbers"),
    [("", (2, 0)), ("auto", (2, 0)), ("node0", (2, 0)), ("node0:1", (2, 2)), ("node0:1", (None, 0)), (":1", (2, 0))],
)
def test_settings_that_do_not_fit_are_refused(coordinator: str, numbers: tuple[int | None, int]):
    with pytest.raises(ValueError, match="coordinator"), together(coordinator, *numbers):
        pass


def test_where_no_cluster_tells_of_its_processes_a_coordinator_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    for name in os.environ:
        if name.startswith(("SLURM", "OMPI", "KUBERNETES", "TPU", "JAX_COORDINATOR")):
            monkeypatch.delenv(name)
    script = "from btbnet_jax.processes import together\nwith together('auto'): pass"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "ValueError: no cluster was found that tells of its processes" in result.stderr
