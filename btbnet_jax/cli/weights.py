"""``btbnet weights``: looks into weights files, and makes them from runs."""

import argparse
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from btbnet_jax.detect import Detector
from btbnet_jax.initial import weights_of
from btbnet_jax.sources import generated, simulated
from btbnet_jax.storage import STORAGES
from btbnet_jax.weights import Weights, check_new, find_weights, load_weights, save_weights
from btbnet_jax.writing import output_folder

_DESCRIPTION = """\
A weights file is all that `btbnet detect` needs: parameters, configuration, input normalisation, licence.

examples:
  btbnet weights convert runs/cpu_small small.safetensors --licence CC-BY-4.0
  btbnet weights convert small.safetensors half.safetensors --storage float16
  btbnet weights inspect small.safetensors
  btbnet weights verify small.safetensors
"""
_INSPECT = """\
Prints what a weights file holds, after all of it was checked.

examples:
  btbnet weights inspect                          the file that btbnet detect takes, and where it is
  btbnet weights inspect small.safetensors
"""
_VERIFY = """\
Checks all of a weights file: its sha256, its configuration, and the name, shape and value of every parameter.
The exit status is 1 where anything is wrong.

example:
  btbnet weights verify small.safetensors
"""
_CONVERT = """\
Makes a weights file of a run (of its best checkpoint), of one checkpoint, or of another weights file.

Half precision halves the file, and 8 bits quarter it. What that costs is measured, printed and kept in the file:
by how much parameters change, and by how much the maps, 0..1, of a few generated scenes.

examples:
  btbnet weights convert runs/cpu_small small.safetensors --licence CC-BY-4.0
  btbnet weights convert runs/cpu_small/checkpoints/1100 small.safetensors
  btbnet weights convert small.safetensors tiny.safetensors --storage int8
"""
_NUM_SCENES, _SCENE = (
    4,
    128,
)  # that the loss of accuracy is measured on, and their side: seconds for the paper's network
_LOSS = "storage_loss"  # in the summary


def add_command(commands: Any) -> None:
    """Adds ``weights`` to the subcommands of an argument parser."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(
        "weights", help="inspect, verify, convert", description=_DESCRIPTION, formatter_class=kind
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, run, summary, text in (
        ("inspect", _inspect, "print what a file holds", _INSPECT),
        ("verify", _verify, "check all of it", _VERIFY),
    ):
        action = actions.add_parser(name, help=summary, description=text, formatter_class=kind)
        action.add_argument("file", nargs="?", help="weights file or name (default: the first that is found)")
        action.set_defaults(run=run)
    summary = "make a weights file of a run, a checkpoint or another weights file"
    convert = actions.add_parser("convert", help=summary, description=_CONVERT, formatter_class=kind)
    convert.add_argument("source", help="run folder, checkpoint folder, weights file or name of weights")
    convert.add_argument("file", type=Path, help="what to write, ends in .safetensors")
    convert.add_argument("--storage", choices=STORAGES, default="float32", help="of kernels (default: float32)")
    convert.add_argument(
        "--licence", default="", help="of the weights, such as CC-BY-4.0; they need one to be passed on"
    )
    convert.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    convert.set_defaults(run=_convert)


def _inspect(options: argparse.Namespace) -> None:
    path = find_weights(options.file)
    weights = load_weights(path)
    count = sum(np.size(leaf) for leaf in jax.tree.leaves(weights.params))
    trained = weights.summary.get("config", {})
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    lines = {
        "file": f"{path}, {path.stat().st_size:,} bytes",
        "parameters": f"{count:,}, stored as {weights.storage}",
        "sha256 of the file": sha256,
        "sha256 of the parameters": weights.digest,
        "licence": weights.licence or "none is stated",
        **{name: value for name, value in weights.config.to_json().items() if name != "normalisation"},
        "normalisation": weights.config.normalisation.to_json(),
        "trained on": trained.get("data", "unknown"),
        "started from": trained.get("init_from") or "nothing",
        "steps": weights.summary.get("step", "unknown"),
        "validation": weights.summary.get("validation", "unknown"),
        "lost by storing": weights.summary.get(_LOSS, "nothing"),
    }
    for name, value in lines.items():
        print(f"{name}: {_printable(str(value))}")


def _printable(text: str) -> str:
    """The text without what would steer a terminal: it may come from anybody's file."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _verify(options: argparse.Namespace) -> None:
    path = find_weights(options.file)
    print(f"{path}: whole, sha256 of its parameters {load_weights(path).digest}")


def _convert(options: argparse.Namespace) -> None:
    path = options.file
    check_new(path, overwrite=options.overwrite)
    with output_folder(path.parent):
        _write(options, path)


def _write(options: argparse.Namespace, path: Path) -> None:
    weights = weights_of(options.source, licence=options.licence)._replace(storage=options.storage)
    stored = _as_stored(weights, path.name)
    lines = [f"sha256 of its parameters {stored.digest}"]
    if stored.digest != weights.digest:
        changes = {
            "parameters": _change(jax.tree.leaves(weights.params), jax.tree.leaves(stored.params)),
            f"maps of {_NUM_SCENES} generated scenes": _change(_maps(weights), _maps(stored)),
        }
        weights = weights._replace(summary=weights.summary | {_LOSS: changes})
        lines += [
            f"{name} changed by {of['mean']:.1e} in the mean, {of['most']:.1e} at most" for name, of in changes.items()
        ]
    save_weights(path, weights, overwrite=options.overwrite)
    print("\n".join([f"{path}: {path.stat().st_size:,} bytes, {lines[0]}", *lines[1:]]))


def _as_stored(weights: Weights, name: str) -> Weights:
    """The weights after they were written and read, as `name` in a folder for the moment."""
    with tempfile.TemporaryDirectory() as folder:
        save_weights(Path(folder) / name, weights)
        return load_weights(Path(folder) / name)


def _change(before: Sequence[Any], after: Sequence[Any]) -> dict[str, float]:
    """By how much arrays differ."""
    changes = np.concatenate([np.abs(np.subtract(*pair)).ravel() for pair in zip(before, after, strict=True)])
    return {"mean": float(changes.mean()), "most": float(changes.max())}


def _maps(weights: Weights) -> list[np.ndarray]:
    detector = Detector(weights.params, weights.config, resolution="native", batch_size=1)
    scenes = [generated.scene("test", index, height=_SCENE, width=_SCENE) for index in range(_NUM_SCENES)]
    return [detector(simulated.blurred_version(scene, 7)[0]).focus_map for scene in scenes]
