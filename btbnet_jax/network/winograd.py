"""3x3 convolutions by Winograd's F(4x4, 3x3), with a quarter of the multiplications; for a CPU.

Derivation.  A product of polynomials of degree 3 and 2 is known from its values at five points and its leading
coefficient, the "value at infinity": six multiplications, where multiplying out takes twelve (Toom and Cook).  Its
transpose is what a convolution layer computes, four outputs y of six inputs d and three weights g:

    y = A [(G g) * (B d)]

G evaluates the weights at the points, divided by the constants of Lagrange's interpolation; B has the coefficients of
its polynomials, and A the powers of the points.  In two dimensions, a tile of 6 x 6 inputs gives 4 x 4 outputs with
36 multiplications instead of 144: Y = A [(G K G') * (B X B')] A'.  Summed over the input channels, each of the 36 is
a matrix product over all tiles, kernel and tiles transformed before it and its result after it.

Error.  Values grow in the transforms and cancel in the end, and the points decide by how much.  On 512 channels of size
one against float64, the largest error of 100,000 results is about 2e-5 with 0, ±5/8, ±5/4, three times that with the
usual 0, ±1, ±2, and 4e-6 for the direct sum.  F(6x6, 3x3) needs 21 % fewer multiplications, was slower here, as its
transforms are longer, and has five times the error.

Speed.  The transforms take as much thought as the products, as they are bound by memory.  Tiles are taken in strips
of some rows, so that all that is made of one stays in the cache; inputs are transformed down the columns once for each
six products; bias, ReLU and the border go into the last transform.

Sources: Lavin & Gray, "Fast algorithms for convolutional neural networks", CVPR 2016; Barabasz et al., "Error analysis
and improving the accuracy of Winograd convolution for deep neural networks", 2020, on the choice of points.
"""

import functools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Float32, Float64
from numpy import ndarray

from btbnet_jax.network.convolution import Bias, Kernel, zero_outside
from btbnet_jax.network.strips import by_strips, part, strips_of
from btbnet_jax.types import Features, Valid

POINTS = tuple(Fraction(eighths, 8) for eighths in (0, 5, -5, 10, -10))
OUT, IN = 4, 6
"""Height and width of the outputs and inputs of a tile."""


class TransformedKernel(struct.PyTreeNode):
    """A 3x3 kernel as the products need it, four times as large.

    Attributes:
      matrices: 36 of [inputs, outputs], row by row of 6 x 6; as a tree of JAX also shapes, or whatever stands for them.
    """

    matrices: tuple[Any, ...]


@jax.jit
def transform_kernel(kernel: Kernel) -> TransformedKernel:
    """Returns G K G' for every input and output channel."""
    parts = jnp.einsum("pab,abcd->pcd", factors_of_weights(), kernel, precision=jax.lax.Precision.HIGHEST)
    return TransformedKernel(tuple(parts))


@functools.partial(jax.jit, static_argnames="relu")
def winograd_convolution(
    x: Features,
    kernel: TransformedKernel,
    bias: Bias | None = None,
    valid: Valid | None = None,
    *,
    relu: bool = False,
) -> Features:
    """Returns a convolution with zero padding, as many rows and columns as `x` has; float32.

    Args:
      x: features of any height and width.
      kernel: of `transform_kernel`.
      bias: added to every pixel, None for nothing.
      valid: where the result is kept and not set to zero, None for everywhere.
      relu: whether a ReLU follows.
    """
    batch, height, width, _ = x.shape
    columns = -(-width // OUT)
    rows = strips_of(-(-height // OUT), batch * columns, tiles_of_strip(*kernel.matrices[0].shape))[1]
    tall, wide = rows * OUT, columns * OUT

    def strip(top: Array) -> Features:
        y = _strip(part(x, top - 1, tall + 2, left=1, right=1 + wide - width), kernel)
        y = y if bias is None else y + jnp.reshape(bias, (1, 1, 1, -1))
        y = jax.nn.relu(y) if relu else y
        y = zero_outside(y, None if valid is None else part(valid, top, tall, right=wide - width))
        return y[:, :, :width]

    if tall >= height:
        return strip(jnp.int32(0))[:, :height]
    return by_strips(strip, tall, height)


def matrices(
    points: Sequence[Fraction],
) -> tuple[Float64[ndarray, "4 6"], Float64[ndarray, "6 3"], Float64[ndarray, "6 6"]]:
    """Returns A, G and B of five points that differ, and infinity; exact but for the last rounding."""
    powers = [[point**power for point in points] + [Fraction(power == OUT - 1)] for power in range(OUT)]
    weights, inputs = [], []
    for point in points:
        others = [other for other in points if other != point]
        constant = math.prod(point - other for other in others)
        weights.append([point**power / constant for power in range(3)])
        inputs.append([*_coefficients(others), Fraction(0)])
    weights.append([Fraction(0), Fraction(0), Fraction(1)])
    inputs.append(_coefficients(points))
    of_outputs, of_weights, of_inputs = (np.array(rows, np.float64) for rows in (powers, weights, inputs))
    return of_outputs, of_weights, of_inputs


def factors_of_weights() -> Float32[ndarray, "36 3 3"]:
    """Returns by what each weight of a kernel counts in each of the 36 transformed ones: G K G' as one sum."""
    by_weights = matrices(POINTS)[1]
    return np.einsum("ia,jb->ijab", by_weights, by_weights).reshape(IN**2, 3, 3).astype(np.float32)


def _coefficients(roots: Sequence[Fraction]) -> list[Fraction]:
    """Those of the product of all (x - root), of the lowest power first."""
    found = [Fraction(1)]
    for root in roots:
        lower, higher = [-root * value for value in found], found
        found = [a + b for a, b in zip([*lower, Fraction(0)], [Fraction(0), *higher], strict=True)]
    return found


def tiles_of_strip(inputs: int, outputs: int) -> int:
    """Returns how many tiles to compute together: their matrices fill the cache, more would not fit into it."""
    return max(400, 100_000 // max(inputs, outputs))


def _strip(x: Features, kernel: TransformedKernel) -> Float[Array, "b tall wide d"]:
    """The convolution of some rows of tiles: of 4 rows + 2 by 4 columns + 2 inputs, which overlap by 2."""
    of_outputs, _, of_inputs = matrices(POINTS)
    batch, rows, columns = x.shape[0], x.shape[1] // OUT, x.shape[2] // OUT

    # Without the barrier, the compiler would do these sums again in each of the six that follow.
    halves = jax.lax.optimization_barrier(combined(of_inputs, inputs_of_tiles(x, axis=1)))
    sums = []
    for line, half in enumerate(halves):
        tiles = combined(of_inputs, inputs_of_tiles(half, axis=2))
        factors = kernel.matrices[line * IN : (line + 1) * IN]
        products = [jnp.einsum("bhwc,cd->bhwd", *pair) for pair in zip(tiles, factors, strict=True)]
        sums.append(jnp.stack(combined(of_outputs, products), axis=3))
    outputs = jnp.stack(combined(of_outputs, sums), axis=2)  # [b, rows, 4, columns, 4, d]
    return outputs.reshape(batch, rows * OUT, columns * OUT, -1)


def inputs_of_tiles(x: Features, *, axis: int) -> list[Float[Array, "b _ _ c"]]:
    """The first inputs of all tiles along an axis, the second ones, and so on to the sixth."""
    reach = x.shape[axis] - IN + 1
    return [jax.lax.slice_in_dim(x, first, first + reach, OUT, axis) for first in range(IN)]


def combined(matrix: Float64[ndarray, "m n"], terms: Sequence[Float[Array, "..."]]) -> list[Float[Array, "..."]]:
    """The sums of the terms by the factors of each row, those with factor 0 left out."""
    rows = [[term * np.float32(factor) for factor, term in zip(row, terms, strict=True) if factor] for row in matrix]
    return [sum(row[1:], start=row[0]) for row in rows]
