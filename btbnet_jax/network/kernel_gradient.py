"""The gradient of a 3x3 convolution by its kernel and bias, as matrix products; for training on a CPU.

Each of the nine weights' gradients is the product of the inputs, shifted by the weight's place, with the gradient of
the outputs, over all pixels.  It is the same to shift the inputs by columns alone, and the gradient by rows, the other
way: with three of each side by side all nine are one product, and each side is copied three times, not one nine times.
XLA for CPUs computes it as a convolution with a kernel as large as the image, which takes up to twice as long in wide
layers (a step of a narrow network is as fast by it, in three quarters of the memory).

Winograd's way, F(4x4, 3x3), also makes them with a quarter of the multiplications, see `winograd`: the gradient of
Y = A [(G K G') * (B X B')] A' by K is G' [(A' dY A) * (B X B')] G, summed over the tiles by 36 products.

The image is taken in strips of rows, so that what is shifted or transformed stays in the cache.  Images of a batch
are summed at the end: where devices share them, they then exchange a kernel's gradient once.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from btbnet_jax.network.convolution import Kernel
from btbnet_jax.network.strips import part, strips_of
from btbnet_jax.network.winograd import (
    OUT,
    POINTS,
    combined,
    factors_of_weights,
    inputs_of_tiles,
    matrices,
    tiles_of_strip,
)
from btbnet_jax.types import Features

_PIXELS = 1600  # of a strip of shifted inputs and gradients

Products = list[Float[Array, "b _ _"]]


@jax.jit
def by_products(x: Features, gradient: Features) -> Kernel:
    """Returns the gradient by the kernel of a convolution with zero padding, by a product of what is shifted; float32.

    Args:
      x: the inputs.
      gradient: of the outputs, before bias and ReLU.
    """
    height, width = x.shape[1:3]
    strips, rows = strips_of(height, width, _PIXELS)

    def strip(top: Array) -> Products:
        inputs, outputs = part(x, top, rows, left=1, right=1), part(gradient, top - 1, rows + 2)
        by_columns = [inputs[:, :, column : column + width] for column in range(3)]
        by_rows = [outputs[:, 2 - row : 2 - row + rows] for row in range(3)]
        return [_product(jnp.concatenate(by_columns, axis=-1), jnp.concatenate(by_rows, axis=-1))]

    (total,) = _sum_of_strips(strip, strips, rows)
    return total.reshape(3, x.shape[-1], 3, gradient.shape[-1]).transpose(2, 0, 1, 3)


def by_bias(gradient: Features) -> Float[Array, " d"]:
    """Returns the sum over all pixels, in float32: a product of each row with ones, and the sum of these.

    XLA's own sum takes longer on a CPU, and is off by several times as much.
    """
    batch, height, width, num = gradient.shape
    rows = gradient.reshape(batch * height, width, num)
    ones = jnp.ones(rows.shape[:2], gradient.dtype)
    return jnp.sum(jnp.einsum("rw,rwc->rc", ones, rows, preferred_element_type=jnp.float32), axis=0)


@jax.jit
def by_winograd(x: Features, gradient: Features) -> Kernel:
    """Returns what `by_products` does, but for rounding, by products of transformed tiles."""
    height, width = x.shape[1:3]
    of_outputs, _, of_inputs = matrices(POINTS)
    columns = -(-width // OUT)
    strips, rows = strips_of(-(-height // OUT), columns, 2 * tiles_of_strip(x.shape[-1], gradient.shape[-1]))
    tall, right = rows * OUT, columns * OUT - width

    def strip(top: Array) -> Products:
        of_x, of_gradient = part(x, top - 1, tall + 2, left=1, right=1 + right), part(gradient, top, tall, right=right)
        # Without the barrier, the compiler would do these sums again in each of the six that follow.
        halves = jax.lax.optimization_barrier(
            (
                combined(of_inputs, inputs_of_tiles(of_x, axis=1)),
                combined(of_outputs.T, _outputs_of_tiles(of_gradient, axis=1)),
            )
        )
        products = []
        for inputs, outputs in zip(*halves, strict=True):
            tiles = combined(of_inputs, inputs_of_tiles(inputs, axis=2))
            gradients = combined(of_outputs.T, _outputs_of_tiles(outputs, axis=2))
            products += [_product(*pair) for pair in zip(gradients, tiles, strict=True)]
        return products

    sums = jnp.stack(_sum_of_strips(strip, strips, tall))
    return jnp.einsum("pab,pdc->abcd", factors_of_weights(), sums, precision=jax.lax.Precision.HIGHEST)


def _sum_of_strips(strip: Callable[[Array], Products], strips: int, rows: int) -> list[Float[Array, "_ _"]]:
    """The products of all strips, each from its first row on, and of all images, summed."""

    def add(sums: Products, top: Array) -> tuple[Products, None]:
        return jax.tree.map(jnp.add, sums, strip(top)), None

    zeros = [jnp.zeros(shape.shape, shape.dtype) for shape in jax.eval_shape(strip, jnp.int32(0))]
    return [jnp.sum(total, axis=0) for total in jax.lax.scan(add, zeros, rows * jnp.arange(strips))[0]]


def _product(one: Features, other: Features) -> Float[Array, "b c d"]:
    """The products of all channels, summed over the pixels of each image, in float32.

    In bfloat16 oneDNN sums in float32 and rounds the result, in half the time that a result in float32 would take;
    strips are summed in float32.  That is off by as much as the inputs were by their own rounding.
    """
    return jnp.einsum("bhwc,bhwd->bcd", one, other).astype(jnp.float32)


def _outputs_of_tiles(x: Features, *, axis: int) -> list[Float[Array, "b _ _ c"]]:
    """The first outputs of all tiles along an axis, the second ones, and so on to the fourth."""
    return [jax.lax.slice_in_dim(x, first, x.shape[axis], OUT, axis) for first in range(OUT)]
