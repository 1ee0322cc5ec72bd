"""Methods without learning, to compare a network with.

Each is a jit-compiled function from images in 0..1, and where their arrays hold image and not padding, to maps.
What the padding holds has no influence, and its map is 0.
"""

from btbnet_jax.baselines.hifst import hifst
from btbnet_jax.baselines.lbp import lbp
from btbnet_jax.baselines.simple import Baseline, all_blurred, all_in_focus, laplacian_variance
from btbnet_jax.baselines.svd import svd

BASELINES: tuple[Baseline, ...] = (all_blurred, all_in_focus, laplacian_variance)
"""What a method has to beat before anything else; computed in no time."""

CLASSICAL: tuple[Baseline, ...] = (lbp, svd, hifst)
"""Published methods; `hifst` takes seconds for an image."""

__all__ = [
    "BASELINES",
    "CLASSICAL",
    "Baseline",
    "all_blurred",
    "all_in_focus",
    "hifst",
    "laplacian_variance",
    "lbp",
    "svd",
]
