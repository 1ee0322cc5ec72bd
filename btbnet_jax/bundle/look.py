"""Looks whether a machine can train what a bundle holds, before anything takes its minutes.

``python -m btbnet_jax.bundle.look`` imports all packages, says what there is to train on, and takes gradients of small
convolutions of the network's kinds, in the types that are to be computed in: what a library of the machine refuses, it
refuses here.  Then a tiny network makes a step of the recipe's kind and is saved, by which versions of Optax, Flax and
Orbax that do not fit are found.
"""

import argparse
import importlib
import os
import shlex
import sys
import tempfile
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from btbnet_jax.checkpoints import Checkpoints
from btbnet_jax.config import NetworkConfig, OptimiserConfig, TrainConfig
from btbnet_jax.network import Convolution
from btbnet_jax.training import init_state, make_train_step
from btbnet_jax.types import Batch


def main() -> None:
    """Prints what was found.

    Raises:
      SystemExit: there is nothing to train on but a CPU, and nobody asked for that.
    """
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("stages", nargs="*", default=[""], help="flags of train.py for each stage, a text a stage")
    dtypes = {_dtype(shlex.split(flags)) for flags in reader.parse_args().stages}
    importlib.import_module("train")  # and all that it imports
    if jax.default_backend() == "cpu" and os.environ.get("JAX_PLATFORMS") != "cpu":
        sys.exit("JAX sees no GPU here: install it for this machine's, or set JAX_PLATFORMS=cpu to train on the CPU")
    print("the packages are there; to train on:", jax.devices())
    for dtype in sorted(dtypes):
        _take_gradients(jnp.dtype(dtype))
        _train_and_save(dtype)
    print(
        f"small convolutions have their gradients in {' and '.join(sorted(dtypes))}, and a network is trained and saved"
    )


def _dtype(flags: list[str]) -> str:
    """The type that a stage computes in: bfloat16 by its recipe, if its flags name no other."""
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    reader.add_argument("--dtype", default="bfloat16")
    return reader.parse_known_args(flags)[0].dtype


def _take_gradients(dtype: jnp.dtype) -> None:
    for num_inputs, num_outputs in ((3, 64), (64, 64), (64, 1)):
        layer, x = Convolution(num_outputs, dtype=dtype), jnp.ones((1, 32, 32, num_inputs))
        params = layer.init(jax.random.key(0), x)
        jax.block_until_ready(jax.jit(jax.grad(lambda *given, layer=layer: layer.apply(*given).sum()))(params, x))


def _train_and_save(dtype: Any) -> None:
    network = NetworkConfig(scales=(Fraction(1, 2),), num_steps=1, width=1 / 32, dtype=dtype)
    optimiser = OptimiserConfig(
        kind="muon", learning_rate=1e-3, warmup_steps=1, clip_norm=1.0, ema=0.9, keep_norms=True
    )
    config = TrainConfig(network=network, optimiser=optimiser, steps=2)
    images, masks = np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 32, 32, 1), np.uint8)
    batch = Batch(images, masks, np.full((1, 2), 32, np.int32), np.zeros(1, np.int32))
    state, _ = make_train_step(config)(init_state(config), batch)
    with tempfile.TemporaryDirectory() as folder, Checkpoints(folder) as checkpoints:
        checkpoints.save(1, {"params": state.params, "optimiser": state.optimiser}, {})


if __name__ == "__main__":
    main()
