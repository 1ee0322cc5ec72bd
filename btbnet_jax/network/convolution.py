"""The 3x3 convolution that every part of the network is made of."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float
from numpy import ndarray

from btbnet_jax.types import Features, Valid


class Convolution(nn.Module):
    """A 3x3 convolution with bias, and with ReLU where asked, whose result is zero outside the image.

    Assumption: zero ("same") padding and no dilation.  In an array larger than its image, the first layer
    would leave ReLU(bias) on the padding instead of the zeros that the image's own border has, so features
    outside `valid` are set to zero after every convolution.

    Assumption: He initialisation.  With flax's default (LeCun), 17 ReLU layers in a row do not learn.

    Attributes:
      features: number of output channels.
      relu: whether a ReLU follows.
      dtype: of the computation; parameters are float32.
      precision: of the products, where `dtype` is float32.
    """

    features: int
    relu: bool = True
    dtype: jnp.dtype = jnp.dtype("float32")
    precision: jax.lax.Precision = jax.lax.Precision.DEFAULT

    @nn.compact
    def __call__(self, x: Features, valid: Valid | None = None) -> Features:
        """Returns as many rows and columns as `x` has; `valid` is None where the images fill their arrays."""
        kernel, bias = self.kernel_and_bias(x.shape[-1])
        return self.convolved(x, kernel, bias, valid)

    def kernel_and_bias(self, num_inputs: int) -> tuple[Any, Float[Array | ndarray, " d"]]:
        """Returns the parameters, which have the names of this module's in every kind of it."""
        shape = (3, 3, num_inputs, self.features)
        kernel = self.param("kernel", nn.initializers.normal(he_deviation(shape)), shape)
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))

    def convolved(self, x: Features, kernel: Any, bias: Float[Array | ndarray, " d"], valid: Valid | None) -> Features:
        """Returns the convolution with its bias, ReLU and zeros."""
        y = jax.lax.conv_general_dilated(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=(1, 1),
            padding="SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=self.precision,
        )
        y = y + bias.astype(self.dtype).reshape(1, 1, 1, -1)
        y = nn.relu(y) if self.relu else y
        return zero_outside(y, valid)


def he_deviation(shape: tuple[int, ...]) -> np.float32:
    """Returns the standard deviation of a kernel's initial values by He et al. 2015, √(2 / inputs)."""
    return np.sqrt(np.float32(2 / math.prod(shape[:-1])))


def zero_outside(x: Features, valid: Valid | None) -> Features:
    """Returns `x` with zeros where `valid` is false; all of it where `valid` is None."""
    return x if valid is None else jnp.where(valid, x, 0)
