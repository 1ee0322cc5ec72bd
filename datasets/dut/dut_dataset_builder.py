"""The data set `dut`, in the folder that `tfds build datasets/dut` expects."""

from btbnet_jax.builders import DutBuilder


class Builder(DutBuilder):
    """Registers the builder as `dut`."""
