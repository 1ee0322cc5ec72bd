"""The data set `shi`, in the folder that `tfds build datasets/shi` expects."""

from btbnet_jax.builders import ShiBuilder


class Builder(ShiBuilder):
    """Registers the builder as `shi`."""
