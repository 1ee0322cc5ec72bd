"""Names of array shapes and of the values that the arrays hold.

Axes: ``b`` images of a batch, ``h`` rows, ``w`` columns, ``c`` channels, ``s`` streams, ``t`` recurrent
steps, ``n`` any other count.

Everywhere in this package **1 (or 255) means in focus and 0 means blurred**: in masks, maps, files that
it writes and figures that it prints.  Data sets published the other way round are turned when they are
built, and nowhere later.

- an *image* is RGB in sRGB encoding, uint8 0..255 on the host and float32 0..1 on the device;
- a *mask* is the truth, 0..1, grey where an edge was resampled;
- a *map* is a prediction, 0..1, and its *logits* are the values before the sigmoid;
- *valid* is true on the pixels of an image and false on its padding;
- a *size* is the true height and width of an image whose array is larger: the image lies at the top
  left, and the padding at the bottom and on the right.
"""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int, Int32, UInt8
from numpy import ndarray

Images = Float[Array, "b h w 3"]
Features = Float[Array, "b h w _"]
"""Feature maps; the number of channels differs between a function's arguments and its result."""
Maps = Float[Array, "b h w 1"]
Valid = Bool[Array, "b h w 1"]
Sizes = Int[Array, "b 2"]

HostImage = UInt8[ndarray, "h w 3"]
HostMap = UInt8[ndarray, "h w"]


class Batch(NamedTuple):
    """Images and masks of one step.  Each lies at the top left of its array, and the rest is zero.

    Attributes:
      image: RGB.
      mask: the truth, 255 = in focus.
      size: true height and width; 0 where an incomplete batch was filled.
      example: its index in the data set, -1 where an incomplete batch was filled.
    """

    image: UInt8[ndarray, "b h w 3"]
    mask: UInt8[ndarray, "b h w 1"]
    size: Int32[ndarray, "b 2"]
    example: Int32[ndarray, " b"]
