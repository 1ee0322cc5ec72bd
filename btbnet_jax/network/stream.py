"""One bottom-top-bottom stream."""

from collections.abc import Callable

from flax import linen as nn

from btbnet_jax.network.convolution import Convolution
from btbnet_jax.network.vgg import Trunk
from btbnet_jax.types import Features, Maps, Valid

FEEDBACK = (256, 128, 64, 1)
"""Channels of the four steps from the top back to the bottom."""


class Stream(nn.Module):
    """VGG16's trunk, and step-wise feedback from its top block down to a map.

    Step k adds one 3x3 convolution of the top-bottom tensor to one of the trunk's block 5 - k, both to the
    step's number of channels: 256 with block 4, 128 with block 3, 64 with block 2, 1 with block 1.

    Source: section 3.1 and figure 3 of the paper.
    Assumption: a ReLU after each of these convolutions, before the addition, but for the last two: in front
    of a sigmoid it would halve the range of the map.

    Attributes:
      channels: number of channels to use where the paper has the given number.
      convolution: makes a convolution of so many features.
    """

    channels: Callable[[int], int] = int
    convolution: Callable[..., nn.Module] = Convolution

    @nn.compact
    def __call__(self, images: Features, valid: Valid | None = None) -> Maps:
        """Returns the logits of the stream's map M_n, at the size of `images`."""
        *blocks, x = Trunk(self.channels, self.convolution, name="trunk")(images, valid)
        for block in (4, 3, 2, 1):
            width = FEEDBACK[4 - block]
            features = width if width == 1 else self.channels(width)
            down = self.convolution(features, relu=width > 1, name=f"down{block}")(x, valid)
            side = self.convolution(features, relu=width > 1, name=f"side{block}")(blocks[block - 1], valid)
            x = down + side
        return x
