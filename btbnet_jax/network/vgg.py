"""The 13 convolutions of VGG16 without its pooling layers."""

from collections.abc import Callable

from flax import linen as nn

from btbnet_jax.network.convolution import Convolution
from btbnet_jax.types import Features, Valid

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of the convolutions, block by block."""


class Trunk(nn.Module):
    """VGG16's convolutions; all five pooling layers and the fully connected ones are gone.

    So every feature map has the height and width of the input.  Parameters are called conv1_1 to conv5_3.

    Source: section 3.1 of the paper; Simonyan & Zisserman 2015, table 1, column D.

    Attributes:
      channels: number of channels to use where the paper has the given number.
      convolution: makes a convolution of so many features.
    """

    channels: Callable[[int], int] = int
    convolution: Callable[..., nn.Module] = Convolution

    @nn.compact
    def __call__(self, images: Features, valid: Valid | None = None) -> tuple[Features, ...]:
        """Returns the outputs of the five blocks, after ReLU."""
        x, outputs = images, []
        for block, widths in enumerate(BLOCKS, start=1):
            for layer, width in enumerate(widths, start=1):
                x = self.convolution(self.channels(width), kept=layer > 1, name=f"conv{block}_{layer}")(x, valid)
            outputs.append(x)
        return tuple(outputs)
