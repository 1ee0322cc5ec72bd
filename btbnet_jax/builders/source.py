"""What all builders share: file format, features, shards, and the checks before and after a build."""

import contextlib
import itertools
import os
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds
from rich.progress import Progress, TaskID

from btbnet_jax.builders.built import check_built, check_origin, write_origin
from btbnet_jax.images import encode_png, is_plain_jpeg, read_image
from btbnet_jax.sources.checks import SourceError
from btbnet_jax.writing import output_folder

Example = tuple[str, dict[str, Any]]


class Recipe(NamedTuple):
    """How the examples of a split are made.

    Attributes:
      items: what they are made of, such as pairs of files.
      make: the examples, one or several, of one item.
      items_per_file: how many go into one file of the built set; TFDS holds them in memory together.
    """

    items: Sequence[Any]
    make: Callable[[Any], list[Example]]
    items_per_file: int


class Info(tfds.core.DatasetInfo):
    """What TFDS knows about a set."""

    def initialize_from_bucket(self) -> None:
        """Keeps TFDS from looking for a new set at Google, which leaves an empty folder among temporary files."""


class SourceBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """A set of images, with masks or without.

    File by file, because TFDS' shuffling of a set above 1 GB needs TensorFlow.
    """

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

    @abstractmethod
    def _recipes(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Recipe]:
        """How each split is made, after all that it is made of was found good."""

    def has_masks(self) -> bool:
        """Whether masks are stored; without them the reader makes several examples of each image."""
        return True

    def origin(self, manual_dir: Path | None) -> dict[str, str]:
        """Returns what the set is built from, where it is not always the same; see `build`.

        Args:
          manual_dir: as of `build`.
        """
        return {}

    def _info(self) -> tfds.core.DatasetInfo:
        features: dict[str, Any] = {"image": tfds.features.Image(shape=(None, None, 3)), "name": tfds.features.Text()}
        if self.has_masks():
            features["mask"] = tfds.features.Image(shape=(None, None, 1))
        return Info(
            builder=self,
            description=self.DESCRIPTION,
            features=tfds.features.FeaturesDict(features),
            homepage=self.HOMEPAGE,
        )

    def _download_and_prepare(self, *arguments: Any, **options: Any) -> None:
        with tempfile.TemporaryDirectory(prefix="btbnet_") as workspace, Progress(transient=True) as self._progress:
            self._workspace = Path(workspace)
            super()._download_and_prepare(*arguments, **options)

    def _log_download_bytes(self) -> None:
        """Keeps TFDS from announcing a download of unknown size: nothing is downloaded."""

    def _log_download_done(self) -> None:
        """Keeps TFDS from announcing what `build`'s callers say."""

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[Callable[[], Iterator[Example]]]]:
        shards = {}
        for split, recipe in self._recipes(dl_manager).items():
            task = self._progress.add_task(split, total=len(recipe.items))
            firsts = range(0, len(recipe.items), recipe.items_per_file)
            parts = [recipe.items[first : first + recipe.items_per_file] for first in firsts]
            shards[split] = [partial(self._shard, recipe.make, part, task) for part in parts]
        return shards

    def _shard(self, make: Callable[[Any], list[Example]], items: Sequence[Any], task: TaskID) -> Iterator[Example]:
        """The examples of one file, made by all cores, a few ahead."""
        cores, iterator = os.cpu_count() or 1, iter(items)
        with ThreadPoolExecutor(cores) as threads:
            while some := list(itertools.islice(iterator, 2 * cores)):
                for examples in threads.map(make, some):
                    yield from examples
                    self._progress.advance(task)

    def _manual_folder(self, dl_manager: tfds.download.DownloadManager) -> Path:
        """The folder that the user put the files into."""
        try:
            return Path(dl_manager.manual_dir)
        except AssertionError as error:  # how TFDS says that it is missing or empty
            raise SourceError(f"{self.name} has nothing to be built from", [str(error)]) from error


def build(builder: SourceBuilder, *, manual_dir: Path | None = None) -> dict[str, int]:
    """Builds a set where it is not built yet, and returns the number of examples of each split.

    Args:
      builder: with its configuration and data folder.
      manual_dir: what the set is built from; None for a set that needs nothing.

    Raises:
      SourceError: the files that were given do not make up the set.
      BuildError: the set did not come out whole, or it is there and was built from something else.
      OSError: the output folder cannot be written into.
    """
    folder, origin = Path(builder.data_path), builder.origin(manual_dir)
    if folder.exists():
        check_origin(folder, origin)
        return check_built(folder)
    if manual_dir is not None and not manual_dir.is_dir():
        what_to_do = f"What to do: {builder.MANUAL_DOWNLOAD_INSTRUCTIONS}"
        raise SourceError(f"{builder.name} has nothing to be built from", [f"{manual_dir} is no folder", what_to_do])
    # TFDS wants a folder for downloads, and nothing comes into it.
    workspace = partial(tempfile.TemporaryDirectory, prefix="btbnet_")
    with output_folder(folder.parent), _tfds_notes(folder), workspace() as downloads:
        config = tfds.download.DownloadConfig(manual_dir=manual_dir)
        builder.download_and_prepare(download_dir=downloads, download_config=config)
    write_origin(folder, origin)
    return check_built(folder)


@contextlib.contextmanager
def _tfds_notes(folder: Path) -> Iterator[None]:
    """Takes away, where the build within fails, the notes that TFDS makes beside the configurations of a set."""
    notes = folder.parents[1] / ".config"
    there = notes.exists()
    try:
        yield
    except BaseException:
        if not there:
            shutil.rmtree(notes, ignore_errors=True)
        raise


def stored_image(path: Path) -> bytes:
    """Returns the bytes of a plain JPEG, anything else as PNG: so that every decoder sees the same pixels."""
    return path.read_bytes() if is_plain_jpeg(path) else encode_png(read_image(path))
