"""Looks whether a machine can train what a bundle holds, before anything takes its minutes.

``python -m btbnet_jax.bundle.look`` imports all packages, says what there is to train on, and takes gradients of small
convolutions of the network's kinds, in the type that is to be computed in (``--dtype``): what a library of the machine
refuses, it refuses here.
"""

import argparse
import importlib
import os
import sys

import jax
import jax.numpy as jnp

from btbnet_jax.network import Convolution


def main() -> None:
    """Prints what was found.

    Raises:
      SystemExit: there is nothing to train on but a CPU, and nobody asked for that.
    """
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--dtype", default="bfloat16", help="as of train.py (bfloat16, as the recipe has it)")
    dtype = jnp.dtype(reader.parse_args().dtype)
    importlib.import_module("train")  # and all that it imports
    if jax.default_backend() == "cpu" and os.environ.get("JAX_PLATFORMS") != "cpu":
        sys.exit("JAX sees no GPU here: install it for this machine's, or set JAX_PLATFORMS=cpu to train on the CPU")
    print("the packages are there; to train on:", jax.devices())
    for num_inputs, num_outputs in ((3, 64), (64, 64), (64, 1)):
        layer, x = Convolution(num_outputs, dtype=dtype), jnp.ones((1, 32, 32, num_inputs))
        params = layer.init(jax.random.key(0), x)
        jax.block_until_ready(jax.jit(jax.grad(lambda *given, layer=layer: layer.apply(*given).sum()))(params, x))
    print("small convolutions have their gradients")


if __name__ == "__main__":
    main()
