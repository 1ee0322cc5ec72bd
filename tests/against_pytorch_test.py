import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import comparisons

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "against_pytorch.py"
SMALL = ("--height=12", "--breadth=20", "--width=0.0625", "--scales=1,1/2", "--repeat=1")


def compared(*options: str) -> dict[str, list[str]]:
    """The cells of the table by side."""
    found = subprocess.run([sys.executable, str(SCRIPT), *SMALL, *options], check=True, capture_output=True, text=True)
    rows = [line.strip("| ").split(" | ") for line in found.stdout.splitlines() if line.startswith("| ")][2:]
    return {row[0]: row[1:] for row in rows if not row[0].startswith("a matrix product")}


def test_both_ways_here_are_timed_and_compared(tmp_path: Path):
    saved = tmp_path / "table.md"
    rows = compared("--side=JAX, direct", "--side=JAX, quick", "--side=JAX, bfloat16", f"--save={saved}")
    assert [float(cells[1]) > 0 for cells in rows.values()] == [True] * 3
    assert float(rows["JAX, direct"][-1]) == 0
    assert 0 < float(rows["JAX, quick"][-1]) < 1e-5 < float(rows["JAX, bfloat16"][-1]) < 0.05
    assert "| JAX, direct |" in saved.read_text()


def test_a_page_of_comparisons_gets_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    page = tmp_path / "page.md"
    sides = ("JAX, direct", "JAX, bfloat16")
    monkeypatch.setattr(comparisons, "ON_A_CPU", {"A": (*SMALL, sides), "B": (*SMALL, "--task=train", sides)})
    monkeypatch.setattr(sys, "argv", ["comparisons", f"--page={page}"])
    page.write_text("# Measured\n\n## B\n\nearlier\n")
    comparisons.main()
    first, _, new = page.read_text().partition("\n## A\n")
    assert first == "# Measured\n\n## B\n\nearlier\n"
    assert "against_pytorch.py --height=12" in new
    assert [f"\n| {side} |" in new for side in sides] == [True, True]


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is installed")
def test_a_side_that_fails_takes_no_other_with_it():
    rows = compared("--side=PyTorch, eager", "--side=JAX, direct")
    assert list(rows) == ["JAX, direct"]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("task", ["forward", "train"])
def test_pytorch_computes_the_same(task: str):
    rows = compared("--side=JAX, direct", "--side=PyTorch, eager", "--side=PyTorch, channels last", f"--task={task}")
    assert [float(cells[-1]) < 1e-4 for cells in rows.values()] == [True] * 3


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_what_a_gpu_is_asked_for_runs():
    """Compiled and in bfloat16, each after the other; `--repeat=0` takes the first call for the figure."""
    sides = ("JAX, direct", "JAX, bfloat16", "PyTorch, compiled", "PyTorch, bfloat16 compiled")
    rows = compared(*(f"--side={side}" for side in sides), "--task=train", "--in-a-row", "--repeat=0")
    assert list(rows) == list(sides)
    for cells in rows.values():
        assert cells[0] == cells[1] == cells[2]
        assert float(cells[-1]) < 0.02
