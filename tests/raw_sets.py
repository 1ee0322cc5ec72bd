"""Made-up data sets in the layouts that their authors publish, with images of a few pixels."""

import shutil
import zipfile
from pathlib import Path

import numpy as np

from btbnet_jax.images import encode_png

RNG = np.random.default_rng(0)


def mask(*, white: float, size: tuple[int, int] = (8, 8)) -> np.ndarray:
    """A mask whose left part is white, `white` of its width."""
    return np.tile(np.where(np.arange(size[1]) < white * size[1], 255, 0).astype(np.uint8), (size[0], 1))


def noise(size: tuple[int, int] = (8, 8)) -> np.ndarray:
    """An image that looks like no other."""
    return RNG.integers(0, 256, (*size, 3), np.uint8)


def write_shi(root: Path, *, white: float = 0.75, suffix: str = ".png") -> Path:
    """Writes `image` with 704 + 296 images and `gt` with their masks; three quarters blurred, which is white."""
    (root / "image").mkdir(parents=True)
    (root / "gt").mkdir()
    image, truth = encode_png(noise()), encode_png(mask(white=white))
    names = [f"out_of_focus{n:04d}" for n in range(1, 705)] + [f"motion{n:04d}" for n in range(1, 297)]
    for name in names:
        (root / "image" / f"{name}{suffix}").write_bytes(image)
        (root / "gt" / f"{name}.png").write_bytes(truth)
    return root


def write_numbered(root: Path, folders: tuple[str, str], count: int, *, white: float = 0.25) -> Path:
    """Writes a folder of images 1, 2, 3, … and one of their masks, as DUT's are; a quarter in focus, white."""
    for folder, content in zip(folders, (noise(), mask(white=white)), strict=True):
        (root / folder).mkdir(parents=True)
        data = encode_png(content)
        for number in range(1, count + 1):
            (root / folder / f"{number}.png").write_bytes(data)
    return root


def zipped(folder: Path, archive: Path) -> Path:
    """Packs a folder, itself included, and deletes it; with what macOS adds."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as members:
        for path in sorted(folder.rglob("*")):
            members.write(path, path.relative_to(folder.parent))
            members.writestr(f"__MACOSX/{path.parent.name}/._{path.name}", b"resources")
    shutil.rmtree(folder)
    return archive
