"""The data set `pairs`, in the folder that `tfds build datasets/pairs` expects."""

from btbnet_jax.builders import PairsBuilder


class Builder(PairsBuilder):
    """Registers the builder as `pairs`."""
