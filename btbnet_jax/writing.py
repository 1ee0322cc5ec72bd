"""Writing files whole or not at all, into folders that can be written to."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file in one step: nobody finds half of it, and a full disk leaves the one that was there.

    Args:
      path: of the file, whose folder exists; what is there is replaced.
      data: all that it will hold.

    Raises:
      OSError: it could not be written.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def output_folder(path: Path) -> Iterator[None]:
    """Sees to it, before the work within, that a folder can be written into; makes it where it is not there.

    Where the work fails before anything was written, folders that were made are taken away again.

    Raises:
      OSError: it cannot be made or written into; the text says so.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OSError(f"cannot write into {path}: {error.strerror or error}; choose another folder") from error
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # the first that holds something stays, with all above it
            for folder in made:
                folder.rmdir()
        raise
