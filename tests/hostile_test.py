"""Odd and hostile files: each is read, or refused in words that name it."""

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from btbnet_jax.images import ImageError, image_size, read_image, read_photograph
from tests.hostile_files import Hostile, encoded, hostile_files, png


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    return hostile_files(tmp_path_factory.mktemp("hostile"))


def test_there_are_enough_of_them(hostile: Hostile):
    assert len(hostile.readable) + len(hostile.refused) >= 60
    assert len({path.name for path in hostile.readable + hostile.refused}) == len(hostile.readable + hostile.refused)


def test_odd_pictures_are_read(hostile: Hostile):
    for path in hostile.readable:
        image = read_photograph(path).image
        assert image.size, path
        assert image.shape == (*image_size(path), 3) if path.name != "broken_exif.png" else True, path


def test_what_is_no_picture_is_refused_by_its_name(hostile: Hostile):
    for path in hostile.refused:
        with pytest.raises(ImageError) as caught:
            read_photograph(path)
        said = str(caught.value)
        assert said.startswith(f"{path}: "), said
        assert len(said) > len(f"{path}: ") + 10, said


def test_data_sets_refuse_it_too(hostile: Hostile):
    for path in hostile.refused:
        if path.name != "preview_of_a_raw.tif":  # which is a picture all the same
            with pytest.raises(ImageError, match=r": "):
                read_image(path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty.jpg", "an empty file"),
        ("page.png", "a web page"),
        ("packed.jpg", "an archive, not an image: unpack it"),
        ("document.jpg", "a PDF document"),
        ("place_holder.jpg", "git lfs pull"),
        ("raw.jpg", "develop it first"),
        ("preview_of_a_raw.tif", "develop it first"),
        ("cut_at_5_of_10.jpg", "damaged or cut short"),
        ("bomb.png", "has 16384 × 16384 pixels; the limit is 200,000,000: .*--max-pixels"),
        ("header_65535.jpg", "has 65535 × 65535 pixels"),
        ("floating.tif", "floating point pixels.*: save it with 8 or 16 bits"),
        ("folder.png", "a folder, not a file"),
        ("nowhere.png", "a symbolic link that leads nowhere"),
        ("loop.png", "a symbolic link that leads nowhere"),
        ("pipe.png", "a pipe or a device"),
    ],
)
def test_a_refusal_says_what_it_is_and_what_to_do(hostile: Hostile, name: str, words: str):
    path = next(path for path in hostile.refused if path.name == name)
    with pytest.raises(ImageError, match=words):
        read_photograph(path)


@pytest.mark.parametrize(
    ("name", "notes"),
    [
        ("animated.gif", ("animated: the first of 12 frames",)),
        ("animated.webp", ("animated: the first of 12 frames",)),
        ("animated.png", ("animated: the first of 12 frames",)),
        ("animated_end_cut.gif", ("animated: the first of 12 frames",)),
        ("pages.tif", ("the first of 2 pictures in the file",)),
        ("two.mpo.jpg", ("the first of 2 pictures in the file",)),
        ("pages_in_a_circle.tif", ()),
        ("cmyk.jpg", ("CMYK without a colour profile: its colours are a guess",)),
        ("grey_16.png", ("16 bits reduced to 8",)),
        ("grey_16.tif", ("16 bits reduced to 8",)),
        ("deep.ppm", ("16 bits reduced to 8",)),
        ("palette.png", ("transparent pixels laid on white",)),
        ("broken_icc.jpg", ("the colour profile is damaged: pixels taken for sRGB",)),
        ("icc_not_packed.png", ("the colour profile is damaged: pixels taken for sRGB",)),
        ("icc_of_rgb_on_grey.png", ()),
        ("broken_exif.png", ("the EXIF data are damaged: taken for upright",)),
        ("orientation_65535.jpg", ()),
    ],
)
def test_what_was_done_to_an_odd_picture_is_said(hostile: Hostile, name: str, notes: tuple[str, ...]):
    path = next(path for path in hostile.readable if path.name == name)
    assert read_photograph(path).notes == notes


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "AVIF"])
def test_no_flipped_bytes_raise_anything_but_an_image_error(kind: str):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (12, 9, 3), np.uint8))
    good = encoded(image, kind, **({} if kind in ("BMP", "PPM", "GIF") else {"icc_profile": bytes(range(150))}))
    for _ in range(300):
        data = bytearray(good)
        for place in rng.integers(0, len(data), 4):
            data[place] = rng.integers(256)
        with contextlib.suppress(ImageError):
            read_photograph(bytes(data), max_pixels=10**6)


def test_a_header_alone_takes_no_memory(tmp_path: Path):
    path = tmp_path / "header.png"
    path.write_bytes(png(65535, 3000))  # 197 million pixels, and none is there
    code = (
        "import resource, sys\n"
        "from btbnet_jax.images import ImageError, read_photograph\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "try:\n    read_photograph(sys.argv[1])\n"
        "except ImageError:\n    print(peak() - before)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 40_000, f"{result.stdout} kB"
