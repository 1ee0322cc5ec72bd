"""Tries a bundle on the machine at hand: its limits, its runner, the way home, and a few steps of the full network."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from btbnet_jax.bundle import limits
from btbnet_jax.bundle.limits import BundleError
from btbnet_jax.bundle.packing import pack
from btbnet_jax.bundle.pieces import INDEX, join
from btbnet_jax.detect import Detector
from btbnet_jax.sources import generated, simulated
from btbnet_jax.weights import Weights

_SMALL = (
    "--width=0.03125 --size=64 --batch_size=2 --threads=2 --steps=8 --warmup_steps=2 "
    "--log_every=1 --save_every=1 --evaluate_every=100"
)
_FULL = (
    "--dtype=float32 --remat --batch_size=1 --accumulate=1 --threads=2 --steps=2 --warmup_steps=1 --log_every=1 "
    "--validation=none"
)
_RE_WARMED = "the optimiser begins anew, re-warmed: its rate rises from 0 over"
_SECONDS = 36_000  # more than all of it takes: how training ends by its time is tested by itself


def dry_run(
    folder: Path,
    *,
    project: Path,
    data_dir: Path,
    wheels: Path | None = None,
    weights: Path | None = None,
    full: bool = True,
) -> None:
    """Packs, trains, hands out, joins and maps, and prints what it finds.

    The wheels are weighed and not installed: they may be for another Python than the one at hand.

    Args:
      folder: to work in, which is not there yet.
      project: folder of this repository.
      data_dir: folder of the built data sets.
      wheels: as of `pack`.
      weights: likewise; the narrow network does not start from them.
      full: train the network of the recipe too, two steps of a stage, beside a narrow one.

    Raises:
      BundleError: something is not as it should be.
    """
    if folder.exists():
        raise BundleError(f"{folder} is there already: delete it, or name another one (--folder)")
    bundle = folder / "btbnet-3s.pyz"
    print(pack(bundle, project=project, data_dir=data_dir, wheels=wheels, weights=weights), flush=True)
    narrow = folder / "narrow.pyz" if weights else bundle
    if weights:
        pack(narrow, project=project, data_dir=data_dir)
    small = [f"--both={_SMALL}", "--storage=float32"]
    whole = _trained(narrow, folder / "whole", small)
    interrupted = _trained(narrow, folder / "interrupted", small, stop_after="step 3:")
    _say(
        whole.digest == interrupted.digest, "a run that was stopped and went on ends with the bits of one that was not"
    )

    again = folder / "again.pyz"
    pack(again, project=project, data_dir=data_dir, stages=["shi"], weights=folder / "whole.safetensors")
    log = _called(again, folder / "again", small)
    _say(_RE_WARMED in log, "a restart from handed-out parameters re-warms the optimiser and says so in its log")
    if full:
        started = time.monotonic()
        _trained(bundle, folder / "full", [f"--both={_FULL}"])
        print(f"two steps of both stages at full size, compilation included: {time.monotonic() - started:.0f} s")
        _map(folder / "full.safetensors")


def _trained(bundle: Path, name: Path, options: Sequence[str], *, stop_after: str = "") -> Weights:
    """What a bundle learns, after it was handed out and joined; with its second call where one is stopped."""
    if stop_after:
        _called(bundle, name, options, stop_after=stop_after)
    _called(bundle, name, options)
    out = name / "out"
    pieces = sorted(path.stat().st_size for path in out.iterdir() if path.name != INDEX)
    fits = len(pieces) <= limits.MOST_PIECES and pieces[-1] <= limits.LARGEST_PIECE
    _say(fits, f"handed out {len(pieces)} pieces, the largest of {pieces[-1]:,} bytes")
    return join(out, name.with_suffix(".safetensors"))


def _called(bundle: Path, name: Path, options: Sequence[str], *, stop_after: str = "") -> str:
    """What a call of a bundle prints; it is stopped by SIGTERM after a line with some words."""
    where = ["--work", str(name / "work"), "--output", str(name / "out"), "--seconds", str(_SECONDS)]
    line = [sys.executable, str(bundle), *where, "--skip-wheels", *options]
    lines, status = [], 143 if stop_after else 0
    cpu, pipe = os.environ | {"JAX_PLATFORMS": "cpu"}, subprocess.PIPE
    with subprocess.Popen(line, env=cpu, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None  # by PIPE
        for text in process.stdout:
            print(f"  {text}", end="", flush=True)
            lines.append(text)
            if stop_after and stop_after in text:
                process.terminate()
                stop_after = ""
    if process.returncode != status:
        raise BundleError(f"{bundle} ended with status {process.returncode} instead of {status}, see above")
    return "".join(lines)


def _map(path: Path) -> None:
    """Maps a picture with a network, at the size that it was trained at."""
    picture = simulated.blurred_version(generated.scene("test", 0), 7)[0]
    started = time.monotonic()
    focus_map = Detector.load(str(path))(picture).focus_map
    good = focus_map.shape == picture.shape[:2] and bool(np.isfinite(focus_map).all())
    size, seconds = path.stat().st_size / limits.MB, time.monotonic() - started
    _say(
        good,
        f"{path.name}, {size:.2f} MB, maps a picture of {picture.shape[:2]} in {seconds:.0f} s, compilation included",
    )


def _say(good: bool, what: str) -> None:
    if not good:
        raise BundleError(f"the dry run finds that this does not hold: {what}")
    print(f"ok: {what}", flush=True)
