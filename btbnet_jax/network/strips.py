"""Images taken in strips of rows, so that what is made of one stays in the cache or in a library's limits."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from btbnet_jax.types import Features


def strips_of(rows: int, in_row: int, in_strip: int) -> tuple[int, int]:
    """Returns in how many strips to take so many rows, and the rows of each: equal ones of about `in_strip` pieces."""
    strips = -(-rows // max(1, round(in_strip / in_row)))
    return strips, -(-rows // strips)


def part(x: Shaped[Array, "b h w c"], top: Array, rows: int, *, left: int = 0, right: int = 0) -> Shaped[Array, "..."]:
    """Returns some rows of an array, with zeros above its first and below its last row, and at the sides.

    Nothing but the rows is copied, where to pad the array would take as much memory again.

    Args:
      x: the array.
      top: the first of the rows; -1 for the one above the array.
      rows: how many.
      left: columns of zeros to put before the first.
      right: and after the last.
    """
    there = min(rows, x.shape[1])
    first = jnp.clip(top, 0, x.shape[1] - there)
    found = jax.lax.dynamic_slice_in_dim(x, first, there, axis=1)
    found = jnp.pad(found, ((0, 0), (1, rows), (left, right), (0, 0)))
    # Without the barrier, the compiler would look for zeros wherever a value is used.
    return jax.lax.optimization_barrier(jax.lax.dynamic_slice_in_dim(found, top - first + 1, rows, axis=1))


def by_strips(strip: Callable[[Array], Features], rows: int, height: int) -> Features:
    """Returns an image of so many rows, one strip after the other.

    Args:
      strip: makes so many rows, from the number of the first on.
      rows: of a strip; the last one begins earlier, so as to end with the image.
      height: of the image, `rows` or more.
    """

    def put(image: Features, top: Array) -> tuple[Features, None]:
        return jax.lax.dynamic_update_slice_in_dim(image, strip(top), top, axis=1), None

    shape = jax.eval_shape(strip, jnp.int32(0))
    image = jax.lax.full_like(shape, 0, shape=(shape.shape[0], height, *shape.shape[2:]))
    return jax.lax.scan(put, image, jnp.minimum(jnp.arange(0, height, rows), height - rows))[0]
