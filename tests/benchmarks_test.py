"""That the benchmarks run, on arrays too small to say anything."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from btbnet_jax.data import Examples
from btbnet_jax.images import write_png
from tests.raw_sets import noise
from tests.script_calls import FLAGS

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def first_cells(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]]


def saved_table(script: str, *arguments: str, folder: Path) -> str:
    """What a benchmark prints, and writes with its last line of versions."""
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), *arguments]
    done = subprocess.run([*command, "--save", str(folder / "table.md")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (folder / "table.md").read_text(encoding="utf-8") == done.stdout
    *_, called, _, last = done.stdout.splitlines()
    assert called.startswith(f"`python benchmarks/{script}.py ")
    assert "--save" not in called
    assert "btbnet_jax 0" in last
    assert "nan" not in done.stdout
    return done.stdout


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
        ("tiles", "--sizes 16x16 --tiles 64 --once", ["16 × 16"]),
        ("layers", "--side 24 --channels 4:8,64 --turns 1", ["4:8, 24 × 24", "64, 24 × 24", "2048 × 2048"]),
        ("layers", "--side 24 --channels 8 --turns 1 --batch 2 --gradients", ["8, 24 × 24", "2048 × 2048"]),
        ("layers", "--side 24 --channels 8 --turns 1 --batch 2 --eight-bits", ["8, 24 × 24", "2048 × 2048"]),
        ("operations", "--size 16 --width 0.03125 --scales 1/2", ["forward", "training step"]),
        (
            "full_network",
            "--size 16 --width 0.03125 --scales 1/2 --only train --remat half",
            ["train, 1 x 16 x 16"],
        ),
        ("remat", "--size 16 --width 0.03125", ["without", "with remat of half", "with remat"]),
        (
            "scoring",
            "--num 3 --turns 1",
            ["ours, compilation included", "ours, warm", "loop of NumPy and scikit-learn"],
        ),
        (
            "start",
            "--size 40x30 --repeat 1",
            [
                *("import numpy", "import jax", "import btbnet_jax", "from btbnet_jax import Detector"),
                *("btbnet detect, the first time", "btbnet detect, again", "Detector, warm"),
            ],
        ),
    ],
)
def test_a_benchmark_prints_and_saves_its_table(script: str, arguments: str, rows: list[str], tmp_path: Path):
    assert list(dict.fromkeys(first_cells(saved_table(script, *arguments.split(), folder=tmp_path)))) == rows


def test_the_pipeline_is_timed_and_so_is_a_recipe(small_data: Path, tmp_path: Path):
    data = ("--data-dir", str(small_data))
    read = saved_table("pipeline", *data, "--data=pairs/small", "--images=4", "--threads=1", folder=tmp_path)
    assert first_cells(read) == ["1", "1"]
    recipe = tmp_path / "small.flags"
    recipe.write_text("\n".join(FLAGS))
    trained = saved_table("pipeline", *data, f"--flagfile={recipe}", "--steps=4", folder=tmp_path)
    assert first_cells(trained) == [str(recipe)]


def test_a_folder_of_photographs_is_mapped_in_both_ways(tmp_path: Path):
    (tmp_path / "photographs").mkdir()
    for name, size in (("a", (20, 24)), ("b", (24, 20)), ("c", (20, 24))):
        write_png(tmp_path / "photographs" / f"{name}.png", noise(size))
    table = saved_table("folder", str(tmp_path / "photographs"), "--turns=1", folder=tmp_path)
    assert table.startswith("3 photographs of 2 sizes")
    cells = [line.split(" | ")[:2] for line in table.splitlines() if line.startswith("| ")][2:]
    assert [row[1] for row in cells][::2] == ["2", "0"]


@pytest.mark.parametrize(
    ("script", "arguments", "num"),
    [
        ("variants", "--weights={}", 6),
        ("noise", "{} --levels 0 4", 2),
        ("long_photographs", "--weights={} --ratios=2,3", 4),
        ("silent_layers", "--weights={} --images=2", 29),
    ],
)
def test_a_benchmark_of_accuracy_prints_its_table(
    script: str,
    arguments: str,
    num: int,
    small_weights: Path,
    small_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    module = importlib.import_module(f"benchmarks.{script}")
    monkeypatch.setattr(module, "validation_images", lambda _: Examples(small_data, "pairs/small", "test"))
    monkeypatch.setattr(module, "SIZE", 16, raising=False)
    monkeypatch.setattr(module, "LIMITS", dict.fromkeys(("float32", "bfloat16", "kernels"), 1), raising=False)
    monkeypatch.setattr(sys, "argv", [script, *arguments.format(small_weights).split()])
    module.main()
    printed = capsys.readouterr().out
    assert len(first_cells(printed)) >= num
    assert "3 validation images" in printed or script == "silent_layers"


def test_ways_of_computing_that_change_scores_too_much_are_named(
    small_weights: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
):
    module = importlib.import_module("benchmarks.variants")
    monkeypatch.setattr(module, "validation_images", lambda _: Examples(small_data, "pairs/small", "test"))
    monkeypatch.setattr(module, "LIMITS", {"float32": 1, "bfloat16": 0, "kernels": 1})
    monkeypatch.setattr(sys, "argv", ["variants", f"--weights={small_weights}"])
    with pytest.raises(SystemExit, match=r"too far from the reference: bfloat16: .* allowed 0"):
        module.main()
