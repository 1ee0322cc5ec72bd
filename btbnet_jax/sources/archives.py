"""Archives as people download them."""

import lzma
import tarfile
import zipfile
import zlib
from pathlib import Path

from btbnet_jax.images import SUFFIXES

_TAR_SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
_FOREIGN_SUFFIXES = (".rar", ".7z")
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, RuntimeError, NotImplementedError),
)


def archives_in(folder: Path) -> list[Path]:
    """Returns the archives in a folder and in the folders within it."""
    suffixes = (".zip", *_TAR_SUFFIXES, *_FOREIGN_SUFFIXES)
    files = (path for path in sorted(folder.rglob("*")) if not path.name.startswith("."))
    return [path for path in files if path.is_file() and path.name.lower().endswith(suffixes)]


def unpack(archives: list[Path], workspace: Path) -> tuple[list[Path], list[str]]:
    """Returns one folder for each archive, made in the workspace, and a line for each that cannot be unpacked.

    The folders hold the images of the archives, those of a damaged one as far as they could be read.
    """
    folders, problems = list[Path](), list[str]()
    for number, archive in enumerate(archives):
        # The last part is the archive's name: some people's tools pack files without the folder around them.
        folder = workspace / str(number) / archive.name.split(".")[0]
        folder.mkdir(parents=True)
        folders.append(folder)
        try:
            _unpack(archive, folder)
        except _DAMAGE as error:
            problems.append(f"{archive}: {_what_is_wrong(archive, error)}")
    return folders, problems


def _unpack(archive: Path, folder: Path) -> None:
    name = archive.name.lower()
    if name.endswith(_FOREIGN_SUFFIXES):
        raise NotImplementedError("only .zip and .tar files are read: unpack it by hand")
    if name.endswith(".zip"):
        with zipfile.ZipFile(archive) as members:
            for member in members.namelist():
                if member.lower().endswith(SUFFIXES):
                    members.extract(member, folder)
    else:
        with tarfile.open(archive) as members:
            for member in members:
                if member.isfile() and member.name.lower().endswith(SUFFIXES):
                    members.extract(member, folder, filter="data")


def _what_is_wrong(archive: Path, error: Exception) -> str:
    with archive.open("rb") as file:
        head = file.read(64).lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page saved under an archive's name: the download failed, get it again with a browser"
    if not head:
        return "empty: the download failed, get it again"
    reason, *_ = str(error).splitlines() or [type(error).__name__]
    return f"cannot be unpacked, perhaps it was cut short: {reason}"
