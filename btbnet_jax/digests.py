"""What tells trees of arrays apart."""

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np


def digest(tree: Any) -> str:
    """Returns the sha256 of a tree: of the path, type, shape and values of every array.

    It does not tell a tuple from a dictionary, so that a tree restored without its structure has the same.
    """
    leaves = {_path(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    hasher = hashlib.sha256()
    for path, array in sorted(leaves.items()):
        hasher.update(f"{path} {array.dtype} {array.shape}\n".encode())
        hasher.update(array.tobytes())
    return hasher.hexdigest()


def _path(keys: Sequence[Any]) -> str:
    return jax.tree_util.keystr(tuple(keys), simple=True, separator="/")
