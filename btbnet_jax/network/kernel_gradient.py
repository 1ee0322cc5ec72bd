"""The gradient of a 3x3 convolution by its kernel, as matrix products; for training on a CPU.

Each of the nine weights' gradients is the product of the inputs, shifted by the weight's place, with the gradient of
the outputs, over all pixels; with the shifted inputs side by side it is one product.  XLA for CPUs computes it as a
convolution with a kernel as large as the image, which takes up to three times as long in wide layers (a step of a
narrow network is as fast by it, in two thirds of the memory).

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

_PIXELS = 400  # of a strip of shifted inputs

Products = list[Float[Array, "b _ _"]]
Inner = Float[Array, "b _ _ d"]
"""The gradient in a strip, with two rows and columns less than the inputs that it depends on."""


@jax.jit
def by_products(x: Features, gradient: Features) -> Kernel:
    """Returns the gradient by the kernel of a convolution with zero padding, by a product with shifted inputs.

    Args:
      x: the inputs.
      gradient: of the outputs, before bias and ReLU.
    """
    height, width = x.shape[1:3]
    strips, rows = strips_of(height, width, _PIXELS)

    def strip(x: Features, gradient: Inner) -> Products:
        places = [(row, column) for row in range(3) for column in range(3)]
        shifted = [x[:, row : row + rows, column : column + width] for row, column in places]
        return [_product(jnp.concatenate(shifted, axis=-1), gradient)]

    (total,) = _sum_of_strips(strip, strips, rows, x, gradient)
    return total.reshape(3, 3, x.shape[-1], gradient.shape[-1])


@jax.jit
def by_winograd(x: Features, gradient: Features) -> Kernel:
    """Returns what `by_products` does, but for rounding, by products of transformed tiles."""
    height, width = x.shape[1:3]
    of_outputs, _, of_inputs = matrices(POINTS)
    columns = -(-width // OUT)
    strips, rows = strips_of(-(-height // OUT), columns, 2 * tiles_of_strip(x.shape[-1], gradient.shape[-1]))

    def strip(x: Features, gradient: Inner) -> Products:
        # Without the barrier, the compiler would do these sums again in each of the six that follow.
        halves = jax.lax.optimization_barrier(
            (
                combined(of_inputs, inputs_of_tiles(x, axis=1)),
                combined(of_outputs.T, _outputs_of_tiles(gradient, axis=1)),
            )
        )
        products = []
        for inputs, outputs in zip(*halves, strict=True):
            tiles = combined(of_inputs, inputs_of_tiles(inputs, axis=2))
            gradients = combined(of_outputs.T, _outputs_of_tiles(outputs, axis=2))
            products += [_product(*pair) for pair in zip(gradients, tiles, strict=True)]
        return products

    sums = jnp.stack(_sum_of_strips(strip, strips, rows * OUT, x, gradient, right=columns * OUT - width))
    return jnp.einsum("pab,pdc->abcd", factors_of_weights(), sums, precision=jax.lax.Precision.HIGHEST)


def _sum_of_strips(
    strip: Callable[[Features, Inner], Products],
    strips: int,
    rows: int,
    x: Features,
    gradient: Features,
    *,
    right: int = 0,
) -> list[Float[Array, "d c"]]:
    """The products of all strips and images, summed; strips of `x` have one more pixel on each side."""

    def products(number: Array | int) -> Products:
        top = jnp.asarray(number) * rows
        inputs = part(x, top - 1, rows + 2, left=1, right=1 + right)
        return strip(inputs, part(gradient, top, rows, right=right))

    def add(sums: Products, number: Array) -> tuple[Products, None]:
        return jax.tree.map(jnp.add, sums, products(number)), None

    zeros = [jnp.zeros(shape.shape, shape.dtype) for shape in jax.eval_shape(products, 0)]
    return [jnp.sum(total, axis=0) for total in jax.lax.scan(add, zeros, jnp.arange(strips))[0]]


def _product(one: Features, other: Features) -> Float[Array, "b d c"]:
    """The products of all channels, summed over the pixels of each image."""
    return jnp.einsum("bhwd,bhwc->bdc", one, other)


def _outputs_of_tiles(x: Features, *, axis: int) -> list[Float[Array, "b _ _ c"]]:
    """The first outputs of all tiles along an axis, the second ones, and so on to the fourth."""
    return [jax.lax.slice_in_dim(x, first, x.shape[axis], OUT, axis) for first in range(OUT)]
