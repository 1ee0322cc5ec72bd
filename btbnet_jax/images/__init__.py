"""Files to arrays and back, and pictures of results: the only room that knows Pillow."""

from btbnet_jax.images.drawing import overlay, side_by_side
from btbnet_jax.images.files import (
    MAX_PIXELS,
    SUFFIXES,
    ImageError,
    Source,
    encode_jpeg,
    encode_png,
    image_size,
    is_plain_jpeg,
    quantise,
    read_image,
    read_map,
    read_mask,
    resize_image,
    rotate_45,
    write_png,
)
from btbnet_jax.images.photographs import Photograph, Picture, encode_png16, read_photograph, resize_map

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "ImageError",
    "Photograph",
    "Picture",
    "Source",
    "encode_jpeg",
    "encode_png",
    "encode_png16",
    "image_size",
    "is_plain_jpeg",
    "overlay",
    "quantise",
    "read_image",
    "read_map",
    "read_mask",
    "read_photograph",
    "resize_image",
    "resize_map",
    "rotate_45",
    "side_by_side",
    "write_png",
]
