"""``btbnet bundle``: a training run in one file, for a machine that is there for some minutes and has no network."""

import argparse
from pathlib import Path
from typing import Any

from btbnet_jax.bundle import dry_run, hand_out, join, pack
from btbnet_jax.bundle.packing import RECIPE
from btbnet_jax.storage import STORAGES

_DESCRIPTION = """\
Packs the recipe of btbnet-3s, the paper's network with shared streams, into one file that trains it elsewhere: on a
machine with a GPU and without network that is there for some minutes. docs/btbnet_3s.md says more.

examples:
  btbnet bundle pack bundle/btbnet-3s.pyz --wheels bundle/wheels     # as make bundle does
  python3 btbnet-3s.pyz --seconds 570 --output out               # there; the same again goes on
  btbnet bundle join out btbnet-3s.safetensors
  btbnet bundle pack bundle/more.pyz --stages shi --weights btbnet-3s.safetensors --wheels bundle/wheels
  btbnet bundle dry-run --wheels bundle/wheels                   # all of it on the CPU at hand, a few steps
"""


def add_command(commands: Any) -> None:
    """Adds ``bundle`` to the subcommands of an argument parser."""
    kind = argparse.RawDescriptionHelpFormatter
    summary = "a training run in one file, for a machine without network"
    parser = commands.add_parser("bundle", help=summary, description=_DESCRIPTION, formatter_class=kind)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    packs = actions.add_parser("pack", help="make the file")
    packs.add_argument("file", type=Path, help="what to write, such as bundle/btbnet-3s.pyz")
    packs.add_argument("--stages", nargs="+", choices=RECIPE, default=list(RECIPE), help="to train (default: all)")
    packs.set_defaults(run=_pack)

    tries = actions.add_parser("dry-run", help="pack, train some steps on the CPU, hand out, join, map")
    tries.add_argument("--folder", type=Path, default=Path("runs/dry_run"), help="new folder to work in")
    tries.add_argument("--quick", action="store_true", help="a narrow network alone, not the full one")
    tries.set_defaults(run=_dry_run)

    for action in (packs, tries):
        action.add_argument("--data-dir", type=Path, default=Path("data"), help="of built data sets (default: data)")
        action.add_argument("--wheels", type=Path, help="folder of packages that are missing there")
        action.add_argument("--weights", type=Path, help="weights file that the first stage starts from")
        action.add_argument("--project", type=Path, default=Path.cwd(), help="folder of this repository (default: .)")

    hands = actions.add_parser("hand-out", help="what a run has learned, in pieces")
    hands.add_argument("source", type=Path, help="run folder, checkpoint folder or weights file")
    hands.add_argument("folder", type=Path, help="for the pieces")
    hands.add_argument("--storage", choices=STORAGES, default="float16", help="of kernels (default: float16)")
    hands.set_defaults(run=_hand_out)

    joins = actions.add_parser("join", help="a weights file of its pieces")
    joins.add_argument("folder", type=Path, help="of the pieces")
    joins.add_argument("file", type=Path, help="what to write, ends in .safetensors")
    joins.add_argument("--licence", default="", help="of the weights, written into the file")
    joins.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    joins.set_defaults(run=_join)


def _pack(options: argparse.Namespace) -> None:
    given = {"stages": options.stages, "weights": options.weights, "wheels": options.wheels}
    print(pack(options.file, project=options.project, data_dir=options.data_dir, **given))


def _dry_run(options: argparse.Namespace) -> None:
    given = {"wheels": options.wheels, "weights": options.weights, "full": not options.quick}
    dry_run(options.folder, project=options.project, data_dir=options.data_dir, **given)


def _hand_out(options: argparse.Namespace) -> None:
    print(hand_out(options.source, options.folder, storage=options.storage))


def _join(options: argparse.Namespace) -> None:
    weights = join(options.folder, options.file, licence=options.licence, overwrite=options.overwrite)
    size = options.file.stat().st_size
    print(f"{options.file}: {size:,} bytes, whole, {weights.storage}, sha256 of its parameters {weights.digest}")
