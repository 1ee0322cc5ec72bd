import re
import subprocess
import sys
from pathlib import Path

import pytest

from btbnet_jax.builders import open_source
from btbnet_jax.cli import main
from btbnet_jax.images import write_png
from btbnet_jax.sources import generated
from tests.raw_sets import mask, noise, write_numbered


def test_a_set_is_built_and_its_numbers_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_numbered(tmp_path / "raw", ("dut500-source", "dut500-gt"), 500)
    arguments = ["data", "dut", "--manual-dir", str(tmp_path / "raw"), "--data-dir", str(tmp_path / "data")]
    assert main(arguments) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"dut/1.0.0: 500 in test; in {tmp_path / 'data' / 'dut' / '1.0.0'}"


def test_what_is_wrong_is_said_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.txt").touch()
    arguments = ["data", "shi", "--manual-dir", str(tmp_path / "raw"), "--data-dir", str(tmp_path / "data")]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("btbnet: shi cannot be built:\n- no folder 'image'")
    assert "Traceback" not in error


def test_the_default_data_folder_is_data_and_the_default_simulation_is_generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(generated, "NUM_SCENES", {"train": 1, "test": 1})
    monkeypatch.chdir(tmp_path)
    assert main(["data", "simulated"]) == 0
    assert len(open_source("data", "simulated/generated", "test")) == 1


def test_ctrl_c_while_libraries_are_imported_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("btbnet_jax.cli.importlib.import_module", interrupted)
    assert main(["data", "simulated"]) == 130
    assert capsys.readouterr().err.startswith("btbnet: interrupted")


def test_photographs_need_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["data", "simulated", "--config", "photographs", "--data-dir", str(tmp_path)]) == 1
    assert "needs --manual-dir" in capsys.readouterr().err
    assert main(["data", "simulated", "--manual-dir", str(tmp_path), "--data-dir", str(tmp_path)]) == 1
    assert "--manual-dir has no effect with --config generated" in capsys.readouterr().err


def test_pairs_of_ones_own_are_built_from_two_folders_and_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for folder in ("photos", "truth"):
        (tmp_path / folder).mkdir()
    for number in range(8):
        write_png(tmp_path / "photos" / f"{number}.png", noise())
        write_png(tmp_path / "truth" / f"{number}_gt.png", mask(white=0.75))
    (tmp_path / "test.txt").write_text("1\n2\n")
    arguments = ["data", "pairs", "--name", "mine", "--images", str(tmp_path / "photos"), "--masks"]
    arguments += [str(tmp_path / "truth"), "--test-names", str(tmp_path / "test.txt"), "--data-dir", str(tmp_path)]
    assert main([*arguments, "--focus", "white"]) == 1  # three quarters of each would be in focus
    assert main([*arguments, "--focus", "black"]) == 0
    assert len(open_source(tmp_path, "pairs/mine", "test")) == 2
    assert len(open_source(tmp_path, "pairs/mine", "train")) == 6
    capsys.readouterr()
    assert main([*arguments, "--focus", "black"]) == 0
    assert "pairs/mine/1.0.0: built before, " in capsys.readouterr().out
    assert main([*arguments, "--focus", "white"]) == 1
    error = capsys.readouterr().err
    assert "was built from something else (then -> now):\n- focus: black -> white\n" in error
    assert "To build it anew, delete that folder" in error
    write_png(tmp_path / "photos" / "8.png", noise())
    write_png(tmp_path / "truth" / "8_gt.png", mask(white=0.75))
    assert main([*arguments, "--focus", "black"]) == 1
    assert re.search(r"- files: 17, whose .* [0-9a-f]{12} -> 19, whose", capsys.readouterr().err)
    arguments[3] = "../mine"
    assert main([*arguments, "--focus", "black"]) == 1
    assert "a set is called by letters, digits and -_. alone, not '../mine'" in capsys.readouterr().err
    arguments[3] = "sharp"
    assert main([*arguments, "--focus", "white", "--no-polarity-check"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["data"],
        ["data", "shi"],
        ["data", "bsds"],
        ["data", "pairs", "--name", "a", "--images", "b", "--masks", "c"],  # no polarity is guessed
    ],
)
def test_missing_or_unknown_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: btbnet" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["shi", "dut", "simulated", "pairs"])
def test_the_help_of_every_set_says_what_to_do_and_shows_an_example(name: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="0"):
        main(["data", name, "--help"])
    text = capsys.readouterr().out
    for words in ("To do: ", "example", f"btbnet data {name}", "--data-dir", "default: data"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 110


def test_python_m_runs_the_command():
    done = subprocess.run([sys.executable, "-m", "btbnet_jax", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("btbnet_jax ")
