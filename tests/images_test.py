import io
import pickle
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from btbnet_jax import images
from btbnet_jax.images import ImageError

GRADIENT = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3) * 3


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_a_truncated_file_is_named_as_damaged(tmp_path: Path, kind: str):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    path = tmp_path / "cut.img"
    for length in (len(data) // 2, len(data) * 9 // 10):
        path.write_bytes(data[:length])
        with pytest.raises(ImageError, match=r"cut\.img"):
            images.read_image(path)


def test_an_error_names_the_file_and_says_what_it_is(tmp_path: Path):
    path = tmp_path / "a.jpg"
    for content, words in (
        (b"", "empty"),
        (b"  <!DOCTYPE html><html>", "web page"),
        (b"GIF89 or so", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),  # would start another program
    ):
        path.write_bytes(content)
        with pytest.raises(ImageError, match=rf"a\.jpg: .*{words}"):
            images.read_image(path)


def test_an_absent_file_is_not_an_image_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        images.read_image(tmp_path / "absent.png")


def test_an_image_without_a_pixel_is_refused():
    png = bytearray(encoded(Image.new("L", (3, 3))))
    png[16:20] = b"\0\0\0\0"
    for data in (bytes(png), b"P5 0 3 255 "):
        with pytest.raises(ImageError, match="without a pixel"):
            images.read_image(data)


def test_images_over_the_limit_of_pixels_are_refused_before_decoding():
    data = encoded(Image.new("L", (50, 20)))
    assert images.read_image(data, max_pixels=1000).shape == (20, 50, 3)
    for read in (images.read_image, images.read_mask, images.image_size):
        with pytest.raises(ImageError, match=r"20 × 50 .* 999"):
            read(data, max_pixels=999)


def test_the_limit_is_ours_and_pillow_keeps_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for kind in ("PNG", "TIFF", "GIF"):
        assert images.read_image(encoded(Image.new("L", (50, 20)), kind)).shape == (20, 50, 3)
    assert Image.MAX_IMAGE_PIXELS == 10


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


def test_resizing_keeps_constants_and_means_and_antialiases():
    constant = np.full((7, 5, 3), 77, np.uint8)
    np.testing.assert_array_equal(images.resize_image(constant, (3, 11)), np.full((3, 11, 3), 77))
    stripes = np.tile(np.array([0, 255], np.uint8), (16, 8))
    small = images.resize_image(stripes, (4, 4))
    assert small.shape == (4, 4)
    assert np.abs(small[:, 1:-1].astype(int) - 127).max() <= 1  # without antialiasing they are 0 or 255


def test_quantising_rounds_half_up():
    levels = images.quantise(np.array([0, 0.00195, 0.00197, 0.5, 1], np.float32))
    assert levels.tolist() == [0, 0, 1, 128, 255]  # floor(255 m + 0.5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01, 255])
def test_quantising_refuses_what_is_no_map(value: float):
    with pytest.raises(ValueError, match="from 0 to 1"):
        images.quantise(np.array([0.5, value], np.float32))


@pytest.mark.parametrize("array", [GRADIENT, GRADIENT[..., 0]])
def test_a_written_png_reads_back_bit_for_bit(tmp_path: Path, array: np.ndarray):
    images.write_png(tmp_path / "a.png", array)
    read = images.read_image if array.ndim == 3 else images.read_mask
    np.testing.assert_array_equal(read(tmp_path / "a.png"), array)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0, 3), (3, 3, 4), (3,)])
def test_a_png_of_no_image_is_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="1 pixel or more"):
        images.encode_png(np.zeros(shape, np.uint8))


def test_an_image_error_is_a_value_error_that_pickles():
    assert str(pickle.loads(pickle.dumps(ImageError("a.png: bad")))) == "a.png: bad"
    assert issubclass(ImageError, ValueError)
