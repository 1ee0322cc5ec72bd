"""3x3 convolutions from and to few channels, several columns at a time; for a CPU.

A convolution to one channel gathers nine pixels for each of its results, and leaves all lanes of a vector register idle
but one.  Here the kernels of neighbouring results lie side by side, each a column further right, in one kernel of
3 x (columns + 2) to as many channels for every column.  It takes a step of so many columns at a time, gathers fewer
pixels for each of them, and its channels are in memory where the results of those columns belong.  The zeros between
are multiplied as well, so the gain is lost where inputs are many or outputs fill a register by themselves.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from btbnet_jax.network.convolution import Kernel
from btbnet_jax.types import Features

_REGISTER = 16
"""Numbers of float32 in the registers of AVX-512."""


def columns_at_a_time(inputs: int, outputs: int) -> int:
    """Returns how many columns are fastest together; 1 where a plain convolution is, by `benchmarks/layers.py`."""
    return max(1, _REGISTER // outputs) if inputs <= _REGISTER else 1


def narrow_convolution(
    x: Features,
    kernel: Kernel,
    columns: int,
    precision: jax.lax.Precision = jax.lax.Precision.DEFAULT,
    outside: int = 1,
) -> Float[Array, "b _ w d"]:
    """Returns a convolution with zero padding, as many columns as `x` has, and as many rows.

    Args:
      x: features of any height and width.
      kernel: of as few channels as `columns_at_a_time` wants them.
      columns: to compute at a time.
      precision: of the products.
      outside: rows of zeros above and below; without them there are two rows less.
    """
    width = x.shape[2]
    steps = -(-width // columns)
    y = jax.lax.conv_general_dilated(
        x,
        _side_by_side(jnp.asarray(kernel), columns),
        window_strides=(1, columns),
        padding=((outside, outside), (1, 1 + steps * columns - width)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )
    return y.reshape(*y.shape[:2], steps * columns, -1)[:, :, :width]


def _side_by_side(kernel: Array, columns: int) -> Float[Array, "3 wide c n"]:
    """The kernel for so many columns, for the channels of the first one, of the second one, and so on."""
    shifted = [jnp.pad(kernel, ((0, 0), (left, columns - 1 - left), (0, 0), (0, 0))) for left in range(columns)]
    return jnp.concatenate(shifted, axis=-1)
