"""How tests call `train.py` and `evaluate.py`: as commands, and as functions."""

import csv
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from absl import app, flags

ROOT = Path(__file__).parents[1]
FLAGS = [
    *("--data=pairs/small", "--validation=2", "--size=16", "--orientations=right_angles", "--batch_size=2"),
    *("--scales=1/2", "--recurrent_steps=2", "--width=0.03125", "--precision=highest", "--optimiser=adamw"),
    *("--learning_rate=0.01", "--trunk_factor=0.5", "--schedule=constant", "--clip_norm=1", "--ema=0.15"),
    *("--steps=6", "--log_every=1", "--evaluate_every=3", "--save_every=2"),
]
"""Of a run that is configured as `small_runs.CONFIG`."""

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


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
