import io
import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image, ImageCms

from btbnet_jax.images import ImageError, as_photograph, encode_png, read_image, read_photograph
from tests.hostile_files import exif
from tests.raw_sets import noise

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
    plain = [saved(image), saved(image, icc_profile=profile("sRGB"))]
    plain += [saved(image, kind) for kind in ("JPEG", "TIFF", "BMP", "PPM")]
    plain += [saved(image[..., 0], "PPM"), saved(Image.fromarray(image).convert("1"), "PPM")]  # PGM and PBM
    for data in plain:
        photograph = read_photograph(data)
        np.testing.assert_array_equal(photograph.image, read_image(data))
        assert photograph.notes == ()


def test_data_sets_take_all_pixels_for_srgb():
    np.testing.assert_array_equal(read_image(saved(GREEN, icc_profile=swapped_primaries())), GREEN)


def test_a_colour_profile_is_applied_and_said():
    photograph = read_photograph(saved(GREEN, icc_profile=swapped_primaries()))
    red, green, blue = photograph.image[0, 0].astype(int)
    assert abs(red - 180) < 6  # what was called green is red
    assert abs(green - 60) < 12
    assert abs(blue - 90) < 6
    assert photograph.notes == ('colour profile "swapped three" converted to sRGB',)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no profile", "the colour profile is damaged"),
        (profile("sRGB")[:200], "the colour profile is damaged"),
        (profile("LAB"), 'colour profile "Lab identity built-in" is for other pixels than RGB'),
    ],
)
def test_a_profile_that_cannot_be_used_is_no_error(data: bytes, words: str):
    photograph = read_photograph(saved(GREEN, icc_profile=data))
    np.testing.assert_array_equal(photograph.image, GREEN)
    assert photograph.notes == (f"{words}: pixels taken for sRGB",)


def test_what_was_left_out_or_reduced_is_said():
    frames = [Image.fromarray(noise((6, 6))) for _ in range(3)]
    animated = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read_photograph(animated).notes == ("animated: the first of 3 frames",)
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


def test_an_array_becomes_an_image_of_its_own_order_of_bytes_and_of_rows():
    levels = noise((5, 6))
    np.testing.assert_array_equal(as_photograph(levels.astype(">u2") * np.uint16(257)), levels)
    np.testing.assert_array_equal(as_photograph(levels[::-1, :, ::-1]), levels[::-1, :, ::-1])
    half = np.array([[0, 0.5, 1]], np.float16)
    assert as_photograph(half)[..., 0].tolist() == [[0, 128, 255]]


def test_an_image_of_pillow_is_upright_in_srgb_and_left_as_it_was():
    data = saved(GREEN[:4], "JPEG", exif=exif(6), icc_profile=swapped_primaries(), quality=100)
    image = Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(read_photograph(image).image, read_photograph(data).image)
    assert read_photograph(image).image.shape == (8, 4, 3)
    assert (image.size, image.mode) == ((8, 4), "RGB")
    with pytest.raises(ImageError, match=r"image of Pillow: has 8 × 8 pixels; the limit is 63"):
        read_photograph(Image.fromarray(GREEN), max_pixels=63)


def test_the_colours_of_transparent_pictures_are_converted_too():
    clear = np.dstack([GREEN, np.tile(np.array([0, 255], np.uint8), (8, 4))])
    opaque = read_photograph(saved(GREEN, icc_profile=swapped_primaries())).image
    palette = Image.fromarray(GREEN).quantize(2)
    for picture in (saved(clear, icc_profile=swapped_primaries()), saved(clear, "WEBP", lossless=True)):
        image = read_photograph(picture).image
        np.testing.assert_array_equal(image[:, ::2], 255)
    converted = read_photograph(saved(clear, icc_profile=swapped_primaries())).image
    np.testing.assert_array_equal(converted[:, 1::2], opaque[:, 1::2])
    faint = saved(palette, icc_profile=swapped_primaries(), transparency=bytes([255, 0]))
    np.testing.assert_array_equal(read_photograph(faint).image, opaque)


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_a_profile_of_greys_is_for_greys(mode: str):
    linear = profile_of_greys(1.0)
    levels = np.array([[0, 55, 128, 255]], np.uint8)
    deep = mode == "I;16"
    image = Image.fromarray(levels.astype(np.uint16) * 257) if deep else Image.fromarray(levels).convert(mode)
    photograph = read_photograph(saved(image, icc_profile=linear))
    assert 'colour profile "linear grey" converted to sRGB' in photograph.notes
    # IEC 61966-2-1: 1.055 c^(1 / 2.4) - 0.055 of 55 / 255 and of 128 / 255
    np.testing.assert_allclose(photograph.image[0, :, 1], [0, 128, 188, 255], atol=1)
    wrong = read_photograph(saved(GREEN, icc_profile=linear))
    np.testing.assert_array_equal(wrong.image, GREEN)
    assert wrong.notes == ('colour profile "linear grey" is for other pixels than RGB: pixels taken for sRGB',)


def test_a_profile_cannot_speak_to_the_terminal():
    data = swapped_primaries().replace("swapped three".encode("utf-16-be"), "a\x1b[2J\nb      ".encode("utf-16-be"))
    assert read_photograph(saved(GREEN, icc_profile=data)).notes == ('colour profile "a[2J b" converted to sRGB',)


def profile_of_greys(gamma: float) -> bytes:
    """A grey profile of version 2, "linear grey" by name, whose light is the level to the power of `gamma`."""
    text = b"linear grey"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text) + 1) + text + bytes(1 + 4 + 4 + 2 + 1 + 67),
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061),  # D50, in 65536ths
        b"kTRC": b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)),
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, tag in tags.items():
        table += name + struct.pack(">II", start + len(body), len(tag))
        body += tag + bytes(-len(tag) % 4)
    size = struct.pack(">I", start + len(body))
    head = size + bytes(4) + b"\x02\x10\0\0mntrGRAYXYZ " + bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body
