import argparse
import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import comparisons

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "against_pytorch.py"
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
    both = [f"--side={side}" for side in sides]
    section = ("against_pytorch", *SMALL, *both)
    layer = ("layers", "--side=8", "--channels=4", "--turns=1")
    monkeypatch.setattr(comparisons, "ON_A_CPU", {"A": section, "B": (*section, "--task=train"), "C": layer})
    monkeypatch.setattr(sys, "argv", ["comparisons", f"--page={page}"])
    page.write_text("# Measured\n\n## B\n\nearlier\n\n## C\n\n| a side | failed | |\n")
    comparisons.main()
    head, *texts = page.read_text().split("\n## ")
    assert (head, texts[0]) == ("# Measured\n", "B\n\nearlier\n")
    assert texts[1].startswith("C\n\n| layer | way |")
    assert texts[2].startswith("A\n\nforward, 1 × 12 × 20")
    assert "python benchmarks/against_pytorch.py --height=12 --breadth=20" in texts[2]
    assert [f"\n| {side} |" in texts[2] for side in sides] == [True, True]


@pytest.mark.parametrize("sections", [comparisons.ON_A_CPU, comparisons.ON_A_GPU])
def test_every_section_has_options_that_its_script_takes(
    sections: comparisons.Sections, monkeypatch: pytest.MonkeyPatch
):
    class TakenError(Exception):
        pass

    take = argparse.ArgumentParser.parse_args

    def taken(parser: argparse.ArgumentParser) -> None:
        take(parser)
        raise TakenError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", taken)
    for script, *options in sections.values():
        monkeypatch.setattr(sys, "argv", [script, *options])
        with pytest.raises(TakenError):
            importlib.import_module(f"benchmarks.{script}").main()


def test_where_there_is_no_gpu_none_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = subprocess.run([sys.executable, str(SCRIPT), *SMALL, "--gpu"], check=False, capture_output=True, text=True)
    assert found.returncode == 1
    assert "JAX finds no GPU: install it for one" in found.stderr
    monkeypatch.setattr(sys, "argv", ["comparisons", f"--page={tmp_path / 'page.md'}", "--gpu"])
    with pytest.raises(SystemExit, match=r"JAX has no GPU here: install it for this machine's, or leave out --gpu"):
        comparisons.main()
    assert not (tmp_path / "page.md").exists()


def test_a_section_that_fails_is_named_and_takes_no_other_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    page, layer = tmp_path / "page.md", ("layers", "--side=8", "--channels=4", "--turns=1")
    monkeypatch.setattr(comparisons, "ON_A_CPU", {"A": ("layers", "--side=none"), "B": layer, "C": layer})
    monkeypatch.setattr(sys, "argv", ["comparisons", f"--page={page}", "--only=A", "--only=B"])
    with pytest.raises(SystemExit, match="failed, see above: A"):
        comparisons.main()
    assert [text.partition("\n")[0] for text in page.read_text().split("\n## ")[1:]] == ["B"]
    monkeypatch.setattr(sys, "argv", ["comparisons", f"--page={page}", "--only=D"])
    with pytest.raises(SystemExit):
        comparisons.main()


def test_what_is_timed_needs_no_reader_of_data_sets():
    """On the machine of a GPU there may be neither."""
    readers = (
        "import sys; sys.modules |= dict.fromkeys(('grain', 'array_record', 'tensorflow_datasets', 'matplotlib'));"
    )
    scripts = {script for script, *_ in comparisons.ON_A_GPU.values()} | {"sides"}
    modules = [*(f"benchmarks.{script}" for script in sorted(scripts)), "btbnet_jax.training", "btbnet_jax.weights"]
    modules += ["btbnet_jax.sources.generated", "btbnet_jax.sources.simulated"]
    subprocess.run([sys.executable, "-c", f"{readers} import {', '.join(modules)}"], check=True, cwd=ROOT)


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is installed")
def test_a_side_that_fails_takes_no_other_with_it():
    rows = compared("--side=PyTorch, eager", "--side=JAX, direct")
    assert [cells[0] == "failed" for cells in rows.values()] == [False, True]


def test_a_side_that_takes_too_long_is_stopped():
    command = [sys.executable, str(SCRIPT), *SMALL, "--side=JAX, direct", "--first-limit=0.01"]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    assert found.returncode == 1
    assert "JAX, direct ended without an answer" in found.stderr
    assert "no side came to its end" in found.stderr


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
