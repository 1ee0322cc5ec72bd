"""TFDS builders of the data sets; `datasets/` gives them the official folders, and our command runs them.

Every built set has the features ``image`` (a plain JPEG as it came, anything else as PNG), ``mask`` (grey PNG,
in focus = 255) and ``name``.  A set without ``mask`` holds clear images, for the reader to blur.  The files
are array_record, which needs no TensorFlow to write or to read.
"""

import dataclasses
import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import tensorflow_datasets as tfds
from absl import logging

from btbnet_jax.built import check_built, check_writable
from btbnet_jax.images import encode_png, is_plain_jpeg, read_image, read_mask
from btbnet_jax.sources import dut, shi
from btbnet_jax.sources.archives import archives_in, unpack
from btbnet_jax.sources.checks import Findings, Pair, SourceError, check_pairs

Example = tuple[str, dict[str, Any]]
_T = TypeVar("_T")


class SourceBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """What the builders share: the file format, the features, and the checks before and after."""

    VERSION = tfds.core.Version("1.0.0")
    DESCRIPTION = ""
    HOMEPAGE = ""

    def __init__(self, *, file_format: str | None = None, **options: Any) -> None:
        """Makes a builder; the options are those of TFDS."""
        super().__init__(file_format=file_format or "array_record", **options)

    def download_and_prepare(self, **options: Any) -> None:
        """Builds the set where it is not built yet; the options are those of TFDS.

        Raises:
          SourceError: the files that were given do not make up the set.
          BuildError: the output folder cannot be written, or holds a set that was built in part.
        """
        directory = Path(self.data_path)
        check_writable(directory.parent)
        if directory.exists():
            check_built(directory)
        with tempfile.TemporaryDirectory(prefix="btbnet_") as workspace:
            self._workspace = Path(workspace)
            super().download_and_prepare(**options)
        check_built(directory)

    def _info(self) -> tfds.core.DatasetInfo:
        image, mask = tfds.features.Image(shape=(None, None, 3)), tfds.features.Image(shape=(None, None, 1))
        features = {"image": image, "name": tfds.features.Text()} | ({"mask": mask} if self._has_masks() else {})
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=tfds.features.FeaturesDict(features),
            homepage=self.HOMEPAGE,
        )

    def _has_masks(self) -> bool:
        return True

    def _generate_examples(self, examples: Iterable[Example]) -> Iterator[Example]:
        yield from examples


class PairBuilder(SourceBuilder, skip_registration=True):
    """A set of published images and masks."""

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Example]]:
        folder = Path(dl_manager.manual_dir)
        findings = self._find((folder,))
        if findings.problems and (archives := archives_in(folder)):
            findings = self._find((folder, *unpack(archives, self._workspace)))
        return self._checked(findings)

    def _find(self, roots: Sequence[Path]) -> Findings:
        raise NotImplementedError

    def _checked(self, findings: Findings, *, check_polarity: bool = True) -> dict[str, Iterator[Example]]:
        """The examples of each split, after all files were found good."""
        found = list(itertools.chain(*findings.splits.values()))
        if problems := findings.problems + check_pairs(found, check_polarity=check_polarity):
            raise SourceError(f"{self.name} cannot be built", [*problems, f"to do: {self.MANUAL_DOWNLOAD_INSTRUCTIONS}"])
        for note in findings.notes:
            logging.warning("%s: %s", self.name, note)
        return {split: self._generate_examples(_in_threads(_pair_example, of)) for split, of in findings.splits.items()}


class ShiBuilder(PairBuilder, skip_registration=True):
    """Shi's photographs."""

    name = "shi"
    DESCRIPTION = shi.__doc__ or ""
    HOMEPAGE = "http://www.cse.cuhk.edu.hk/~leojia/projects/dblurdetect/dataset.html"
    MANUAL_DOWNLOAD_INSTRUCTIONS = shi.HOW_TO_GET

    def _find(self, roots: Sequence[Path]) -> Findings:
        return shi.find_shi(roots)


class DutBuilder(PairBuilder, skip_registration=True):
    """DUT's photographs."""

    name = "dut"
    DESCRIPTION = dut.__doc__ or ""
    HOMEPAGE = "http://ice.dlut.edu.cn/ZhaoWenda/BTBCRLNet.html"
    MANUAL_DOWNLOAD_INSTRUCTIONS = dut.HOW_TO_GET

    def _find(self, roots: Sequence[Path]) -> Findings:
        return dut.find_dut(roots)


def _pair_example(pair: Pair) -> Example:
    mask = read_mask(pair.mask)
    return pair.name, {
        "image": _stored(pair.image),
        "mask": encode_png(mask if pair.focus_is_white else 255 - mask),
        "name": pair.name,
    }


def _stored(path: Path) -> bytes:
    """The bytes of a plain JPEG, or the image as PNG, so that every decoder sees the same pixels."""
    return path.read_bytes() if is_plain_jpeg(path) else encode_png(read_image(path))


def _in_threads(make: Callable[[Any], _T], items: Iterable[Any]) -> Iterator[_T]:
    """`make` of each item in order, a few at a time, so that memory stays bounded."""
    iterator = iter(items)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        while some := list(itertools.islice(iterator, 2 * (os.cpu_count() or 1))):
            yield from threads.map(make, some)
