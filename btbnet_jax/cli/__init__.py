"""The command ``btbnet``, by another name ``python -m btbnet_jax``."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from btbnet_jax import __version__

COMMANDS = ("detect", "score", "data", "weights", "export", "bundle")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    0 is good, 1 for what the user can mend, 2 for wrong arguments, 130 for Ctrl-C.

    Args:
      arguments: without the name of the program; those of the process where None.
    """
    try:
        options = _options(sys.argv[1:] if arguments is None else arguments)
        return options.run(options) or 0
    except KeyboardInterrupt:
        print("btbnet: interrupted; the same command goes on, or begins again where it cannot", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"btbnet: {error}", file=sys.stderr)
        return 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    """What the arguments say; their mistakes end the program."""
    parser = argparse.ArgumentParser(prog="btbnet", description="BTBNet: which parts of a photograph are in focus.")
    parser.add_argument("--version", action="version", version=f"btbnet_jax {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    # What the others need, such as the libraries of data sets, would take seconds to import.
    for name in [arguments[0]] if arguments and arguments[0] in COMMANDS else COMMANDS:
        importlib.import_module(f"btbnet_jax.cli.{name}").add_command(commands)
    return parser.parse_args(arguments)
