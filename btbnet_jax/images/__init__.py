"""Files to arrays and back, and pictures of results: the only room that knows Pillow."""

from btbnet_jax.images.arrays import quantise, resize_image, resize_map, rotate_45
from btbnet_jax.images.drawing import binary_mask, overlay, side_by_side
from btbnet_jax.images.encoding import encode_jpeg, encode_png, encode_png16, write_png
from btbnet_jax.images.files import MAX_PIXELS, PHOTOGRAPH_SUFFIXES, RAW_SUFFIXES, SUFFIXES, ImageError, Source
from btbnet_jax.images.photographs import Photograph, Picture, as_photograph, read_photograph
from btbnet_jax.images.reading import brightest, image_size, is_plain_jpeg, read_image, read_map, read_mask

__all__ = [
    "MAX_PIXELS",
    "PHOTOGRAPH_SUFFIXES",
    "RAW_SUFFIXES",
    "SUFFIXES",
    "ImageError",
    "Photograph",
    "Picture",
    "Source",
    "as_photograph",
    "binary_mask",
    "brightest",
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
