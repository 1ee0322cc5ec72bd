"""``btbnet weights``: looks into weights files, and makes them from runs."""

import argparse
from pathlib import Path
from typing import Any

import jax
import numpy as np

from btbnet_jax.detect import Detector
from btbnet_jax.initial import weights_of
from btbnet_jax.sources import generated, simulated
from btbnet_jax.weights import STORAGES, Weights, find_weights, load_weights, save_weights

_DESCRIPTION = """\
A weights file is all that `btbnet detect` needs: parameters, configuration, input normalisation, licence.

examples:
  btbnet weights convert runs/cpu_small_whole small.safetensors --licence CC-BY-4.0
  btbnet weights convert small.safetensors half.safetensors --storage float16
  btbnet weights inspect small.safetensors
  btbnet weights verify small.safetensors
"""
_NUM_SCENES = 4  # that the loss of accuracy is measured on


def add_command(commands: Any) -> None:
    """Adds ``weights`` to the subcommands of an argument parser."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(
        "weights", help="inspect, verify, convert", description=_DESCRIPTION, formatter_class=kind
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, run, text in (("inspect", _inspect, "print what a file holds"), ("verify", _verify, "check all of it")):
        action = actions.add_parser(name, help=text)
        action.add_argument("file", nargs="?", help="weights file or name (default: the first that is found)")
        action.set_defaults(run=run)
    convert = actions.add_parser("convert", help="make a weights file of a run, a checkpoint or another weights file")
    convert.add_argument("source", type=Path, help="run folder, checkpoint folder or weights file")
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
    lines = {
        "file": f"{path}, {path.stat().st_size:,} bytes",
        "parameters": f"{count:,}, stored as {weights.storage}",
        "sha256": weights.digest,
        "licence": weights.licence or "none is stated",
        **{name: value for name, value in weights.config.to_json().items() if name != "normalisation"},
        "normalisation": weights.config.normalisation.to_json(),
        "trained on": trained.get("data", "unknown"),
        "steps": weights.summary.get("step", "unknown"),
        "validation": weights.summary.get("validation", "unknown"),
    }
    for name, value in lines.items():
        print(f"{name}: {value}")


def _verify(options: argparse.Namespace) -> None:
    path = find_weights(options.file)
    print(f"{path}: whole, sha256 of its parameters {load_weights(path).digest}")


def _convert(options: argparse.Namespace) -> None:
    source = weights_of(options.source, licence=options.licence)
    save_weights(options.file, source._replace(storage=options.storage), overwrite=options.overwrite)
    stored = load_weights(options.file)
    print(f"{options.file}: {options.file.stat().st_size:,} bytes, sha256 of its parameters {stored.digest}")
    if options.storage != "float32":
        changes = [abs(one - other) for one, other in zip(_maps(source), _maps(stored), strict=True)]
        print(
            f"maps of {_NUM_SCENES} generated scenes changed by {np.mean(changes):.1e} in the mean, "
            f"{np.max(changes):.1e} at most"
        )


def _maps(weights: Weights) -> list[np.ndarray]:
    detector = Detector(weights.params, weights.config, resolution="native", batch_size=1)
    scenes = (simulated.blurred_version(generated.scene("test", index), 7)[0] for index in range(_NUM_SCENES))
    return [detector(image).focus_map for image in scenes]
