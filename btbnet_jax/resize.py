"""Separable bilinear resizing by global positions.

Output pixel i of n_out covers the position (i + 1/2) n_in / n_out of the input.  Its weights fall linearly to
zero over one input pixel, or over one output pixel where the image shrinks (anti-aliasing).  Multiplied by
2 n_out, every term is an integer:

    weight(i, j) ∝ max(0, 2 max(n_in, n_out) - |(2j + 1) n_out - (2i + 1) n_in|)

So the weights are exact at any size, and the same whether the sizes are numbers, traced values (images of
different sizes in one batch) or symbolic (export), and whether i and j run over the whole image or over a
tile of it: positions are always those of the whole image.

`jax.image.resize` means the same but computes positions in float32, which costs 1.6e-4 at 3999 pixels.
"""

from fractions import Fraction
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from btbnet_jax.types import Sizes, Valid

MAX_SIDE = 32_767
"""Longest side that 32-bit positions can tell apart."""


def scaled_size(n: Any, scale: Fraction) -> Any:
    """Returns `n` pixels at `scale`, rounded half up and at least 1.

    Args:
      n: a number, a symbolic one, or an array of numbers.
      scale: an exact fraction; `int(0.6 * n)` would depend on the rounding of 0.6.
    """
    size = (2 * scale.numerator * n + scale.denominator) // (2 * scale.denominator)
    return jnp.maximum(1, size) if isinstance(size, jax.Array | np.ndarray) else jax.core.max_dim(1, size)


def resize_weights(
    rows: Int[Array, " i"], columns: Int[Array, " j"], *, n_in: Any, n_out: Any
) -> Float[Array, "... i j"]:
    """Returns the matrix that takes input positions `columns` to output positions `rows`.

    Args:
      rows: positions in the whole output; those outside of it get weights of zero.
      columns: positions in the whole input; those outside of it get weights of zero.  They must include
        every position that a row draws from.
      n_in: true length of the input, a number or an array of one for each image.
      n_out: true length of the output, likewise.

    Raises:
      ValueError: a length known beforehand is below 1 or above `MAX_SIDE`.
    """
    for n in (n_in, n_out):
        if isinstance(n, int) and not 1 <= n <= MAX_SIDE:
            raise ValueError(f"resizing handles 1 to {MAX_SIDE} pixels a side, not {n}")
    batch = jnp.broadcast_shapes(jnp.shape(n_in), jnp.shape(n_out))
    n_in, n_out = (jnp.broadcast_to(jnp.asarray(n, jnp.int32), batch)[..., None, None] for n in (n_in, n_out))
    i = jnp.expand_dims(rows, (*range(len(batch)), -1))
    j = jnp.expand_dims(columns, range(len(batch) + 1))
    distance = jnp.abs((2 * j + 1) * n_out - (2 * i + 1) * n_in)
    weights = jnp.maximum(0, 2 * jnp.maximum(n_in, n_out) - distance)
    weights = jnp.where((j >= 0) & (j < n_in) & (i >= 0) & (i < n_out), weights, 0)
    totals = jnp.sum(weights, axis=-1, keepdims=True)
    return weights.astype(jnp.float32) / jnp.maximum(1, totals).astype(jnp.float32)


def resize(
    images: Float[Array, "b h w c"],
    shape: tuple[Any, Any],
    *,
    size: Sizes | None = None,
    new_size: Sizes | None = None,
) -> Float[Array, "b new_h new_w c"]:
    """Returns `images` resized to an array of `shape`, in float32.

    Args:
      images: batch of images, feature maps or maps.
      shape: height and width of the returned arrays.
      size: true height and width of each image, where its array is larger; None where they fill it.
      new_size: true height and width of each result within `shape`; the rest of it is zero.
    """
    result = images.astype(jnp.float32)
    for axis, equation in enumerate(("...ij,bjwc->biwc", "...ij,bhjc->bhic")):
        old, new = images.shape[1 + axis], shape[axis]
        n_in = old if size is None else size[:, axis]
        n_out = new if new_size is None else new_size[:, axis]
        if size is None and new_size is None and old == new:
            continue
        weights = resize_weights(jnp.arange(new), jnp.arange(old), n_in=n_in, n_out=n_out)
        equation = equation if weights.ndim == 2 else equation.replace("...", "b")
        result = jnp.einsum(equation, weights, result, precision=jax.lax.Precision.HIGHEST)
    return result


def valid_pixels(shape: tuple[Any, Any], size: Sizes) -> Valid:
    """Returns where arrays of `shape` hold their images: true at the top left, in `size`."""
    rows = jnp.arange(shape[0])[None, :, None, None] < size[:, 0, None, None, None]
    columns = jnp.arange(shape[1])[None, None, :, None] < size[:, 1, None, None, None]
    return rows & columns
