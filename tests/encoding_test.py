import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from btbnet_jax import images
from btbnet_jax.sources import generated

GRADIENT = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3) * 3


def test_the_smallest_file_has_the_same_pixels_in_fewer_bytes():
    scene = generated.scene("test", 0)
    for usual, smallest in (
        (images.encode_png(scene), images.encode_png(scene, smallest=True)),
        (images.encode_jpeg(scene, 80), images.encode_jpeg(scene, 80, smallest=True)),
    ):
        assert len(smallest) < len(usual)
        np.testing.assert_array_equal(images.read_image(smallest), images.read_image(usual))


@pytest.mark.parametrize("array", [GRADIENT, GRADIENT[..., 0]])
def test_a_written_png_reads_back_bit_for_bit(tmp_path: Path, array: np.ndarray):
    images.write_png(tmp_path / "a.png", array)
    read = images.read_image if array.ndim == 3 else images.read_mask
    np.testing.assert_array_equal(read(tmp_path / "a.png"), array)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0, 3), (3, 3, 4), (3,)])
def test_a_png_of_no_image_is_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="1 pixel or more"):
        images.encode_png(np.zeros(shape, np.uint8))


def levels_of(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    assert image.mode == "I;16"
    return np.asarray(image)


def test_16_bits_are_rounded_to_the_nearest():
    values = np.array([[0, 0.5, 1, 1 / 65535, 1.4 / 65535, 1.6 / 65535]], np.float32)
    np.testing.assert_array_equal(levels_of(images.encode_png16(values)), [[0, 32768, 65535, 1, 1, 2]])


def test_every_level_of_16_bits_comes_back():
    levels = np.arange(65536, dtype=np.float64).reshape(256, 256)
    np.testing.assert_array_equal(levels_of(images.encode_png16(levels / 65535)), levels)


@pytest.mark.parametrize("value", [np.nan, -0.001, 1.001, np.inf])
def test_what_is_no_map_is_refused(value: float):
    with pytest.raises(ValueError, match="from 0 to 1"):
        images.encode_png16(np.array([[0.5, value]], np.float32))


@pytest.mark.parametrize("shape", [(0, 3), (3,), (3, 3, 1)])
def test_a_16_bit_png_of_no_map_is_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="1 pixel or more"):
        images.encode_png16(np.zeros(shape, np.float32))
