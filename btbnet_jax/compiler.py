"""What XLA has to be told for this network."""

import jax


def compiler_options() -> dict[str, str]:
    """Returns options for `jax.jit` and for the `compile` of what it has lowered.

    On a CPU, XLA removes the barriers of `jax.lax.optimization_barrier` before it looks for what could be computed
    only once, or again where it is needed.  So it undoes `jax.checkpoint`, and makes the transforms of Winograd's
    convolutions several times.  Without that pass the barriers stay.
    """
    return {"xla_disable_hlo_passes": "cse_barrier_expander"} if jax.default_backend() == "cpu" else {}
