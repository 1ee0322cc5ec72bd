"""Builders of images with published masks: Shi's set, DUT, and anyone's own."""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import tensorflow_datasets as tfds
from absl import logging

from btbnet_jax.builders.built import made_of
from btbnet_jax.builders.source import Example, Recipe, SourceBuilder, stored_image
from btbnet_jax.images import encode_png, read_mask
from btbnet_jax.sources import dut, pairs, shi
from btbnet_jax.sources.archives import archives_in, unpack
from btbnet_jax.sources.checks import Findings, Pair, SourceError, check_pairs
from btbnet_jax.sources.folders import is_image_file


class PairBuilder(SourceBuilder, skip_registration=True):
    """A set of images and their masks, all of which are checked before anything is written.

    Attributes:
      OPTIONAL: splits that not everybody has the files of.
    """

    OPTIONAL: ClassVar[frozenset[str]] = frozenset()

    def _find(self, roots: Sequence[Path]) -> Findings:
        raise NotImplementedError

    def _recipes(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Recipe]:
        folder = self._manual_folder(dl_manager)
        findings = self._find((folder,))
        incomplete = findings.problems or self.OPTIONAL - findings.splits.keys()
        if incomplete and (archives := archives_in(folder)):
            folders, broken = unpack(archives, self._workspace)
            findings = self._find((folder, *folders))
            (findings.problems or findings.notes).extend(broken)  # an archive that is not needed is no problem
        return self._checked(findings)

    def _checked(self, findings: Findings, *, check_polarity: bool = True) -> dict[str, Recipe]:
        """How each split is made, where all its files are good."""
        found = list(itertools.chain(*findings.splits.values()))
        if problems := findings.problems + check_pairs(found, check_polarity=check_polarity):
            raise SourceError(
                f"{self.name} cannot be built", [*problems, f"What to do: {self.MANUAL_DOWNLOAD_INSTRUCTIONS}"]
            )
        for note in findings.notes:
            logging.warning("%s: %s", self.name, note)
        return {name: Recipe(split, _examples, items_per_file=50) for name, split in findings.splits.items()}


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

    OPTIONAL = frozenset({"train"})
    name = "dut"
    DESCRIPTION = dut.__doc__ or ""
    HOMEPAGE = "http://ice.dlut.edu.cn/ZhaoWenda/BTBCRLNet.html"
    MANUAL_DOWNLOAD_INSTRUCTIONS = dut.HOW_TO_GET

    def _find(self, roots: Sequence[Path]) -> Findings:
        return dut.find_dut(roots)


@dataclasses.dataclass(eq=False)
class PairsConfig(tfds.core.BuilderConfig):
    """Which files make up a set of one's own.

    Attributes:
      focus: the masks' grey that means in focus.
      images: folder of images, or None: then the manual folder holds ``images``, ``masks`` and, where splits are
        wanted, ``train.txt`` and ``test.txt``.
      masks: folder of masks.
      train_names: file that names the training examples.
      test_names: file that names the test examples.
      check_polarity: whether masks that are nearly all mostly in focus are an error.
    """

    focus: Literal["white", "black"] = "white"
    images: Path | None = None
    masks: Path | None = None
    train_names: Path | None = None
    test_names: Path | None = None
    check_polarity: bool = True

    def __post_init__(self) -> None:
        if self.focus not in ("white", "black"):
            raise ValueError(f'focus is "white" or "black", not {self.focus!r}')
        if (self.images is None) != (self.masks is None):
            raise ValueError("give the folders of images and of masks, or neither")
        if not re.fullmatch(r"[\w-][\w.-]*", self.name):
            raise ValueError(f"a set is called by letters, digits and -_. alone, not {self.name!r}")


class PairsBuilder(PairBuilder, skip_registration=True):
    """Images and masks of one's own."""

    name = "pairs"
    DESCRIPTION = pairs.__doc__ or ""
    MANUAL_DOWNLOAD_INSTRUCTIONS = pairs.HOW_TO_GET
    BUILDER_CONFIGS: ClassVar = [
        PairsConfig(name="focus_white", focus="white", description="Masks are white where the image is in focus."),
        PairsConfig(name="focus_black", focus="black", description="Masks are black where the image is in focus."),
    ]

    def origin(self, manual_dir: Path | None) -> dict[str, str]:
        """Returns the polarity, the folders and the lists as they were given, and what is in the folders."""
        config = self.builder_config
        assert isinstance(config, PairsConfig)  # by BUILDER_CONFIGS, and TFDS passes no others
        paths = (manual_dir, config.images, config.masks, config.train_names, config.test_names)
        names = ("manual_dir", "images", "masks", "train_names", "test_names")
        given = {name: str(path.absolute()) for name, path in zip(names, paths, strict=True) if path}
        *folders, train_names, test_names = self._places(manual_dir or Path())
        files = [path for folder in folders if folder and folder.is_dir() for path in folder.iterdir()]
        lists = [path for path in (train_names, test_names) if path and path.is_file()]
        return {"focus": config.focus, **given, **made_of([*filter(is_image_file, files), *lists])}

    def _places(self, manual_dir: Path) -> tuple[Path, Path, Path | None, Path | None]:
        """The folders of images and of masks, and the lists of names, as far as they are given."""
        config = self.builder_config
        assert isinstance(config, PairsConfig)  # by BUILDER_CONFIGS, and TFDS passes no others
        if config.images and config.masks:
            return config.images, config.masks, config.train_names, config.test_names
        lists = [path if (path := manual_dir / f"{split}.txt").is_file() else None for split in ("train", "test")]
        return manual_dir / "images", manual_dir / "masks", lists[0], lists[1]

    def _recipes(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Recipe]:
        config = self.builder_config
        assert isinstance(config, PairsConfig)  # by BUILDER_CONFIGS, and TFDS passes no others
        folder = Path() if config.images else self._manual_folder(dl_manager)
        images, masks, train_names, test_names = self._places(folder)
        lists = {"train_names": train_names, "test_names": test_names}
        findings = pairs.find_pairs(images, masks, focus_is_white=config.focus == "white", **lists)
        return self._checked(findings, check_polarity=config.check_polarity)


def _examples(pair: Pair) -> list[Example]:
    mask = read_mask(pair.mask)
    focus = encode_png(mask if pair.focus_is_white else 255 - mask)
    return [(pair.name, {"image": stored_image(pair.image), "mask": focus, "name": pair.name})]
