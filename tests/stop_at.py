"""Runs a script that sends itself a signal: `python stop_at.py SIGKILL 5 train.py --run_dir=...`.

The signal comes after the figures of that step are written and before it is saved.
"""

import os
import runpy
import signal
import sys
from collections.abc import Mapping

from btbnet_jax.journal import Journal

kind, last, *sys.argv = sys.argv[1:]
write = Journal.write


def write_and_signal(self: Journal, name: str, step: int, values: Mapping[str, float]) -> None:
    write(self, name, step, values)
    if (name, step) == ("training", int(last)):
        os.kill(os.getpid(), signal.Signals[kind])


Journal.write = write_and_signal
runpy.run_path(sys.argv[0], run_name="__main__")
