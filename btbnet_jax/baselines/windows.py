"""What the methods without learning share: grey values, borders, windows, and values scaled to 0..1.

Images may be smaller than their arrays.  Whatever reaches over the border of an image is taken from the image
itself, and never from the padding.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from btbnet_jax.types import Images, Valid

Values = Float[Array, "b h w 1"]
Padded = Float[Array, "b H W 1"]
Border = Literal["zero", "nearest", "mirror"]


def grey(images: Images) -> Values:
    """Returns luma by Rec. 601, as JPEG and Pillow have it."""
    return 0.299 * images[..., 0:1] + 0.587 * images[..., 1:2] + 0.114 * images[..., 2:3]


def extended(values: Values, valid: Valid, margin: int, border: Border) -> Padded:
    """Returns each image with `margin` more pixels on every side of its array.

    Args:
      values: of the images; what their padding holds is not read.
      valid: where the arrays hold image.
      margin: in pixels.
      border: what lies outside an image: zeros, the nearest pixel, or the image mirrored with its edge repeated.
    """
    inside, positions = [], []
    for axis, others in ((1, (2, 3)), (2, (1, 3))):
        size = valid.any(axis=others).sum(axis=1, keepdims=True)
        position = jnp.arange(-margin, values.shape[axis] + margin)[None]
        inside.append((position >= 0) & (position < size))
        positions.append(_inside(position, jnp.maximum(size, 1), border))
    taken = jax.vmap(lambda image, rows, columns: image[rows][:, columns])(values, *positions)
    if border == "zero":
        taken = jnp.where(inside[0][:, :, None, None] & inside[1][:, None, :, None], taken, 0)
    return taken


def _inside(position: Int[Array, "1 n"], size: Int[Array, "b 1"], border: Border) -> Int[Array, "b n"]:
    """The positions inside an image of `size` that are taken for those outside it."""
    if border != "mirror":
        return jnp.clip(position, 0, size - 1)
    folded = position % (2 * size)
    return jnp.where(folded < size, folded, 2 * size - 1 - folded)


def window_sum(values: Padded, window: int, *, padding: Literal["SAME", "VALID"] = "SAME") -> Values:
    """Returns the sums over square windows; with "SAME" as many as there are values, with zeros around."""
    rows = lax.reduce_window(values, 0.0, lax.add, (1, window, 1, 1), (1, 1, 1, 1), padding)
    return lax.reduce_window(rows, 0.0, lax.add, (1, 1, window, 1), (1, 1, 1, 1), padding)


def stretched(values: Float[Array, "b h w n"], valid: Valid) -> Float[Array, "b h w n"]:
    """Returns values scaled and shifted to 0..1 for each image and channel; 0 on padding, and where all are equal.

    Source: `mat2gray` of MATLAB, which the published codes end in.
    """
    axes = (1, 2)
    low = jnp.where(valid, values, jnp.inf).min(axes, keepdims=True)
    high = jnp.where(valid, values, -jnp.inf).max(axes, keepdims=True)
    return jnp.where(valid & (high > low), (values - low) / (high - low), 0)
