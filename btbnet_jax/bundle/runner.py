"""Trains what a bundle holds: ``python3 btbnet-3s.pyz --seconds 570 --output OUT``.

It is the program of the bundle, so it uses Python's own library alone: nothing else need be there before the wheels
are installed.  All it does is to call the commands of this project, which it prints: sets are built, trained on and
handed out as they are anywhere.  Given again on the same machine, the same command goes on where it was.

Training wants JAX for a GPU; JAX_PLATFORMS=cpu or tpu in the environment names another device.
"""

import argparse
import csv
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path
from types import FrameType

SETS = {"simulated": "simulated/layered", "shi": "pairs/shi_train"}
LEAST_SECONDS = 120
"""That a stage is begun with: it would hardly be compiled in fewer."""
LEAST_STEPS = 100
"""Of a second stage, whose optimiser is warmed up first; where even these take too long, the clock stops them."""
START_SECONDS = 15
"""Of ``train.py``, before it counts those that it has."""
VALIDATION_SECONDS = 40
"""To compile what a stage validates by, which the first one does not have.  Assumption: never measured on a GPU."""
TIME_IS_UP = 128 + signal.SIGALRM
"""Exit status of ``train.py`` where its seconds were over."""
STOPPED = (128 + signal.SIGTERM, 128 + signal.SIGINT, -signal.SIGTERM)
"""Likewise where it was stopped by a signal, the last where it did not listen yet."""


class RunnerError(RuntimeError):
    """What keeps a bundle from running; the text says what to do."""


class RunnerStoppedError(RunnerError):
    """A signal came while there was nothing to be handed out yet."""


def parser() -> argparse.ArgumentParser:
    """Returns what reads the arguments."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = reader.add_argument
    add("--seconds", type=float, required=True, help="that the command may take in all")
    add("--output", type=Path, required=True, help="folder for the pieces of the parameters")
    add("--work", type=Path, default=Path("/tmp/btbnet_3s"), help="folder for everything else (default: %(default)s)")
    add("--reserve", type=float, default=60.0, help="seconds of them that training leaves, to hand out (default: 60)")
    add("--share", type=float, default=0.45, help="of what is left when the first of two stages begins, for it (0.45)")
    kinds = ("float32", "float16", "bfloat16", "int8")
    add("--storage", choices=kinds, default="float16", help="of what is handed out (default: float16)")
    add("--skip-wheels", action="store_true", help="the packages are there already")
    add("--both", default="", help='flags of train.py for all stages, such as "--accumulate=4 --remat"')
    for stage in SETS:
        add(f"--{stage}", default="", help="likewise, for this stage")
    return reader


class Runner:
    """One call of a bundle.

    Args:
      options: as `parser` reads them.
      archive: the bundle.
    """

    def __init__(self, options: argparse.Namespace, archive: Path) -> None:
        self._options, self._archive = options, archive
        self._begun, self._limit = time.monotonic(), options.seconds - options.reserve
        if self._limit < LEAST_SECONDS or not 0 < options.share <= 1:
            raise RunnerError(
                f"--seconds {options.seconds:g} less --reserve {options.reserve:g} has to be {LEAST_SECONDS} or more, "
                f"and --share {options.share:g} above 0 and at most 1: nothing would be trained"
            )
        self._work, self._output = options.work.absolute(), options.output.absolute()
        self._bundle = self._work / "bundle"
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def run(self) -> int:
        """Trains stage after stage, hands out, and returns the exit status: 0, 143 by a signal, or of what failed."""
        for kind in (signal.SIGTERM, signal.SIGINT):
            signal.signal(kind, self._stop)
        self._unpack()
        stages = json.loads((self._bundle / "manifest.json").read_text("utf-8"))["stages"]
        self._install()
        self._look(stages)
        self._build(stages)
        status, start = 0, self._bundle / "weights" / "start.safetensors"
        for stage, flag_file in stages.items():
            is_last = stage == list(stages)[-1]
            if self._closed(stage).exists() and not is_last:  # its parameters were handed out when it ended
                start = self._run_dir(stage)
                continue
            if not self._closed(stage).exists():
                status = self._train(stage, flag_file, start, is_last=is_last)
            self._hand_out(stage, has_to_succeed=is_last or status != 0)
            if status:
                break
            start = self._run_dir(stage)
        if self._stopped or status in STOPPED:
            return self._said("stopped by a signal; the same command goes on", 128 + signal.SIGTERM)
        if status == TIME_IS_UP:
            return self._said("the time is up; the same command goes on", 0)
        return self._said(f"failed with status {status}" if status else "all stages are finished", status)

    def _unpack(self) -> None:
        """Unpacks the bundle, once; a folder with another one is refused."""
        with self._archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        note = self._work / "sha256.txt"
        if note.exists():
            if note.read_text() != digest:
                raise RunnerError(f"{self._work} is of another bundle: give another folder (--work)")
            return
        with zipfile.ZipFile(self._archive) as archive:
            archive.extractall(self._bundle)  # which checks what every file was
        note.write_text(digest)
        self._said(f"unpacked {self._archive.name}, sha256 {digest}")

    def _install(self) -> None:
        """Installs the wheels beside the bundle, without network and without what they would like to have as well."""
        wheels, site = sorted((self._bundle / "wheels").glob("*.whl")), self._work / "site"
        if not wheels or self._options.skip_wheels or site.exists():
            return
        unfinished = self._work / "site.unfinished"
        options = ("--quiet", "--no-index", "--no-deps", "--no-compile", "--upgrade", "--target", str(unfinished))
        self._succeed("-m", "pip", "install", *options, *map(str, wheels))
        unfinished.rename(site)

    def _look(self, stages: Collection[str]) -> None:
        """Fails, before anything takes its minutes, where packages are missing or there is nothing to train on."""
        if not (self._work / "runs").exists():
            flags = (f"{self._options.both} {getattr(self._options, stage)}" for stage in stages)
            self._succeed("-m", "btbnet_jax.bundle.look", "--", *flags, platforms=_platforms())

    def _build(self, stages: Collection[str]) -> None:
        """Builds the data sets as anybody does, from the photographs of the bundle."""
        data, command = self._bundle / "data", ("-m", "btbnet_jax", "data")
        where = ("--data-dir", str(self._work / "data"))
        if "simulated" in stages:
            config = SETS["simulated"].partition("/")[2]
            self._succeed(*command, "simulated", "--config", config, "--manual-dir", str(data / "clear"), *where)
        if "shi" in stages:
            pairs = ("--images", str(data / "pairs" / "images"), "--masks", str(data / "pairs" / "masks"))
            name = SETS["shi"].partition("/")[2]
            self._succeed(*command, "pairs", "--name", name, *pairs, "--focus", "white", *where)

    def _train(self, stage: str, flag_file: str, start: Path, *, is_last: bool) -> int:
        """Trains a stage for what time there is, and returns its exit status.

        One that is not the last is finished after its share of the time, and after a failure if it had saved something.
        """
        if self._stopped:
            return STOPPED[0]
        began, before = time.monotonic(), self._rows(stage)
        left = self._begun + self._limit - began
        if left < LEAST_SECONDS:
            return TIME_IS_UP
        share = left if is_last else self._options.share * left
        flags = [f"--flagfile={flag_file}", f"--data={SETS[stage]}", f"--data_dir={self._work / 'data'}"]
        flags += [f"--run_dir={self._run_dir(stage)}", f"--init_from={start if start.exists() else ''}"]
        flags += [*self._steps(stage, left), *shlex.split(self._options.both)]
        flags += [*shlex.split(getattr(self._options, stage)), f"--max_seconds={max(1.0, share - START_SECONDS):.1f}"]
        status = self._call("train.py", *flags, platforms=_platforms())
        self._note_speed(stage, time.monotonic() - began, self._rows(stage)[len(before) :])
        if status == TIME_IS_UP and share < left:
            self._said(f"{stage} has had its share of the time; the next stage starts from where it is")
            status = 0
        elif status not in (0, TIME_IS_UP, *STOPPED) and not is_last and self._has_saved(stage):
            self._said(f"{stage} failed with status {status}, see above; the next stage starts from what it had saved")
            status = 0
        if not status:
            self._closed(stage).touch()
        return status

    def _steps(self, stage: str, left: float) -> list[str]:
        """The flag for the steps that there is time for at the speed of the stage before, where that was measured.

        They are noted, for the same command has to go on with as many.  A tenth of the time is left to validate in, and
        some seconds more to compile that.
        """
        note, speed = self._work / f"{stage}.steps", self._work / "speed.json"
        if speed.exists() and not self._run_dir(stage).exists():
            beside, each = json.loads(speed.read_text("utf-8"))
            note.write_text(str(max(LEAST_STEPS, _steps_in(left - beside, each))))
        return [f"--steps={note.read_text()}"] if note.exists() else []

    def _note_speed(self, stage: str, seconds: float, rows: list[dict[str, str]]) -> None:
        """Notes and says how fast the machine trained, in these seconds, which have these rows of figures.

        The first row has the compilation in it, so one alone says nothing, and the steps of a recipe are taken.
        """
        if len(rows) < 2:
            return
        batch = json.loads((self._run_dir(stage) / "config.json").read_text("utf-8"))["data"]["batch_size"]
        each = batch / max(float(row["images_per_second"]) for row in rows)
        steps = int(rows[-1]["step"]) - int(rows[0]["step"])  # and some before the first row, which are few
        beside = max(0.0, seconds - steps * each)
        (self._work / "speed.json").write_text(json.dumps([beside, each]))
        enough = _steps_in(self._limit - beside, each)
        self._said(
            f"{stage}: {each:.3f} s a step, and {beside:.0f} s beside the steps; a call with one stage has time for "
            f"--steps={enough}"
        )

    def _rows(self, stage: str) -> list[dict[str, str]]:
        """The figures of a stage so far."""
        path = self._run_dir(stage) / "training.csv"
        return list(csv.DictReader(path.read_text("utf-8").splitlines())) if path.exists() else []

    def _has_saved(self, stage: str) -> bool:
        return any(path.name.isdigit() for path in (self._run_dir(stage) / "checkpoints").glob("*"))

    def _hand_out(self, stage: str, *, has_to_succeed: bool) -> None:
        """Hands out what a stage has learned, where it has learned anything."""
        if not self._has_saved(stage):
            return
        line = ["-m", "btbnet_jax", "bundle", "hand-out", str(self._run_dir(stage)), str(self._output)]
        line += ["--storage", self._options.storage]
        if has_to_succeed:
            self._succeed(*line, heeds_signals=False)  # to its end, whatever signals come
        elif status := self._call(*line, heeds_signals=False):
            self._said(f"{stage} could not be handed out (status {status}, see above); the next stage is trained")

    def _closed(self, stage: str) -> Path:
        """A file that is there where nothing of a stage is left to do."""
        return self._work / f"{stage}.closed"

    def _run_dir(self, stage: str) -> Path:
        return self._work / "runs" / stage

    def _succeed(self, *arguments: str, heeds_signals: bool = True, platforms: str = "cpu") -> None:
        """Runs a Python command that has to succeed."""
        if status := self._call(*arguments, heeds_signals=heeds_signals, platforms=platforms):
            if self._stopped and heeds_signals:
                raise RunnerStoppedError(f"stopped by a signal: {shlex.join(arguments)}; the same command goes on")
            raise RunnerError(f"failed with status {status}, see above: {shlex.join(arguments)}")

    def _call(self, *arguments: str, heeds_signals: bool = True, platforms: str = "cpu") -> int:
        """Runs a Python command with the code and the packages of the bundle, and returns its exit status.

        Training alone sees a GPU, whose memory it takes.
        """
        self._said(f"$ {shlex.join(['python3', *arguments])}")
        paths = [str(self._bundle / "code"), str(self._work / "site"), os.environ.get("PYTHONPATH", "")]
        settings = {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONUNBUFFERED": "1",
            "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(self._work / "compiled")),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # small programs too: each stage has some dozens
            "JAX_PLATFORMS": platforms,
            # With this, and programs out of the folder above, a run that goes on computes what it would have computed.
            # The last of two flags counts: it can be taken back from outside.
            "XLA_FLAGS": f"--xla_gpu_exclude_nondeterministic_ops=true {os.environ.get('XLA_FLAGS', '')}".strip(),
        }
        line, where = [sys.executable, *arguments], self._bundle / "code"
        # In a session of its own, Ctrl-C does not reach what is not to heed it.
        child = subprocess.Popen(line, cwd=where, env=os.environ | settings, start_new_session=not heeds_signals)
        self._child = child if heeds_signals else None
        if self._stopped and heeds_signals:
            child.terminate()
        status = child.wait()
        self._child = None
        return status

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Passes a signal on to training, which saves and leaves."""
        self._stopped = True
        if self._child is not None:
            self._child.terminate()

    def _said(self, text: str, status: int = 0) -> int:
        print(f"[{time.monotonic() - self._begun:5.0f} s] {text}", flush=True)
        return status


def _steps_in(seconds: float, each: float) -> int:
    """How many steps there is time for, with what is left to validate in."""
    return int((0.9 * seconds - VALIDATION_SECONDS) / each)


def _platforms() -> str:
    """What training is to see: a GPU, and a CPU for what is not for it."""
    return os.environ.get("JAX_PLATFORMS") or "cuda,cpu"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bundle that this file is the program of."""
    options = parser().parse_args(arguments)
    try:
        options.work.mkdir(parents=True, exist_ok=True)
        return Runner(options, Path(__file__).absolute().parent).run()
    except RunnerStoppedError as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 128 + signal.SIGTERM
    except (RunnerError, OSError, zipfile.BadZipFile) as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
