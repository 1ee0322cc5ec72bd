"""The 3x3 convolution that every part of the network is made of, and its gradient."""

import dataclasses
import functools
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float
from numpy import ndarray

from btbnet_jax.network.strips import by_strips, part, strips_of
from btbnet_jax.types import Features, Valid

Kernel = Float[Array | ndarray, "3 3 c d"]
Bias = Float[Array | ndarray, " d"]

MOST_PIXELS = 2**17
"""Of a convolution on a CPU, over all images of a batch, whose devices may share it; more are taken in strips of rows.

XLA for CPUs divides a convolution into blocks of pixels, and a queue of its threads holds 1024 pieces of work.  With
more blocks than that, here of 192 pixels, a thread can begin with one in the memory in which it has prepared another,
whose result is then wrong without a word.  In jaxlib 0.10.2 this happened to the first block of two layers from 128 to
64 channels on 734 x 490 pixels, always, in the paper's network on an image of 1224 x 817, whose map was off by 0.004
along its upper edge; in smaller programs of the same layers it did not.  The limit is two thirds of 1024 such
blocks, as a strip of whole rows has up to a third more.  The gradient by a kernel is a product of few rows, and is left
in one piece; so are programs of symbolic sizes."""

KEPT = "kept"
"""The name of features that `jax.checkpoint` may keep where it computes others again."""


@dataclasses.dataclass(frozen=True)
class Direct:
    """The way that XLA computes a convolution and its gradients by itself.

    Attributes:
      precision: of the products, where they are of float32.
    """

    precision: jax.lax.Precision = jax.lax.Precision.DEFAULT

    def convolve(
        self, x: Features, kernel: Kernel, bias: Bias | None = None, valid: Valid | None = None, *, relu: bool = False
    ) -> Features:
        """Returns the convolution with its bias, ReLU and zeros outside `valid`, where they are asked for."""
        num_outputs = kernel.shape[3]
        kernel, bias = in_blocks(kernel, axes=2), None if bias is None else in_blocks(bias, axes=1)

        def finished(y: Features, valid: Valid | None) -> Features:
            y = y if bias is None else y + bias.reshape(1, 1, 1, -1)
            y = nn.relu(y) if relu else y
            # Channels that only fill a block are left out last, so that a library can add bias and ReLU by itself.
            return zero_outside(y if y.shape[3] == num_outputs else y[..., :num_outputs], valid)

        if (rows := self.rows_of_strip(x)) is None:
            return finished(self.sums(x, kernel), valid)

        def strip(top: Array) -> Features:
            y = self.sums(part(x, top - 1, rows + 2), kernel, outside=0)
            return finished(y, None if valid is None else part(valid, top, rows))

        return by_strips(strip, rows, x.shape[1])

    def sums(self, x: Features, kernel: Kernel, *, outside: int = 1) -> Float[Array, "b _ w d"]:
        """Returns the convolution alone; without rows of zeros `outside`, above and below, it has two rows less."""
        y = jax.lax.conv_general_dilated(
            in_blocks(x, axes=1),
            in_blocks(kernel, axes=2),
            window_strides=(1, 1),
            padding=((outside, outside), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=self.precision,
        )
        return y if y.shape[3] == kernel.shape[3] else y[..., : kernel.shape[3]]

    def rows_of_strip(self, x: Features) -> int | None:
        """Returns how many rows of `x` to take at a time on this device, None for all."""
        batch, height, width, _ = x.shape
        if jax.default_backend() != "cpu" or any(map(jax.export.is_symbolic_dim, x.shape)):
            return None  # exported programs, whose sizes are not known, take all
        strips, rows = strips_of(height, batch * width, MOST_PIXELS)
        return rows if strips > 1 else None

    def gradients(self, x: Features, kernel: Kernel, gradient: Features) -> tuple[Features, Kernel]:
        """Returns those by `x` and by `kernel`, from that by the sums before bias and ReLU."""
        return self.by_inputs(x, kernel, gradient), self.by_kernel(x, kernel, gradient)

    def by_inputs(self, x: Features, kernel: Kernel, gradient: Features) -> Features:
        """Returns the gradient by `x`."""
        if self.rows_of_strip(x) is not None:
            return self.convolve(gradient, turned(kernel))
        return jax.vjp(lambda x: Direct.sums(self, x, kernel), x)[1](gradient)[0]

    def by_kernel(self, x: Features, kernel: Kernel, gradient: Features) -> Kernel:
        """Returns the gradient by `kernel`."""
        return jax.vjp(lambda kernel: Direct.sums(self, x, kernel), kernel)[1](gradient)[0]

    def by_bias(self, gradient: Features) -> Float[Array, " d"]:
        """Returns the gradient by the bias, summed in float32."""
        return jnp.sum(gradient, axis=(0, 1, 2), dtype=jnp.float32)


def channels_of_a_block(dtype: Any) -> int:
    """Returns the number whose multiples are channels that a convolution of numbers of this type is quick with.

    A GPU's matrix units read eight numbers of 16 bits at a time.  With others, as the 3 channels of an image or the one
    of a map, cuDNN takes slower ways, in gradients far slower ones, and XLA adds zeros to float16 alone.
    """
    return 8 if dtype == jnp.bfloat16 and jax.default_backend() == "gpu" else 1


def in_blocks(array: Any, *, axes: int) -> Array:
    """Returns features, or a kernel, with zeros for the channels that are missing to whole blocks on the last axes."""
    missing = [(0, -num % channels_of_a_block(array.dtype)) for num in array.shape[-axes:]]
    return jnp.pad(array, [(0, 0)] * (array.ndim - axes) + missing) if any(map(sum, missing)) else jnp.asarray(array)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def convolve(
    way: Direct, relu: bool, kept: bool, x: Features, kernel: Kernel, bias: Bias, valid: Valid | None
) -> Features:
    """Returns a 3x3 convolution with zero padding, as many rows and columns as `x` has.

    Its gradient is written here, as it needs no more than the features before and after: a ReLU was open where
    its result is not zero.  Left to itself, JAX keeps the sums before the ReLU as well.

    Args:
      way: that computes it.
      relu: whether a ReLU follows.
      kept: whether the result is named `KEPT`.
      x: features.
      kernel: of the same type of numbers, as is `bias`.
      bias: added to every pixel.
      valid: where the result is kept and not set to zero, None for everywhere.
    """
    return way.convolve(x, kernel, bias, valid, relu=relu)


def _convolve(way: Direct, relu: bool, kept: bool, x: Features, kernel: Kernel, bias: Bias, valid: Valid | None) -> Any:
    y = way.convolve(x, kernel, bias, valid, relu=relu)
    y = checkpoint_name(y, KEPT) if kept else y
    return y, (x, kernel, y if relu else None, valid)


def _gradients(way: Direct, relu: bool, _: bool, residuals: Any, gradient: Features) -> Any:
    x, kernel, y, valid = residuals
    gradient = zero_outside(gradient, y > 0 if relu else valid)
    return *way.gradients(x, kernel, gradient), way.by_bias(gradient).astype(gradient.dtype), None


convolve.defvjp(_convolve, _gradients)


class Convolution(nn.Module):
    """A 3x3 convolution with bias, and with ReLU where asked, whose result is zero outside the image.

    Assumption: zero ("same") padding and no dilation.  In an array larger than its image, the first layer
    would leave ReLU(bias) on the padding instead of the zeros that the image's own border has, so features
    outside `valid` are set to zero after every convolution.

    Assumption: He initialisation.  With flax's default (LeCun), 17 ReLU layers in a row do not learn.

    Attributes:
      features: number of output channels.
      relu: whether a ReLU follows.
      kept: whether the result is kept where half of what streams compute is computed again, see `NetworkConfig`.
      dtype: of the computation; parameters are float32.
      precision: of the products, where `dtype` is float32.
      by_onednn: whether programs with it are to be compiled for oneDNN, see `compiler.compiler_options`.
    """

    by_onednn: ClassVar[bool] = False
    features: int
    relu: bool = True
    kept: bool = False
    dtype: jnp.dtype = jnp.dtype("float32")
    precision: jax.lax.Precision = jax.lax.Precision.DEFAULT

    @nn.compact
    def __call__(self, x: Features, valid: Valid | None = None) -> Features:
        """Returns as many rows and columns as `x` has; `valid` is None where the images fill their arrays."""
        kernel, bias = self.kernel_and_bias(x.shape[-1])
        return self.convolved(x, kernel, bias, valid)

    def kernel_and_bias(self, num_inputs: int) -> tuple[Any, Bias]:
        """Returns the parameters, which have the names of this module's in every kind of it."""
        shape = (3, 3, num_inputs, self.features)
        kernel = self.param("kernel", nn.initializers.normal(he_deviation(shape)), shape)
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))

    def convolved(self, x: Features, kernel: Any, bias: Bias, valid: Valid | None) -> Features:
        """Returns the convolution with its bias, ReLU and zeros."""
        kernel, bias = (jnp.asarray(array, self.dtype) for array in (kernel, bias))
        return convolve(self.way, self.relu, self.kept, x.astype(self.dtype), kernel, bias, valid)

    @property
    def way(self) -> Direct:
        """How it is computed."""
        return Direct(self.precision)


def turned(kernel: Kernel) -> Float[Array | ndarray, "3 3 d c"]:
    """Returns the kernel by which the gradient of a convolution's outputs gives that of its inputs."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def he_deviation(shape: tuple[int, ...]) -> np.float32:
    """Returns the standard deviation of a kernel's initial values by He et al. 2015, √(2 / inputs)."""
    return np.sqrt(np.float32(2 / math.prod(shape[:-1])))


def zero_outside(x: Features, valid: Bool[Array, "b h w _"] | None) -> Features:
    """Returns `x` with zeros where `valid` is false; all of it where `valid` is None."""
    return x if valid is None else jnp.where(valid, x, 0)
