"""``btbnet export``: a network as a file that programs run without this package."""

import argparse
from pathlib import Path
from typing import Any

from btbnet_jax.export import DEFAULT_PLATFORMS, PLACEMENTS, PLATFORMS, save_export
from btbnet_jax.weights import find_weights, load_weights
from btbnet_jax.writing import output_folder

_DESCRIPTION = """\
Writes a network as StableHLO, by jax.export: a file that a program with JAX runs without this package, on images
of any number and size.

It takes uint8 RGB images [b, h, w, 3] and returns float32 maps [b, h, w], 0..1, 1 = in focus. Beside NAME.jax
there is NAME.json, with configuration, licence, sha256 and how it is called; and with --params beside,
NAME.safetensors.
docs/export.md has programs that run it, what it is limited to, and the way to ONNX.

examples:
  btbnet export small.jax                            one file with everything; the first weights that are found
  btbnet export apart.jax --weights mine.safetensors --params beside
                                                     parameters apart, which can be exchanged
  btbnet export small.jax --platforms cpu,rocm       for other machines than this one

in a program that has jax and flatbuffers:
  network = jax.export.deserialize(bytearray(pathlib.Path("small.jax").read_bytes()))
  maps = network.call(images)
"""


def add_command(commands: Any) -> None:
    """Adds ``export`` to the subcommands of an argument parser."""
    parser = commands.add_parser(
        "export",
        help="write a network for programs without this package",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output", type=Path, help="what to write, ends in .jax")
    parser.add_argument("--weights", help="weights file or name of a network (default: the first that is found)")
    parser.add_argument("--params", choices=PLACEMENTS, default="inside", help="where they go (default: inside)")
    parser.add_argument(
        "--platforms",
        type=lambda text: text.split(","),
        default=list(DEFAULT_PLATFORMS),
        help=f"that it can run on, of {','.join(PLATFORMS)} (default: {','.join(DEFAULT_PLATFORMS)})",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    source = find_weights(options.weights)
    weights = load_weights(source)
    if options.params == "beside" and options.output.with_suffix(".safetensors").resolve() == source.resolve():
        raise ValueError(
            f"{source} would be replaced by the same parameters in float32: give the exported network another name"
        )
    how = {"params": options.params, "platforms": options.platforms, "overwrite": options.overwrite}
    with output_folder(options.output.parent):
        paths = save_export(options.output, weights, **how)
    for path in paths:
        print(f"{path}: {path.stat().st_size:,} bytes")
    print(f"runs on {', '.join(options.platforms)}; {paths[1]} says how it is called")
