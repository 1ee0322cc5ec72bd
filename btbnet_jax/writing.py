"""Writing a file whole or not at all."""

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
