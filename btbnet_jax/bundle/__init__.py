"""A training run in one file, for a machine with a GPU and without network that is there for some minutes.

`packing` makes the file, which holds the code, the photographs, and what else the machine lacks; `runner` is the
program in it; `pieces` brings back what was learned; `dry_run` tries all of it on the machine at hand.
"""

from btbnet_jax.bundle.dry_run import dry_run
from btbnet_jax.bundle.limits import BundleError
from btbnet_jax.bundle.packing import pack
from btbnet_jax.bundle.pieces import hand_out, join

__all__ = ["BundleError", "dry_run", "hand_out", "join", "pack"]
