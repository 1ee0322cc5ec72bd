import os
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from btbnet_jax import images
from btbnet_jax.images import ImageError
from tests.hostile_files import encoded

RAMP = Image.fromarray(np.tile(np.arange(0, 256, 8, dtype=np.uint8)[:, None, None], (1, 48, 3)))


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


def test_an_image_error_is_a_value_error_that_pickles():
    assert str(pickle.loads(pickle.dumps(ImageError("a.png: bad")))) == "a.png: bad"
    assert issubclass(ImageError, ValueError)


def test_a_pipe_is_read_and_named_by_what_comes_through_it():
    for data, words in (
        (encoded(Image.new("L", (3, 2)), "PNG"), ""),
        (b"<html>", "a web page"),
        (b"", "an empty file"),
    ):
        reader, writer = os.pipe()
        threading.Thread(target=lambda data=data, end=writer: (os.write(end, data), os.close(end))).start()
        with os.fdopen(reader, "rb") as file:
            if words:
                with pytest.raises(ImageError, match=words):
                    images.read_image(file)
            else:
                assert images.read_image(file).shape == (2, 3, 3)


def test_what_is_no_source_is_refused(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("")
    with path.open() as text:
        wrong: list[Any] = [3, None, [path], text]
        for source in wrong:
            with pytest.raises(TypeError):
                images.read_photograph(source)


@pytest.mark.parametrize("name", ["a\0b.png", "n" * 300])
def test_a_name_that_cannot_be_is_an_image_error(name: str):
    with pytest.raises(ImageError, match="cannot be opened"):
        images.read_image(name)


def test_more_memory_than_there_is_is_an_image_error(monkeypatch: pytest.MonkeyPatch):
    def load(self: Image.Image) -> None:
        raise MemoryError

    data = encoded(Image.new("L", (3, 2)), "PNG")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(ImageError, match="takes more memory than there is"):
        images.read_image(data)


def test_heic_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    with pytest.raises(ImageError, match=r"pip install 'btbnet_jax\[heic\]'"):
        images.read_photograph(data)
    with pytest.raises(ImageError, match="a picture in HEIF: save it as PNG or JPEG"):
        images.read_image(data)  # as data sets, whose images are the same wherever they are built


def test_avif_is_read():
    assert np.abs(images.read_photograph(encoded(RAMP, "AVIF", quality=95)).image - np.asarray(RAMP, float)).mean() < 3


def test_heic_is_read():
    pytest.importorskip("pillow_heif").register_heif_opener()
    photograph = images.read_photograph(encoded(RAMP, "HEIF", quality=95))
    assert np.abs(photograph.image - np.asarray(RAMP, float)).mean() < 3
    assert photograph.notes == ()
