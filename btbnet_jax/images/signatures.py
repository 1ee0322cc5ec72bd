"""What a file is by its first bytes, for those that Pillow does not know or should not be asked about."""

from collections.abc import Sequence
from typing import Literal

_KNOWN = (
    ((b"<!doctype", b"<html", b"<?xml"), "a web page, not an image: the download failed, get it again with a browser"),
    ((b"<svg",), "a drawing of lines, not an image: save it as PNG"),
    ((b"\x1f\x8b", b"pk\x03\x04", b"7z\xbc\xaf", b"rar!"), "an archive, not an image: unpack it"),
    ((b"%pdf",), "a PDF document, not an image: save its pages as images"),
    ((b"8bps",), "a Photoshop file: save it as TIFF or PNG"),
    ((b"fujifilm", b"iiu\0", b"iiro", b"mmor"), "a raw photograph: develop it first, and save it as TIFF or JPEG"),
    ((b"\xff\x0a", b"\0\0\0\x0cjxl "), "a JPEG XL picture, which is not read: save it as PNG or JPEG"),
    ((b"\0\0\0\x0cjp  ",), "a JPEG 2000 picture, which is not read: save it as PNG or JPEG"),
    ((b"ii*\0", b"mm\0*"), "a TIFF file of a kind that is not read, or a damaged one: save it with 8 or 16 bits"),
    ((b"version https://git-lfs",), "a place holder of Git LFS: fetch the file itself with `git lfs pull`"),
)


def bmff_kind(head: bytes) -> Literal["AVIF", "HEIF", ""]:
    """Returns which of the formats that are boxes of the ISO base media file format begins with these 64 bytes."""
    if head[4:8] != b"ftyp":
        return ""
    brands = head[8 : min(len(head), int.from_bytes(head[:4], "big"))]
    if b"avif" in brands or b"avis" in brands:
        return "AVIF"
    return "HEIF" if any(brand in brands for brand in (b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1")) else ""


def what_it_is(head: bytes, formats: Sequence[str]) -> str:
    """Returns in words what a file is that is no image of these formats.

    Args:
      head: its first 64 bytes, fewer where it has fewer.
      formats: that were tried.
    """
    if not head:
        return "an empty file"
    if head.startswith(b"\x89PNG") and b"\0\0\0\0" in (head[16:20], head[20:24]):
        return "an image without a pixel"
    for beginnings, words in _KNOWN:
        if head.lstrip().lower().startswith(beginnings):
            return words
    if kind := bmff_kind(head):
        return f"a damaged {kind} picture" if kind in formats else f"a picture in {kind}: save it as PNG or JPEG"
    if head[4:8] == b"ftyp":
        return "a film, not an image: save single frames of it"
    return f"not an image, or one without a pixel; it starts with {head[:8]!r} and the formats are {', '.join(formats)}"
