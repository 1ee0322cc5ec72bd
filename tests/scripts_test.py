"""`train.py` and `evaluate.py` as commands, from the first step to the scores; each by itself in a file of its own."""

import dataclasses
import json
import signal
from pathlib import Path

import pytest

from btbnet_jax.checkpoints import find, read
from btbnet_jax.data import Examples, hold_out
from btbnet_jax.images import image_size
from tests.script_calls import FLAGS, ROOT, command, ended, table
from tests.small_runs import CONFIG


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
    for method in ("interrupted", "all_blurred", "all_in_focus", "laplacian_variance"):
        assert f"{method} " in output
    held_out = hold_out(Examples(small_data, "pairs/small", "train"), "2")[1]
    images = [row["image"] for row in table(tmp_path / "images.csv") if row["method"] == "interrupted"]
    assert images == [held_out.name(index) for index in range(2)]
    values = json.loads((tmp_path / "results.json").read_text())
    assert values["params_sha256"] == {"interrupted": read(find(runs.interrupted)[0]).digests["average"]}
    assert values["configs"] == {"interrupted": CONFIG.to_json()}
    assert values["steps"] == {"interrupted": int(find(runs.interrupted)[0].name)}
    given = {"run": [str(runs.interrupted)], "data_dir": str(small_data), "output": str(tmp_path)}
    assert given.items() <= values["flags"].items()
    assert values["flags"]["split"] == "validation"  # what was not given as well
    # The run itself has scored the same checkpoint on the same images.
    (scored,) = [row for row in table(runs.interrupted / "validation.csv") if row["step"] == find(runs.whole)[0].name]
    for protocol in ("mae", "adaptive", "max_of_mean"):
        assert f"{values['scores'][0][protocol]:.6g}" == scored[protocol]
    assert image_size(tmp_path / "best_median_worst.png")[1] > 100
