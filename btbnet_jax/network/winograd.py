"""3x3 convolutions by Winograd's F(4x4, 3x3), with a quarter of the multiplications; for inference on a CPU.

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
usual 0, ±1, ±2, and 2e-6 for the direct sum.  F(6x6, 3x3) needs 21 % fewer multiplications, was slower here, as its
transforms are longer, and has five times the error.

Speed.  The transforms take as much thought as the products, as they are bound by memory.  Tiles are taken in strips
of some rows, so that all that is made of one stays in the cache; inputs are transformed down the columns once for each
six products; bias, ReLU and the border go into the last transform.

Sources: Lavin & Gray, "Fast algorithms for convolutional neural networks", CVPR 2016; Barabasz et al., "Error analysis
and improving the accuracy of Winograd convolution for deep neural networks", 2020, on the choice of points.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Float64
from numpy import ndarray

from btbnet_jax.config import NetworkConfig
from btbnet_jax.network.convolution import Convolution, zero_outside
from btbnet_jax.types import Features, Valid

POINTS = tuple(Fraction(eighths, 8) for eighths in (0, 5, -5, 10, -10))
LEAST_CHANNELS = 128
"""Of inputs and of outputs: below, the transforms cost more than the multiplications that they save."""
LEAST_PIXELS = 64 * 64
"""Of all images of a batch: below, reading 36 matrices for 9 costs more than is saved."""

_OUT, _IN = 4, 6  # height and width of the outputs and inputs of a tile
_TILES = 400  # that are computed together: their matrices fill the cache, more would not fit into it


class TransformedKernel(struct.PyTreeNode):
    """A 3x3 kernel as the products need it, four times as large.

    Attributes:
      matrices: 36 of [inputs, outputs], row by row of 6 x 6; as a tree of JAX also shapes, or whatever stands for them.
    """

    matrices: tuple[Any, ...]


class WinogradConvolution(Convolution):
    """A `Convolution` that takes Winograd's way where it is the faster one, and the direct one elsewhere.

    Its kernel may have been transformed already, see `transform_kernels`; it is transformed in every call otherwise.
    """

    def kernel_and_bias(self, num_inputs: int) -> tuple[Any, Float[Array | ndarray, " d"]]:
        """Returns the parameters, also where the kernel is a `TransformedKernel`."""
        if isinstance(kernel := self.get_variable("params", "kernel"), TransformedKernel):
            return kernel, self.get_variable("params", "bias")
        return super().kernel_and_bias(num_inputs)

    def convolved(self, x: Features, kernel: Any, bias: Float[Array | ndarray, " d"], valid: Valid | None) -> Features:
        """Returns what `Convolution` does, but for rounding."""
        if not isinstance(kernel, TransformedKernel):
            batch, height, width, _ = x.shape
            if not wide_enough(kernel.shape) or batch * height * width < LEAST_PIXELS:
                return super().convolved(x, kernel, bias, valid)
            kernel = transform_kernel(kernel)
        return winograd_convolution(x, kernel, bias, relu=self.relu, valid=valid)


def fastest_convolution(config: NetworkConfig) -> type[Convolution]:
    """Returns the convolution that inference with a network is fastest with on the device that JAX uses.

    Winograd's is for float32 on a CPU; `precision="highest"` asks for the direct sum.
    """
    plain = config.dtype == "float32" and config.precision == "default"
    return WinogradConvolution if plain and jax.default_backend() == "cpu" else Convolution


def for_inference(config: NetworkConfig, params: Any) -> tuple[type[Convolution], Any]:
    """Returns the fastest convolution of a network, and its parameters as that one wants them."""
    convolution = fastest_convolution(config)
    return convolution, transform_kernels(params) if convolution is WinogradConvolution else params


def wide_enough(shape: Sequence[int]) -> bool:
    """Whether a kernel [3, 3, inputs, outputs] has channels enough for Winograd's way to be the faster one."""
    return min(shape[-2:]) >= LEAST_CHANNELS


def transform_kernels(params: Any) -> Any:
    """Returns parameters for `WinogradConvolution`, with all kernels that are wide enough transformed once."""

    def transformed(leaf: Any) -> Any:
        return transform_kernel(leaf) if leaf.ndim == 4 and wide_enough(leaf.shape) else leaf

    return jax.tree.map(transformed, params)


@jax.jit
def transform_kernel(kernel: Float[Array | ndarray, "3 3 c d"]) -> TransformedKernel:
    """Returns G K G' for every input and output channel."""
    by_weights = matrices(POINTS)[1]
    both = np.einsum("ia,jb->ijab", by_weights, by_weights).reshape(_IN**2, 3, 3).astype(np.float32)
    parts = jnp.einsum("pab,abcd->pcd", both, kernel, precision=jax.lax.Precision.HIGHEST)
    return TransformedKernel(tuple(parts))


def winograd_convolution(
    x: Features,
    kernel: TransformedKernel,
    bias: Float[Array | ndarray, " d"],
    *,
    relu: bool = False,
    valid: Valid | None = None,
) -> Features:
    """Returns a convolution with zero padding, as many rows and columns as `x` has; float32.

    Args:
      x: features of any height and width.
      kernel: of `transform_kernel`.
      bias: added to every pixel.
      relu: whether a ReLU follows.
      valid: where the result is kept and not set to zero, None for everywhere.
    """
    batch, height, width, _ = x.shape
    columns = -(-width // _OUT)
    strips, rows = _strips(-(-height // _OUT), batch * columns)
    padded_height, padded_width = strips * rows * _OUT, columns * _OUT
    below, right = padded_height - height, padded_width - width
    x = jnp.pad(x, ((0, 0), (1, 1 + below), (1, 1 + right), (0, 0)))
    if valid is not None:
        valid = jnp.pad(valid, ((0, 0), (0, below), (0, right), (0, 0)))

    def strip(number: Array) -> Features:
        top, num = number * rows * _OUT, rows * _OUT
        y = _strip(jax.lax.dynamic_slice_in_dim(x, top, num + 2, axis=1), kernel) + jnp.reshape(bias, (1, 1, 1, -1))
        y = jax.nn.relu(y) if relu else y
        return zero_outside(y, None if valid is None else jax.lax.dynamic_slice_in_dim(valid, top, num, axis=1))

    done = jax.lax.map(strip, jnp.arange(strips))
    return jnp.moveaxis(done, 0, 1).reshape(batch, padded_height, padded_width, -1)[:, :height, :width]


def matrices(
    points: Sequence[Fraction],
) -> tuple[Float64[ndarray, "4 6"], Float64[ndarray, "6 3"], Float64[ndarray, "6 6"]]:
    """Returns A, G and B of five points that differ, and infinity; exact but for the last rounding."""
    powers = [[point**power for point in points] + [Fraction(power == _OUT - 1)] for power in range(_OUT)]
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


def _coefficients(roots: Sequence[Fraction]) -> list[Fraction]:
    """Those of the product of all (x - root), of the lowest power first."""
    found = [Fraction(1)]
    for root in roots:
        lower, higher = [-root * value for value in found], found
        found = [a + b for a, b in zip([*lower, Fraction(0)], [Fraction(0), *higher], strict=True)]
    return found


def _strips(rows: int, tiles_in_row: int) -> tuple[int, int]:
    """In how many strips to take so many rows of tiles, and the rows of each: equal ones of about `_TILES` tiles."""
    strips = -(-rows // max(1, round(_TILES / tiles_in_row)))
    return strips, -(-rows // strips)


def _strip(x: Features, kernel: TransformedKernel) -> Float[Array, "b tall wide d"]:
    """The convolution of some rows of tiles: of 4 rows + 2 by 4 columns + 2 inputs, which overlap by 2."""
    of_outputs, _, of_inputs = matrices(POINTS)
    batch, rows, columns = x.shape[0], x.shape[1] // _OUT, x.shape[2] // _OUT

    # Without the barrier, the compiler would do these sums again in each of the six that follow.
    halves = jax.lax.optimization_barrier(_combined(of_inputs, _inputs_of_tiles(x, axis=1)))
    sums = []
    for line, half in enumerate(halves):
        tiles = _combined(of_inputs, _inputs_of_tiles(half, axis=2))
        factors = kernel.matrices[line * _IN : (line + 1) * _IN]
        products = [jnp.einsum("bhwc,cd->bhwd", *pair) for pair in zip(tiles, factors, strict=True)]
        sums.append(jnp.stack(_combined(of_outputs, products), axis=3))
    outputs = jnp.stack(_combined(of_outputs, sums), axis=2)  # [b, rows, 4, columns, 4, d]
    return outputs.reshape(batch, rows * _OUT, columns * _OUT, -1)


def _inputs_of_tiles(x: Features, *, axis: int) -> list[Float[Array, "b _ _ c"]]:
    """The first inputs of all tiles along an axis, the second ones, and so on to the sixth."""
    reach = x.shape[axis] - _IN + 1
    return [jax.lax.slice_in_dim(x, first, first + reach, _OUT, axis) for first in range(_IN)]


def _combined(matrix: Float64[ndarray, "m n"], terms: Sequence[Float[Array, "..."]]) -> list[Float[Array, "..."]]:
    """The sums of the terms by the factors of each row, those with factor 0 left out."""
    rows = [[term * np.float32(factor) for factor, term in zip(row, terms, strict=True) if factor] for row in matrix]
    return [sum(row[1:], start=row[0]) for row in rows]
