"""Per-pixel losses over valid pixels, and the joint loss of all maps."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from btbnet_jax.config import LossConfig
from btbnet_jax.network import Outputs
from btbnet_jax.types import Maps, Valid

_MARGIN = 0.01  # of the pixels of an image

Loss = Callable[[Maps, Maps, Valid], Float[Array, ""]]


class Shares(NamedTuple):
    """What part of a batch a loss is of; with their shares, the losses of all parts add up to that of the batch.

    Attributes:
      pixels: of the batch's valid pixels.
      images: of its images that have some.
    """

    pixels: Float[Array, ""] | float = 1.0
    images: Float[Array, ""] | float = 1.0


WHOLE = Shares()


def masked_mean(values: Maps, valid: Valid) -> Float[Array, ""]:
    """Returns the mean of `values` over the valid pixels of the whole batch; 0 where there are none.

    On several devices the batch is the global one: sums are divided once, by the global count.
    """
    return jnp.sum(jnp.where(valid, values, 0)) / jnp.maximum(1, jnp.sum(valid))


def cross_entropy(logits: Maps, masks: Maps, valid: Valid) -> Float[Array, ""]:
    """Returns the mean cross entropy per pixel, in nats.

    Args:
      logits: of the map.
      masks: the truth, 0..1; grey edges are fractions in focus.
      valid: the pixels that count.

    Source: section 3.3 of the paper names a pixel-wise loss.  Assumption: this one, and the mean over pixels.
    """
    return masked_mean(optax.sigmoid_binary_cross_entropy(logits, masks), valid)


def mean_squared_error(logits: Maps, masks: Maps, valid: Valid) -> Float[Array, ""]:
    """Returns the mean squared difference of map and mask; arguments as of `cross_entropy`.

    Source: the authors' later work (Zhao et al., TPAMI 2020).
    """
    return masked_mean(jnp.square(jax.nn.sigmoid(logits) - masks), valid)


def overlap_loss(logits: Maps, masks: Maps, valid: Valid) -> Float[Array, ""]:
    """Returns 1 - the soft intersection over union of map and mask, 0..1, mean over the images that have pixels.

    Cross entropy is least for maps that hedge where the network is in doubt, and both MAE and the adaptive
    F-measure are worse for such maps; this loss rewards a decision.  Both areas are taken larger by a hundredth of the
    image, so that two empty maps agree and a pixel too much in a nearly empty one costs little.

    Source: Qin et al.: "BASNet: Boundary-Aware Salient Object Detection", CVPR 2019, equation 6.
    Deviation: averaged with the same of the blurred pixels, so that neither polarity is favoured.

    Args:
      logits: of the map.
      masks: the truth, 0..1.
      valid: the pixels that count.
    """
    focus = jax.nn.sigmoid(logits)
    pixels = jnp.sum(valid, axis=(1, 2, 3))

    def overlap(maps: Maps, masks: Maps) -> Float[Array, " b"]:
        both, either = (jnp.sum(jnp.where(valid, x, 0), axis=(1, 2, 3)) for x in (maps * masks, maps + masks))
        margin = _MARGIN * pixels
        return (both + margin) / jnp.maximum(either - both + margin, 1e-6)

    losses = 1 - (overlap(focus, masks) + overlap(1 - focus, 1 - masks)) / 2
    return jnp.sum(jnp.where(pixels > 0, losses, 0)) / jnp.maximum(1, jnp.sum(pixels > 0))


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "mean_squared_error": mean_squared_error}


def joint_loss(
    outputs: Outputs, masks: Maps, valid: Valid, *, config: LossConfig, shares: Shares = WHOLE
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Returns ``l(M_final, G) + Σ_n α_n l(M_n, G)``, and its terms by name before they are weighted.

    FNet's map, the recurrent steps before the last and the overlap of the final map enter with weights of
    their own, 0 in the paper.

    Args:
      outputs: logits of all maps.
      masks: the truth, 0..1.
      valid: the pixels that count.
      config: the per-pixel loss and the weights.
      shares: of the batch, where this is a part of one.

    Source: section 3.3 of the paper, the equation of the joint loss.
    """
    loss = LOSSES[config.kind]
    num_streams = len(outputs.streams)
    alphas = config.stream_weights * (num_streams if len(config.stream_weights) == 1 else 1)
    weighted = [("final", outputs.logits, 1.0)]
    weighted += [
        (f"stream{n}", logits, alpha) for n, (logits, alpha) in enumerate(zip(outputs.streams, alphas, strict=True), 1)
    ]
    if len(outputs.steps):
        weighted += [("fused", outputs.fused, config.fnet_weight)]
        weighted += [(f"step{t}", logits, config.step_weight) for t, logits in enumerate(outputs.steps[:-1], 1)]
    terms = {name: shares.pixels * loss(logits, masks, valid) for name, logits, _ in weighted}
    total = sum((weight * terms[name] for name, _, weight in weighted if weight), start=jnp.zeros(()))
    if config.overlap_weight:
        terms["overlap"] = shares.images * overlap_loss(outputs.logits, masks, valid)
        total += config.overlap_weight * terms["overlap"]
    return total, terms
