"""A folder of files that are odd or worse, as people's folders hold them, each known to be readable or not.

`hostile_files` writes them; no name of a file that is no picture ends in ``.txt`` or the like, as a folder's search
would leave it out.  Nothing in it needs a right that a test might lack, and none takes more than some MB.
"""

import gzip
import io
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms

NOISE = np.random.default_rng(7).integers(0, 256, (24, 32, 3), np.uint8)
PHOTO = Image.fromarray(NOISE)


class Hostile(NamedTuple):
    """What is in the folder.

    Attributes:
      readable: pictures that have to be read, however odd.
      refused: what has to be refused in words that name it.
    """

    readable: list[Path]
    refused: list[Path]


def hostile_files(folder: Path) -> Hostile:
    """Writes the files into a folder that exists, and returns their paths."""
    readable = [*_written(folder, _odd_pictures()), *_written(folder, _odd_names()), *_good_links(folder)]
    refused = [
        *_written(folder, _no_pictures()),
        *_written(folder, _cut_short()),
        *_written(folder, _damaged()),
        *_written(folder, _too_large()),
        *_no_files(folder),
    ]
    return Hostile(readable, refused)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Returns the bytes of an image's file."""
    buffer = io.BytesIO()
    image.copy().save(buffer, kind, **options)  # Pillow leaves settings of one kind on an image for the next
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """Returns a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *chunks: bytes, bits: int = 8, pixels: bytes = b"") -> bytes:
    """Returns a grey PNG file of these sizes and pixels, which may contradict each other."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def exif(orientation: int, kind: int = 3) -> bytes:
    """Returns EXIF data that hold an orientation and nothing else, as 16 (kind 3) or 32 (kind 4) bits."""
    entry = struct.pack("<HHI", 0x0112, kind, 1) + struct.pack("<I", orientation)
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + b"\0\0\0\0"


def _odd_pictures() -> Iterator[tuple[str, bytes]]:
    grey = PHOTO.convert("L")
    frames = [Image.fromarray(np.roll(NOISE, shift, axis=0)) for shift in range(12)]
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield "one_pixel.png", encoded(Image.new("RGB", (1, 1)), "PNG")
    yield "wide.png", encoded(Image.new("L", (20000, 1)), "PNG")
    yield "tall.jpg", encoded(Image.new("L", (1, 20000)), "JPEG")
    yield "cmyk.jpg", encoded(PHOTO.convert("CMYK"), "JPEG")
    yield "progressive.jpg", encoded(PHOTO, "JPEG", progressive=True)
    yield "grey_16.png", encoded(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000), "PNG")
    yield "grey_16.tif", encoded(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000), "TIFF")
    yield "deep.ppm", b"P6 2 1 65535\n" + bytes(12)
    yield "bilevel.tif", encoded(PHOTO.convert("1"), "TIFF", compression="group4")
    yield "lab.tif", encoded(Image.new("LAB", (4, 4), (128, 128, 128)), "TIFF")
    yield "transparent.png", encoded(Image.new("RGBA", (4, 4), (1, 2, 3, 0)), "PNG")
    yield "palette.png", encoded(PHOTO.quantize(16), "PNG", transparency=bytes(range(16)))
    yield "see_through_grey.png", encoded(grey, "PNG", transparency=9)
    yield "animated.gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    yield "animated.webp", encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    yield "animated.png", encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield "animated_end_cut.gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])[:-20]
    yield "pages.tif", encoded(PHOTO, "TIFF", save_all=True, append_images=[grey.copy()])
    yield "two.mpo.jpg", encoded(PHOTO, "MPO", save_all=True, append_images=[PHOTO])
    yield "lossless.webp", encoded(PHOTO, "WEBP", lossless=True)
    yield "plain.bmp", encoded(PHOTO, "BMP")
    yield "jpeg_named.png", encoded(PHOTO, "JPEG")
    yield "junk_behind.jpg", encoded(PHOTO, "JPEG") + b"junk" * 1000
    yield "broken_icc.jpg", encoded(PHOTO, "JPEG", icc_profile=srgb[:200])
    yield "no_icc.png", encoded(PHOTO, "PNG", icc_profile=b"a profile, or so it says")
    yield "icc_of_zeros.tif", encoded(PHOTO, "TIFF", icc_profile=bytes(128))
    yield "icc_not_packed.png", png(1, 1, chunk(b"iCCP", b"name\0\0not zlib"), pixels=zlib.compress(b"\0\7"))
    yield "icc_of_rgb_on_grey.png", encoded(grey, "PNG", icc_profile=srgb)
    yield "broken_exif.png", encoded(PHOTO, "PNG", exif=b"Exif\0\0garbage, not tags")
    yield "cut_exif.jpg", encoded(PHOTO, "JPEG", exif=exif(6)[:-9])
    yield "orientation_65535.jpg", encoded(PHOTO, "JPEG", exif=exif(65535))
    yield "orientation_4294967295.webp", encoded(PHOTO, "WEBP", exif=exif(2**32 - 1, kind=4))
    yield "empty_chunks.png", png(1, 1, *[chunk(b"teXt", b"")] * 1000, pixels=zlib.compress(b"\0\7"))
    yield "pages_in_a_circle.tif", _circle()


def _circle() -> bytes:
    """A TIFF file whose only page says that it is followed by itself."""
    data = bytearray(encoded(PHOTO, "TIFF"))
    first = struct.unpack_from("<I", data, 4)[0]
    entries = struct.unpack_from("<H", data, first)[0]
    struct.pack_into("<I", data, first + 2 + 12 * entries, first)
    return bytes(data)


def _odd_names() -> Iterator[tuple[str, bytes]]:
    picture = encoded(PHOTO, "PNG")
    yield "😀🏔️.png", picture
    yield "صورة.png", picture
    yield "תמונה \u202egnp.png", picture
    yield "写真.PNG", picture
    yield "e\u0301.png", picture
    yield " leading and trailing .png", picture
    yield "-rf.png", picture
    yield "100%s {0} $HOME *?[a].png", picture
    yield "a\nline.png", picture
    yield f"{'n' * 240}.png", picture
    yield "twice.png", picture
    yield "twice.jpg", encoded(PHOTO, "JPEG")
    yield "Twice.png", picture


def _no_pictures() -> Iterator[tuple[str, bytes]]:
    yield "empty.jpg", b""
    yield "one_byte.png", b"\x89"
    yield "text.jpg", b"This is not a photograph.\n" * 100
    yield "page.png", b"\n<!DOCTYPE html><html><body>404</body></html>"
    yield "drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    yield "packed.jpg", gzip.compress(encoded(PHOTO, "JPEG"), mtime=0)
    yield "archive.jpg", b"PK\x03\x04" + bytes(100)
    yield "document.jpg", b"%PDF-1.7\n" + bytes(100)
    yield "postscript.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    yield "place_holder.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    yield "raw.jpg", b"FUJIFILMCCD-RAW " + bytes(100)
    yield "zeros.png", bytes(5000)
    yield "film.avif", struct.pack(">I", 24) + b"ftypisom" + bytes(40)


def _cut_short() -> Iterator[tuple[str, bytes]]:
    picture = encoded(PHOTO, "JPEG", quality=90)
    for tenth in range(1, 10):
        yield f"cut_at_{tenth}_of_10.jpg", picture[: len(picture) * tenth // 10]
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("AVIF", {})):
        picture = encoded(PHOTO, kind, **options)
        yield f"cut_in_half.{kind.lower()}", picture[: len(picture) // 2]


def _damaged() -> Iterator[tuple[str, bytes]]:
    yield "no_pixel.png", png(0, 0)
    yield "no_pixel.pgm", b"P5 0 3 255 "
    yield "no_data.png", png(8, 8)
    yield "wrong_checksum.png", png(8, 8)[:20] + b"\xff" + png(8, 8)[21:]
    yield "chunk_longer_than_the_file.png", png(8, 8)[:33] + b"\x7f\xff\xff\xffIDAT"
    yield "floating.tif", encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    yield "greys_of_32_bits.tif", encoded(Image.fromarray(np.full((4, 4), 100_000, np.int32)), "TIFF")
    yield "no_page.tif", b"II*\0\0\0\0\0"
    yield "page_beyond_the_end.tif", b"II*\0\xff\xff\xff\x7f"
    yield "preview_of_a_raw.tif", encoded(PHOTO, "TIFF", tiffinfo={254: 1})
    yield "text_of_a_gigabyte.png", png(1, 1, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8))), pixels=b"")


def _too_large() -> Iterator[tuple[str, bytes]]:
    rows = zlib.compressobj(9)
    row = bytes(1 + 16384 // 8)
    yield (
        "bomb.png",
        png(16384, 16384, bits=1, pixels=b"".join(rows.compress(row) for _ in range(16384)) + rows.flush()),
    )
    yield "header_65535.png", png(65535, 65535)
    yield "header_65535_by_3000.png", png(65535, 3000)
    yield "header_of_4_billion.png", png(2**31 - 1, 2**31 - 1)
    yield "header_65535.gif", b"GIF89a\xff\xff\xff\xff\0\0\0" + encoded(PHOTO.quantize(4), "GIF")[13:]
    jpeg = bytearray(encoded(PHOTO, "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = b"\xff\xff\xff\xff"
    yield "header_65535.jpg", bytes(jpeg)
    bmp = bytearray(encoded(PHOTO, "BMP"))
    struct.pack_into("<ii", bmp, 18, 65535, 65535)
    yield "header_65535.bmp", bytes(bmp)


def _good_links(folder: Path) -> Iterator[Path]:
    for name in ("link.png", "link_to_a_link.png"):
        (folder / name).symlink_to("plain.bmp" if name == "link.png" else "link.png")
        yield folder / name


def _no_files(folder: Path) -> Iterator[Path]:
    """A folder, links and a pipe that are named like pictures, and a file that may not be read."""
    for name, target in (("loop.png", "pool.png"), ("pool.png", "loop.png"), ("nowhere.png", "absent.png")):
        (folder / name).symlink_to(target)
        yield folder / name
    (folder / "folder.png").mkdir()
    yield folder / "folder.png"
    (folder / "circle").mkdir()
    (folder / "circle" / "again").symlink_to(folder, target_is_directory=True)
    if sys.platform != "win32":
        os.mkfifo(folder / "pipe.png")
        yield folder / "pipe.png"
        if os.geteuid():  # root may read everything
            (folder / "locked.png").write_bytes(encoded(PHOTO, "PNG"))
            (folder / "locked.png").chmod(0)
            yield folder / "locked.png"


def _written(folder: Path, files: Iterator[tuple[str, bytes]]) -> Iterator[Path]:
    for name, data in files:
        (folder / name).write_bytes(data)
        yield folder / name
