"""What all builders share: file format, features, and the checks before and after a build."""

import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import tensorflow_datasets as tfds

from btbnet_jax.builders.built import check_built, check_writable
from btbnet_jax.images import encode_png, is_plain_jpeg, read_image
from btbnet_jax.sources.checks import SourceError

Example = tuple[str, dict[str, Any]]
_T = TypeVar("_T")


class SourceBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A set of images, with masks or without."""

    VERSION = tfds.core.Version("1.0.0")
    DESCRIPTION = ""
    HOMEPAGE = ""

    def __init__(self, *, file_format: Any = None, **options: Any) -> None:
        """Makes a builder; the options are those of TFDS, whose default file format needs TensorFlow.

        Raises:
          BuildError: the set is there, but was built in part.
        """
        super().__init__(file_format=file_format or "array_record", **options)
        if self.data_path.exists():
            check_built(Path(self.data_path))

    def _download_and_prepare(self, *arguments: Any, **options: Any) -> None:
        with tempfile.TemporaryDirectory(prefix="btbnet_") as workspace:
            self._workspace = Path(workspace)
            super()._download_and_prepare(*arguments, **options)

    def _manual_folder(self, dl_manager: tfds.download.DownloadManager) -> Path:
        """The folder that the user put the files into."""
        try:
            return Path(dl_manager.manual_dir)
        except AssertionError as error:  # how TFDS says that it is missing or empty
            raise SourceError(f"{self.name} has nothing to be built from", [str(error)]) from error

    def _has_masks(self) -> bool:
        return True

    def _info(self) -> tfds.core.DatasetInfo:
        features: dict[str, Any] = {"image": tfds.features.Image(shape=(None, None, 3)), "name": tfds.features.Text()}
        if self._has_masks():
            features["mask"] = tfds.features.Image(shape=(None, None, 1))
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=tfds.features.FeaturesDict(features),
            homepage=self.HOMEPAGE,
        )

    def _generate_examples(self, examples: Iterable[Example]) -> Iterator[Example]:
        yield from examples


def build(builder: SourceBuilder, *, manual_dir: Path | None = None) -> dict[str, int]:
    """Builds a set where it is not built yet, and returns the number of examples of each split.

    Args:
      builder: with its configuration and data folder.
      manual_dir: what the set is built from; None for a set that needs nothing.

    Raises:
      SourceError: the files that were given do not make up the set.
      BuildError: the output folder cannot be written, or the set did not come out whole.
    """
    check_writable(Path(builder.data_path).parent)
    with tempfile.TemporaryDirectory(prefix="btbnet_") as downloads:  # TFDS makes it, and nothing comes into it
        config = tfds.download.DownloadConfig(manual_dir=manual_dir)
        builder.download_and_prepare(download_dir=downloads, download_config=config)
    return check_built(Path(builder.data_path))


def stored_image(path: Path) -> bytes:
    """Returns the bytes of a plain JPEG, anything else as PNG: so that every decoder sees the same pixels."""
    return path.read_bytes() if is_plain_jpeg(path) else encode_png(read_image(path))


def in_threads(make: Callable[[Any], _T], items: Iterable[Any]) -> Iterator[_T]:
    """Yields `make` of each item in order, made by all cores, a few ahead."""
    iterator, cores = iter(items), os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as threads:
        while some := list(itertools.islice(iterator, 2 * cores)):
            yield from threads.map(make, some)
