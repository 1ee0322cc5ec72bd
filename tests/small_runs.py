"""A network and a run that are as small as they can be and leave nothing out."""

from fractions import Fraction

from btbnet_jax.config import DataConfig, NetworkConfig, OptimiserConfig, TrainConfig

CONFIG = TrainConfig(
    network=NetworkConfig(scales=(Fraction(1, 2),), num_steps=2, width=1 / 32, precision="highest"),
    data=DataConfig(name="pairs/small", validation="2", size=16, orientations="right_angles", batch_size=2),
    optimiser=OptimiserConfig(learning_rate=1e-2, trunk_factor=0.5, schedule="constant", clip_norm=1.0, ema=0.15),
    steps=6,
)
"""Everything compiled for it is compiled once, in whatever test: no length of a run is part of its programs."""
