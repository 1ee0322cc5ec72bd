"""FNet, which fuses the streams' maps, and RRNet, which refines the fused map step by step."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from btbnet_jax.network.convolution import Convolution, zero_outside
from btbnet_jax.types import Features, Images, Maps, Valid

CHANNELS = (64, 128, 64, 1)


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
