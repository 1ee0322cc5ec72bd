import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from btbnet_jax import images
from btbnet_jax.images import ImageError
from tests.hostile_files import encoded

GRADIENT = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3) * 3


def turned(orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.fromarray(GRADIENT), kind, exif=exif)


def test_a_path_its_name_its_bytes_and_its_open_file_hold_the_same_image(tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(GRADIENT)))
    with path.open("rb") as file:
        for source in (path, str(path), path.read_bytes(), file):
            np.testing.assert_array_equal(images.read_image(source), GRADIENT)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, GRADIENT),
        (2, GRADIENT[:, ::-1]),
        (3, GRADIENT[::-1, ::-1]),
        (4, GRADIENT[::-1]),
        (5, GRADIENT.swapaxes(0, 1)),
        (6, np.rot90(GRADIENT, -1)),
        (7, GRADIENT[::-1, ::-1].swapaxes(0, 1)),
        (8, np.rot90(GRADIENT)),
        (9, GRADIENT),  # there is no such orientation
    ],
)
def test_exif_orientation_is_applied(kind: str, orientation: int, expected: np.ndarray):
    data = encoded(Image.fromarray(GRADIENT), kind, lossless=True, exif=exif_of(orientation))
    np.testing.assert_array_equal(images.read_image(data), expected)
    assert images.image_size(data) == expected.shape[:2]


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def test_16_bit_grey_is_scaled_not_clipped():
    levels = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    data = encoded(Image.fromarray(levels))
    np.testing.assert_array_equal(images.read_mask(data), [[0, 0, 1, 1, 128, 255]])  # nearest to level / 257
    np.testing.assert_array_equal(images.read_image(data)[..., 2], [[0, 0, 1, 1, 128, 255]])


def test_floating_point_pixels_are_refused():
    with pytest.raises(ImageError, match="floating point"):
        images.read_mask(encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"))


def test_a_map_may_have_16_bits_or_floating_point_from_0_to_1():
    levels = np.array([[0, 128, 129, 65535]], np.uint16)
    np.testing.assert_array_equal(images.read_map(encoded(Image.fromarray(levels))), [[0, 0, 1, 255]])
    values = np.array([[0, 0.5, 0.4999 / 255, 1]], np.float32)
    np.testing.assert_array_equal(images.read_map(encoded(Image.fromarray(values), "TIFF")), [[0, 128, 0, 255]])


@pytest.mark.parametrize(
    ("dtype", "level", "white"), [(np.uint8, 7, 255), (np.uint16, 700, 65535), (np.float32, 0.5, 1)]
)
def test_the_brightest_level_of_a_map_is_the_one_in_its_file(dtype: type[np.generic], level: float, white: int):
    values = np.array([[0, level, 0]], dtype)
    assert images.brightest(encoded(Image.fromarray(values), "TIFF")) == (level, white)


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1])
def test_floating_point_outside_0_to_1_is_no_map(value: float):
    values = np.array([[0.5, value]], np.float32)
    with pytest.raises(ImageError, match="a map has values from 0 to 1"):
        images.read_map(encoded(Image.fromarray(values), "TIFF"))


def test_a_map_may_be_grey_in_three_channels_but_not_coloured():
    grey = np.array([[[9, 9, 9], [200, 200, 200]]], np.uint8)
    np.testing.assert_array_equal(images.read_map(encoded(Image.fromarray(grey))), [[9, 200]])
    grey[0, 0, 1] = 10
    for image in (Image.fromarray(grey), Image.fromarray(grey).convert("P", palette=Image.Palette.ADAPTIVE)):
        with pytest.raises(ImageError, match="has colours, and a map is grey"):
            images.read_map(encoded(image))


def test_greys_of_more_than_16_bits_are_refused():
    with pytest.raises(ImageError, match="100000"):
        images.read_mask(encoded(Image.fromarray(np.full((2, 2), 100_000, np.int32)), "TIFF"))


def test_a_palette_gives_its_colours():
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    np.testing.assert_array_equal(images.read_image(encoded(image)), [[[10, 20, 30], [200, 100, 50]]])


def test_a_bilevel_mask_is_black_and_white():
    data = encoded(Image.fromarray(np.array([[True, False]])))
    np.testing.assert_array_equal(images.read_mask(data), [[255, 0]])


def test_cmyk_becomes_rgb():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert images.read_image(encoded(image, "TIFF"))[0, 0].tolist() == [255, 0, 0]


def test_transparent_pixels_of_an_image_are_laid_on_white():
    rgba = np.array([[[9, 9, 9, 0], [10, 20, 30, 255], [0, 0, 0, 51]]], np.uint8)
    data = encoded(Image.fromarray(rgba))
    np.testing.assert_array_equal(images.read_image(data), [[[255] * 3, [10, 20, 30], [204] * 3]])


def test_a_mask_may_have_an_opaque_alpha_channel_but_no_transparent_pixel():
    rgba = np.array([[[255, 255, 255, 255], [0, 0, 0, 255]]], np.uint8)
    np.testing.assert_array_equal(images.read_mask(encoded(Image.fromarray(rgba))), [[255, 0]])
    rgba[0, 0, 3] = 254
    with pytest.raises(ImageError, match="transparent"):
        images.read_mask(encoded(Image.fromarray(rgba)))


def test_the_first_frame_of_an_animation_counts():
    frames = [Image.new("L", (3, 2), level) for level in (50, 200)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.unique(images.read_image(data)).tolist() == [50]


def test_pillows_warnings_about_damaged_exif_do_not_leak():
    exif = bytearray(exif_of(6))
    exif[-6:-2] = b"\xff\xff\xff\xff"
    data = encoded(Image.fromarray(GRADIENT), "JPEG", exif=bytes(exif[: len(exif) // 2]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images.read_image(data)
    assert caught == []


def test_many_threads_read_the_same():
    data, failures, filters = turned(6, "PNG"), [], list(warnings.filters)

    def read() -> None:
        for _ in range(20):
            if not np.array_equal(images.read_image(data), np.rot90(GRADIENT, -1)):
                failures.append(1)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(warnings.filters) == filters


def test_only_an_upright_rgb_jpeg_is_plain():
    rgb = Image.fromarray(GRADIENT)
    assert images.is_plain_jpeg(encoded(rgb, "JPEG"))
    assert images.is_plain_jpeg(turned(1, "JPEG"))
    assert not images.is_plain_jpeg(turned(6, "JPEG"))
    assert not images.is_plain_jpeg(encoded(rgb.convert("L"), "JPEG"))
    assert not images.is_plain_jpeg(encoded(rgb.convert("CMYK"), "JPEG"))
    assert not images.is_plain_jpeg(encoded(rgb))
