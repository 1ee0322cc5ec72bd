"""The data set `simulated`, in the folder that `tfds build datasets/simulated` expects."""

from btbnet_jax.builders import SimulatedBuilder


class Builder(SimulatedBuilder):
    """Registers the builder as `simulated`."""
