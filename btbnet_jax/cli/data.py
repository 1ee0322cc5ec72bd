"""``btbnet data``: builds the data sets that training and evaluation read."""

import argparse
import textwrap
from pathlib import Path
from typing import Any

from absl import logging

from btbnet_jax.builders import (
    DutBuilder,
    PairsBuilder,
    PairsConfig,
    ShiBuilder,
    SimulatedBuilder,
    SourceBuilder,
    build,
)
from btbnet_jax.sources import dut, pairs, photographs, shi, simulated

_DESCRIPTION = """\
Builds a data set for training and evaluation, once, from files that you have.

All files are checked before anything is written, and all that is wrong is said at once.  In every built
set the masks are white where the image is in focus, whatever they were before.
"""
_PUBLISHED = """\
{summary}.

{how_to_get}

example:
  btbnet data {name} --manual-dir downloads
"""
_SIMULATED = """\
Clear images of which one half is blurred: 20 versions of each, with exact masks.

The clear images are generated and need no download (--config generated, the default), or photographs:

{how_to_get}

examples:
  btbnet data simulated
  btbnet data simulated --config photographs_on_the_fly --manual-dir BSDS500
"""
_PAIRS = """\
Images and masks of your own.

{how_to_get}

Without a list of names all pairs become the split train; with one list, the rest is the other split.

example, after which the set is pairs/mine:
  btbnet data pairs --name mine --images photos --masks masks --focus white --test-names test.txt
"""


def add_command(commands: Any) -> None:
    """Adds ``data`` to the subcommands of an argument parser."""
    parser = _parser(commands, "data", "build a data set", _DESCRIPTION)
    sets = parser.add_subparsers(title="data sets", metavar="SET", required=True)

    for name, builder, summary, rules in (
        ("shi", ShiBuilder, "Shi's photographs: 604 to train on, 100 to test", shi),
        ("dut", DutBuilder, "DUT's photographs: 500 to test, optionally 600 to train on", dut),
    ):
        text = _PUBLISHED.format(summary=summary, how_to_get=_paragraph(rules.HOW_TO_GET), name=name)
        published = _parser(sets, name, summary, text)
        published.add_argument("--manual-dir", type=Path, required=True, help="folder with what you downloaded")
        published.set_defaults(run=_build_published, builder=builder)

    text = _SIMULATED.format(how_to_get=_paragraph(photographs.HOW_TO_GET))
    made = _parser(sets, "simulated", "clear images with one half blurred; needs no download", text)
    configs = {config.name: config.description for config in SimulatedBuilder.BUILDER_CONFIGS}
    help_on_configs = "; ".join(f"{name}: {str(text).removesuffix('.')}" for name, text in configs.items())
    made.add_argument("--config", choices=configs, metavar="CONFIG", default=next(iter(configs)), help=help_on_configs)
    made.add_argument("--manual-dir", type=Path, help="folder of clear photographs")
    made.set_defaults(run=_build_simulated)

    text = _PAIRS.format(how_to_get=_paragraph(pairs.HOW_TO_GET))
    own = _parser(sets, "pairs", "images and masks of your own", text)
    own.add_argument("--name", required=True, help="what to call the set: it is then pairs/NAME")
    own.add_argument("--images", type=Path, required=True, help="folder of images")
    own.add_argument("--masks", type=Path, required=True, help="folder of masks with the same names")
    own.add_argument("--focus", choices=("white", "black"), required=True, help="what means in focus in the masks")
    own.add_argument("--train-names", type=Path, help="text file with one name a line")
    own.add_argument("--test-names", type=Path, help="text file with one name a line")
    own.add_argument("--no-polarity-check", action="store_true", help="accept masks that are mostly in focus")
    own.set_defaults(run=_build_pairs)

    for parser in sets.choices.values():
        parser.add_argument("--data-dir", type=Path, default=Path("data"), help="where to build (default: data)")


def _parser(commands: Any, name: str, summary: str, text: str) -> argparse.ArgumentParser:
    kind = argparse.RawDescriptionHelpFormatter
    return commands.add_parser(name, help=summary, description=text, formatter_class=kind)


def _paragraph(text: str) -> str:
    return textwrap.fill(f"To do: {text}.", 100)


def _build_published(options: argparse.Namespace) -> None:
    _build(options.builder(data_dir=options.data_dir), options.manual_dir)


def _build_simulated(options: argparse.Namespace) -> None:
    builder = SimulatedBuilder(data_dir=options.data_dir, config=options.config)
    if options.manual_dir is None and builder.needs_photographs:
        raise ValueError(f"--config {options.config} needs --manual-dir: {photographs.HOW_TO_GET}")
    if options.manual_dir is not None and not builder.needs_photographs:
        raise ValueError(
            f"--manual-dir has no effect with --config {options.config}, whose clear images are generated: give "
            "another --config, such as photographs_on_the_fly"
        )
    _build(builder, options.manual_dir)


def _build_pairs(options: argparse.Namespace) -> None:
    config = PairsConfig(
        name=options.name,
        focus=options.focus,
        images=options.images,
        masks=options.masks,
        train_names=options.train_names,
        test_names=options.test_names,
        check_polarity=not options.no_polarity_check,
    )
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # TFDS warns of every configuration that is not its own
    builder = PairsBuilder(data_dir=options.data_dir, config=config)
    logging.set_verbosity(verbosity)
    _build(builder, None)


def _build(builder: SourceBuilder, manual_dir: Path | None) -> None:
    known = "built before, " if Path(builder.data_path).exists() else ""
    counts = build(builder, manual_dir=manual_dir)
    numbers = ", ".join(f"{count} in {split}" for split, count in counts.items())
    clear = "" if builder.has_masks() else f", each of which gives {simulated.VERSIONS} examples when read"
    print(f"{builder.info.full_name}: {known}{numbers}{clear}; in {builder.data_path}")
