"""The examples of the README, word by word, on pictures that are generated."""

import re
import shlex
from pathlib import Path

import pytest

from btbnet_jax import cli
from btbnet_jax.images import write_png
from btbnet_jax.sources import generated, simulated

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
NOT_HERE = ("BSDS500", "DOWNLOADS", "runs/", "mine.safetensors")  # downloads, and what hours of training end with
SHOWN = re.findall(r"^btbnet .*$", "".join(re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S)), re.M)
COMMANDS = [command for command in SHOWN if not any(name in command for name in NOT_HERE)]


@pytest.fixture(autouse=True)
def _pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the examples name, in the folder that they run in; files are read by what they hold, not by their suffix."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BTBNET_WEIGHTS", raising=False)
    image, mask = simulated.blurred_version(generated.scene("test", 0), 12)
    Path("holiday").mkdir()
    Path("masks").mkdir()
    for name in ("photo.jpg", "large.jpg", "holiday/beach.jpg", "holiday/boat.jpg"):
        write_png(Path(name).with_suffix(".png"), image[:90, :130])
        Path(name).with_suffix(".png").rename(name)
    for name in ("beach", "boat"):
        write_png(Path("masks", f"{name}.png"), mask[:90, :130])


def test_the_python_examples_run(capsys: pytest.CaptureFixture[str]):
    names: dict[str, object] = {}
    for example in re.findall(r"^```python\n(.*?)^```", README, re.M | re.S):
        exec(compile(example, "README.md", "exec"), names)
    assert "adaptive F" in capsys.readouterr().out


def test_the_commands_run(capsys: pytest.CaptureFixture[str]):
    assert len(COMMANDS) >= 7
    for command in COMMANDS:
        assert cli.main(shlex.split(command, comments=True)[1:]) == 0, (command, capsys.readouterr().err)
    assert "mae" in capsys.readouterr().out
    written = {path.name for path in Path("focus").iterdir()}
    assert {"photo_focus.png", "beach_overlay.png", "boat_overlay.png", "large_focus.png", "report.csv"} <= written
    assert Path("small.jax").stat().st_size > 3_000_000
