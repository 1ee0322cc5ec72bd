"""Several processes that train one network together, on one machine or on many.

Every process runs the same program, reads its own share of each batch, and computes on its own devices; the arrays of
`training` are spread over the devices of all.  What is done once for the run, its files and its words, is done by the
first process.  Source: https://docs.jax.dev/en/latest/multi_process.html
"""

import atexit
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

HEARTBEAT_SECONDS = 30
"""After so long without a word from one process, the others end."""

_SHUTDOWN_SECONDS = 10


@contextmanager
def together(
    coordinator: str,
    num_processes: int | None = None,
    process: int | None = None,
    *,
    ends_of_all: type[Exception] | tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Makes this process one of several for the work within, which is all that it does: JAX was not used before.

    A process that ends ends the others: at once where they wait for it on CPUs, within `HEARTBEAT_SECONDS` elsewhere.
    Each says so on the standard error, also where it is killed or aborts, as collectives may that have lost a process.

    Args:
      coordinator: host and port that the first process listens at, as the others reach it: "node0:1234".  "auto" where
        the cluster tells: Slurm, Open MPI, Kubernetes, Cloud TPU.  "" for a process by itself.
      num_processes: of the run; only with a host and port.
      process: number of this one, from 0 on; likewise.
      ends_of_all: exceptions that all processes raise after the same step.  After any other this process waits for
        nobody at its exit.

    Raises:
      ValueError: settings that do not fit together.
      RuntimeError: the processes did not find each other.
    """
    numbers = (num_processes, process)
    if coordinator in ("", "auto"):
        if numbers != (None, None):
            raise ValueError("numbers of processes go with a coordinator: give its host and port, such as node0:1234")
    elif num_processes is None or process not in range(num_processes) or re.fullmatch(r".+:\d+", coordinator) is None:
        raise ValueError(
            "a coordinator is HOST:PORT, with the number of processes and this one's, from 0 on; "
            f"not {coordinator!r}, {num_processes} and {process}"
        )
    if not coordinator:
        yield
        return
    try:
        jax.distributed.initialize(
            None if coordinator == "auto" else coordinator,
            num_processes,
            process,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except ValueError as error:  # what JAX needs to know and nobody said
        raise ValueError(f"no cluster was found that tells of its processes ({error}): give host:port") from error
    last_words = (
        f"process {jax.process_index()} of {jax.process_count()} ends, and with it all others; the first that ended "
        "says why. Start all of them again to go on from the last checkpoint."
    )
    with _said_if_killed(last_words):
        try:
            yield
        except ends_of_all:
            raise
        except BaseException:
            atexit.register(_leave)  # runs before JAX's own, which waits for the others
            print(last_words, file=sys.stderr)
            raise
        jax.distributed.shutdown()


def is_first() -> bool:
    """Returns whether this process does what is done once for all."""
    return jax.process_index() == 0


def meet(where: str) -> None:
    """Returns when all processes have come to the same place, which has a name of its own."""
    multihost_utils.sync_global_devices(where)


def gathered(array: jax.Array | np.ndarray) -> np.ndarray:
    """Returns the arrays of all processes, one after the other along their first axis, on the host of each."""
    return np.asarray(array if jax.process_count() == 1 else multihost_utils.process_allgather(array, tiled=True))


class Ballot:
    """Asks at every step whether any process wishes to stop, and why; all of them hear the same.

    Args:
      mesh: of the devices of all processes, in one axis.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        self._share = mesh.size // jax.process_count()
        self._largest = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))
        self._before: jax.Array | int = 0

    def __call__(self, wish: int) -> int:
        """Returns the wish of the only process, or the largest of several a step ago: no step waits for it.

        Args:
          wish: number of the signal that this process was sent, 0 for none.
        """
        if jax.process_count() == 1:
            return wish
        votes = jax.make_array_from_process_local_data(self._sharding, np.full(self._share, wish, np.int32))
        before, self._before = self._before, self._largest(votes)
        return int(before)


@contextmanager
def _said_if_killed(words: str) -> Iterator[None]:
    """Has the words printed if this process dies within without a chance to: by a signal, or of an abort in C++.

    A shell waits for a line from this process and speaks where the end of the pipe comes instead.
    """
    command = ["/bin/sh", "-c", 'read -r _ || echo "$0" >&2', words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True) as waiting:
        try:
            yield
        finally:
            waiting.communicate("\n")


def _leave() -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
