"""What makes an image hard, measured from the image and its mask, and how methods fare with it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from btbnet_jax.baselines.windows import extended, grey
from btbnet_jax.data import Examples, ordered_batches
from btbnet_jax.histograms import LevelCounts
from btbnet_jax.metrics import Protocol
from btbnet_jax.resize import valid_pixels
from btbnet_jax.types import Images, Maps, Valid


class Difficulty(NamedTuple):
    """Of each image; gradients are means of the magnitude of the luma's central differences, luma in 0..1.

    Attributes:
      focus_share: fraction of the image that is in focus.
      focus_gradient: within what is in focus: little where that is homogeneous or of low contrast.
      blur_gradient: within what is not: much where there is clutter.
    """

    focus_share: Float[ndarray, " i"]
    focus_gradient: Float[ndarray, " i"]
    blur_gradient: Float[ndarray, " i"]


def difficulty(examples: Examples, *, size: int, batch_size: int = 1, threads: int = 2) -> Difficulty:
    """Returns the measures of all examples.

    Args:
      examples: to measure.
      size: height and width that images are resized to, 0 for their own.
      batch_size: images at a time; 1 where they keep their own sizes.
      threads: that read and decode.
    """
    parts = []
    for batch in ordered_batches(examples, size=size, batch_size=batch_size, threads=threads):
        valid = valid_pixels(batch.image.shape[1:3], jnp.asarray(batch.size))
        measures = np.asarray(_measures(jnp.asarray(batch.image) / 255, jnp.asarray(batch.mask) / 255, valid))
        parts.append(measures[batch.example >= 0])
    return Difficulty(*np.concatenate(parts).astype(np.float64).T)


@jax.jit
def _measures(images: Images, masks: Maps, valid: Valid) -> Float[Array, "b 3"]:
    around = extended(grey(images), valid, 1, "nearest")
    down, right = around[:, 2:, 1:-1] - around[:, :-2, 1:-1], around[:, 1:-1, 2:] - around[:, 1:-1, :-2]
    gradient = jnp.where(valid, jnp.hypot(down, right) / 2, 0)
    axes = (1, 2, 3)
    focus = jnp.where(valid, masks, 0)
    blur = jnp.where(valid, 1 - masks, 0)
    share = focus.sum(axes) / jnp.maximum(valid.sum(axes), 1)
    inside, outside = ((gradient * part).sum(axes) / jnp.maximum(part.sum(axes), 1) for part in (focus, blur))
    return jnp.stack([share, inside, outside], axis=1)


def breakdown(
    measures: Difficulty, counts: Mapping[str, LevelCounts], protocols: Sequence[Protocol]
) -> list[dict[str, str | float]]:
    """Returns the figures of each method for the lowest, the middle and the highest third of each measure.

    Args:
      measures: of the images.
      counts: by method, in the same order of the images.
      protocols: of `metrics`.

    Raises:
      ValueError: fewer than three images.
    """
    if len(measures.focus_share) < 3:
        raise ValueError(f"thirds need three images or more, not {len(measures.focus_share)}")
    numbers = {name: {protocol: protocol.of_images(one) for protocol in protocols} for name, one in counts.items()}
    rows: list[dict[str, str | float]] = []
    for measure, values in measures._asdict().items():
        for third, chosen in zip(
            ("low", "middle", "high"), np.array_split(np.argsort(values, kind="stable"), 3), strict=True
        ):
            bounds = f"{values[chosen].min():.3f} to {values[chosen].max():.3f}"
            for name, own in numbers.items():
                figures = {protocol.__name__: protocol.figure(some[chosen]) for protocol, some in own.items()}
                rows.append({"measure": measure, "third": third, "values": bounds, "method": name, **figures})
    return rows
