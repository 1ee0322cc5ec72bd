"""Layers that fell silent in training: closed ReLUs keep every gradient from them, and all they do from the map."""

import jax
import numpy as np
import optax

_FADED = 1e-8  # of the largest; layers that learn are above 1e-4 of it


def silent_in_words(optimiser: optax.OptState) -> str:
    """Returns what a training log should say of `silent_layers`, or nothing where there are none."""
    if not (silent := silent_layers(optimiser)):
        return ""
    return (
        f"layers without a gradient for long, as closed ReLUs keep it from them, {len(silent)} of them: "
        f"{', '.join(silent)}; a lower learning rate may prevent it, and --keep_norms with --optimiser=muon"
    )


def silent_layers(optimiser: optax.OptState) -> list[str]:
    """Returns the names of the layers that have had no gradient for long, as in "stream2/trunk/conv4_1".

    Read from the running mean of the gradients that AdamW, Muon and SGD with momentum keep, which fades without them: a
    layer is found after 180 steps at a momentum of 0.9, after 360 at 0.95; without momentum by the last gradient alone.
    SGD's mean has the weight decay in it, so with that nothing is found.

    Args:
      optimiser: state of an optimiser of `make_optimiser`.
    """
    means = {}
    for kind in ("mu", "trace"):
        for _, tree in optax.tree.get_all_with_path(optimiser, kind):
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
                *layer, name = (str(key.key) for key in path)
                if name == "kernel":
                    means["/".join(layer)] = np.max(np.abs(np.asarray(leaf)))
    least = _FADED * max(means.values(), default=0.0)
    return sorted(layer for layer, mean in means.items() if mean <= least)
