import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image, ImageCms
from raw_sets import noise

from btbnet_jax.images import ImageError, encode_png, encode_png16, read_image, read_photograph, resize_map

GREEN = np.tile(np.array([60, 180, 90], np.uint8), (8, 8, 1))


def saved(array: np.ndarray | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(buffer, kind, **options)
    return buffer.getvalue()


def profile(name: Literal["sRGB", "LAB"]) -> bytes:
    """A profile of the display whose white is not that of sRGB."""
    made = ImageCms.createProfile(name, 4000) if name == "LAB" else ImageCms.createProfile(name)
    return ImageCms.ImageCmsProfile(made).tobytes()


def swapped_primaries() -> bytes:
    """sRGB's own profile with red and green exchanged, under another name."""
    data = bytearray(profile("sRGB"))
    count = int.from_bytes(data[128:132], "big")
    places = {bytes(data[place : place + 4]): place + 4 for place in range(132, 132 + 12 * count, 12)}
    red, green = (data[places[tag] : places[tag] + 8] for tag in (b"rXYZ", b"gXYZ"))
    data[places[b"rXYZ"] : places[b"rXYZ"] + 8], data[places[b"gXYZ"] : places[b"gXYZ"] + 8] = green, red
    return bytes(data).replace("sRGB built-in".encode("utf-16-be"), "swapped three".encode("utf-16-be"))


def test_a_plain_picture_is_that_of_the_data_sets_without_a_word(tmp_path: Path):
    image = noise((7, 9))
    for data in (saved(image), saved(image, "JPEG"), saved(image, "TIFF"), saved(image, icc_profile=profile("sRGB"))):
        photograph = read_photograph(data)
        np.testing.assert_array_equal(photograph.image, read_image(data))
        assert photograph.notes == ()


def test_a_colour_profile_is_applied_and_said():
    photograph = read_photograph(saved(GREEN, icc_profile=swapped_primaries()))
    red, green, blue = photograph.image[0, 0].astype(int)
    assert abs(red - 180) < 6  # what was called green is red
    assert abs(green - 60) < 12
    assert abs(blue - 90) < 6
    assert photograph.notes == ("colours converted from swapped three",)


@pytest.mark.parametrize("data", [b"no profile", profile("sRGB")[:200], profile("LAB")])
def test_a_profile_that_cannot_be_used_is_no_error(data: bytes):
    photograph = read_photograph(saved(GREEN, icc_profile=data))
    np.testing.assert_array_equal(photograph.image, GREEN)
    assert photograph.notes == ("its colour profile cannot be used: pixels taken for sRGB",)


def test_what_was_left_out_or_reduced_is_said():
    frames = [Image.fromarray(noise((6, 6))) for _ in range(3)]
    animated = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read_photograph(animated).notes == ("the first of 3 frames",)
    deep = saved((np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8))
    assert read_photograph(deep).notes == ("16 bits reduced to 8",)
    clear = np.dstack([GREEN, np.tile(np.array([0, 255], np.uint8), (8, 4))])
    photograph = read_photograph(saved(clear))
    assert photograph.notes == ("transparent pixels laid on white",)
    np.testing.assert_array_equal(photograph.image[:, ::2], 255)
    np.testing.assert_array_equal(photograph.image[:, 1::2], GREEN[:, 1::2])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_images_of_pillow_are_taken_in_every_mode(mode: str):
    image = Image.fromarray(np.uint16(GREEN[..., 0]) * 257) if mode == "I;16" else Image.fromarray(GREEN).convert(mode)
    assert read_photograph(image).image.shape == (8, 8, 3)


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_arrays_of_all_common_types_are_taken(shape: tuple[int, ...], dtype: type):
    levels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    scale = {np.uint8: 1, np.uint16: 257}.get(dtype, 1 / 255)
    expected = np.broadcast_to(levels.reshape(5, 6, -1), (5, 6, 3))
    np.testing.assert_array_equal(read_photograph((levels.astype(float) * scale).astype(dtype)).image, expected)


def test_the_fourth_channel_of_an_array_is_its_opacity():
    array = np.zeros((2, 2, 4), np.uint8)
    array[0, :, 3] = 255
    np.testing.assert_array_equal(read_photograph(array).image[:, 0, 0], [0, 255])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 2, 2), np.uint8), r"an array is \[h, w\], .* not \[2, 2, 2\]"),
        (np.zeros((0, 2, 3), np.uint8), "with a pixel"),
        (np.zeros(4, np.uint8), r"not \[4\]"),
        (np.full((2, 2), 1.5), "floating point is from 0 to 1, not from 1.5 to 1.5"),
        (np.full((2, 2), np.nan), "floating point is from 0 to 1"),
        (np.zeros((2, 2), np.int64), "uint8, uint16, or floating point from 0 to 1, not of int64"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, words: str):
    with pytest.raises(ImageError, match=words):
        read_photograph(array)


def test_more_pixels_than_allowed_are_refused_before_they_are_decoded():
    for picture in (noise((10, 10)), encode_png(noise((10, 10)))):
        with pytest.raises(ImageError, match="has 10 × 10 pixels; the limit is 99"):
            read_photograph(picture, max_pixels=99)


def test_a_map_is_resized_without_rounding_to_8_bits():
    ramp = np.tile(np.linspace(0, 0.001, 16, dtype=np.float32), (4, 1))
    larger = resize_map(ramp, (8, 32))
    assert larger.shape == (8, 32)
    assert len(np.unique(larger)) > 20
    np.testing.assert_allclose(resize_map(larger, (4, 16)).mean(), ramp.mean(), rtol=1e-5)
    assert resize_map(ramp, (4, 16)) is ramp


def test_16_bits_are_rounded_to_the_nearest():
    values = np.array([[0, 0.5, 1, 1 / 65535, 1.4 / 65535, 1.6 / 65535]], np.float32)
    levels = np.asarray(Image.open(io.BytesIO(encode_png16(values))))
    np.testing.assert_array_equal(levels, [[0, 32768, 65535, 1, 1, 2]])
