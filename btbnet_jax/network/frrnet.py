"""FNet, which fuses the streams' maps, and RRNet, which refines the fused map step by step."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from btbnet_jax.network.convolution import Convolution, zero_outside
from btbnet_jax.types import Features, Images, Maps, Valid

CHANNELS = (64, 128, 64, 1)

_SLOPE = 6.0  # above 4, at which a map would fade to grey when it goes round: sigmoid(4 (m - 1/2)) is flatter than m
_REST = 0.01  # of what the other channels put into the first maps


class FNet(nn.Module):
    """Four 3x3 convolutions, to 64, 128, 64 and 1 channels, with ReLU between, over an image and its maps.

    Source: section 3.2 of the paper, equation of M_f.
    Assumption: the image beside the maps is RGB in 0..1, the range of the maps, whatever normalisation the
    streams' trunk wants.

    Attributes:
      channels: number of channels to use where the paper has the given number.
      convolution: makes a convolution of so many features.
    """

    channels: Callable[[int], int] = int
    convolution: Callable[..., nn.Module] = Convolution

    @nn.compact
    def __call__(self, maps: Features, images: Images, valid: Valid | None = None) -> Maps:
        """Returns the logits of one map.

        Args:
          maps: the maps to fuse, one a channel.
          images: RGB, 0..1; zero outside `valid`, as the maps are.
          valid: where the arrays hold images, None where they are filled by them.
        """
        x = jnp.concatenate([maps, images], axis=-1)
        for layer, width in enumerate(CHANNELS, start=1):
            features = width if width == 1 else self.channels(width)
            x = self.convolution(features, relu=width > 1, name=f"conv{layer}")(x, valid)
        return x.astype(jnp.float32)


def passing_on(params: dict[str, Any], num_maps: int) -> dict[str, Any]:
    """Returns FNet's parameters changed so that its map is nearly the mean of those that go in.

    One channel of every layer hands that mean on, and the last layer makes 6 (mean - 1/2) of it, with a hundredth of
    what it had of the other channels.

    Assumption: the initial values, of which the paper says nothing.  Without a trained start the four layers
    first have to find out that maps go in at all: on Shi's photographs the map of a stream had learned for a
    hundred steps when FNet's was still grey, and no gradient reached the streams through it.

    Args:
      params: fresh ones, of `FNet`.
      num_maps: how many maps it fuses, 1 in `RRNet`.
    """
    first, *middle, last = (params[f"conv{layer}"]["kernel"] for layer in range(1, len(CHANNELS) + 1))
    kernels = [first.at[..., 0].set(0).at[1, 1, :num_maps, 0].set(1 / num_maps)]
    kernels += [kernel.at[..., 0].set(0).at[1, 1, 0, 0].set(1) for kernel in middle]
    kernels += [(_REST * last).at[:, :, 0].set(0).at[1, 1, 0].set(_SLOPE)]
    biases = [params[f"conv{layer}"]["bias"] for layer in range(1, len(CHANNELS))] + [
        jnp.full((1,), -_SLOPE / 2, jnp.float32)
    ]
    return {
        f"conv{layer}": {"kernel": kernel, "bias": bias}
        for layer, (kernel, bias) in enumerate(zip(kernels, biases, strict=True), start=1)
    }


class RRNet(nn.Module):
    """FNet's layers with parameters of their own, applied over and over to the image and the current map.

    The parameters are shared by all steps, so that the number of steps can be changed at any time.

    Source: section 3.2 of the paper, "recurrent reconstruction network".

    Attributes:
      num_steps: how often the map is refined, 0 or more.
      channels: number of channels to use where the paper has the given number.
      convolution: makes a convolution of so many features.
      remat: recompute the activations of a step in the backward pass.
    """

    num_steps: int = 3
    channels: Callable[[int], int] = int
    convolution: Callable[..., nn.Module] = Convolution
    remat: bool = False

    @nn.compact
    def __call__(self, maps: Maps, images: Images, valid: Valid | None = None) -> Float[Array, "t b h w 1"]:
        """Returns the logits after each step.

        Args:
          maps: the map to start from.
          images: RGB, 0..1; zero outside `valid`, as the maps are.
          valid: where the arrays hold images, None where they are filled by them.
        """

        def step(refine: FNet, maps: Maps, _: None) -> tuple[Maps, Maps]:
            logits = refine(maps, images, valid)
            return zero_outside(nn.sigmoid(logits), valid), logits

        refine = (nn.remat(FNet) if self.remat else FNet)(self.channels, self.convolution, name="step")
        if self.is_initializing():
            # A scan of no steps would leave the parameters unmade.
            refine(maps, images, valid)
        scan = nn.scan(
            step,
            variable_broadcast="params",
            split_rngs={"params": False},
            length=self.num_steps,
            # The steps are few: written out, the compiler can plan them together.
            unroll=max(1, self.num_steps),
        )
        return scan(refine, maps, None)[1]
