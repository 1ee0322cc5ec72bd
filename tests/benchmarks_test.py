"""That the benchmarks of time and memory run, on arrays too small to say anything."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("script", "arguments", "rows"),
    [
        (
            "full_network",
            "--size 16 --width 0.03125 --scales 1/2 --repeat 1",
            ["forward, 1 x 16 x 16", "train, 1 x 16 x 16"],
        ),
        (
            "full_network",
            "--size 16 --width 0.03125 --scales 1/2 --only forward --way direct",
            ["forward, 1 x 16 x 16"],
        ),
        ("tiles", "--sizes 40x90,16x16 --tiles 64", ["40 × 90", "16 × 16"]),
    ],
)
def test_a_benchmark_prints_and_saves_its_table(script: str, arguments: str, rows: list[str], tmp_path: Path):
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), *arguments.split()]
    done = subprocess.run([*command, "--save", str(tmp_path / "table.md")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == rows
    assert "btbnet_jax 0" in done.stdout.splitlines()[-1]
