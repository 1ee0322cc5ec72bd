"""Data sets as TFDS builds them, and how they are opened once built.

Every built set has the features ``image`` (a plain JPEG as it came, anything else as PNG), ``mask`` (grey PNG,
in focus = 255) and ``name``.  A set without ``mask`` holds clear images, for the reader to blur.  The files
are array_record, which needs no TensorFlow to write or to read.
"""

from btbnet_jax.builders.built import BuildError, BuiltSource, SplitError, check_built, find_built, open_source
from btbnet_jax.builders.pairs import DutBuilder, PairsBuilder, PairsConfig, ShiBuilder
from btbnet_jax.builders.simulated import SimulatedBuilder, SimulatedConfig
from btbnet_jax.builders.source import SourceBuilder, build
from btbnet_jax.sources.checks import SourceError

__all__ = [
    "BuildError",
    "BuiltSource",
    "DutBuilder",
    "PairsBuilder",
    "PairsConfig",
    "ShiBuilder",
    "SimulatedBuilder",
    "SimulatedConfig",
    "SourceBuilder",
    "SourceError",
    "SplitError",
    "build",
    "check_built",
    "find_built",
    "open_source",
]
