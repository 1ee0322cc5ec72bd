"""From a built data set to batches: examples in order for scoring, shuffled and augmented for training.

The batches are a function of the settings and the step alone: not of the number of threads, and not of
where a run was interrupted.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from btbnet_jax import builders
from btbnet_jax.augment import NUM_VERSIONS, crop_start, orient, with_grain
from btbnet_jax.config import DataConfig
from btbnet_jax.images import encode_png, image_size, read_image, read_mask, resize_image
from btbnet_jax.sources import shi, simulated
from btbnet_jax.sources.checks import Pair
from btbnet_jax.types import Batch, HostImage, HostMap

BUCKET = 64
"""Images of their own sizes are padded to multiples of this, so that few shapes are compiled."""


class Examples:
    """Images with their masks, of one split of a built data set, by random access.

    A set that holds only clear sources is blurred on the fly: every source gives 20 examples.

    Args:
      data_dir: folder that data sets are built in.
      name: of the data set, "shi" or "simulated/generated".
      split: "train" or "test".

    Raises:
      FileNotFoundError: the set is not built; the message says how to.
      ValueError: no such split.
    """

    def __init__(self, data_dir: Path | str, name: str, split: str) -> None:
        self._open(builders.open_source(data_dir, name, split))

    @classmethod
    def of_pairs(cls, pairs: Sequence[Pair]) -> "Examples":
        """Returns the examples of files that no data set is built of."""
        examples = cls.__new__(cls)
        examples._open(_Files(pairs))
        return examples

    def _open(self, records: Any) -> None:
        self._records = records
        self._versions = 1 if "mask" in records[0] else simulated.VERSIONS
        self._subset: Sequence[int] = range(len(records) * self._versions)
        self._names: dict[int, str] = {}  # of the records that were asked for

    def __len__(self) -> int:
        return len(self._subset)

    def __getitem__(self, index: int) -> tuple[HostImage, HostMap]:
        """Returns one image and its mask."""
        record, version = divmod(self._subset[index], self._versions)
        values = self._records[record]
        image = read_image(values["image"])
        if "mask" in values:
            return image, read_mask(values["mask"])
        return simulated.blurred_version(image, version)

    @property
    def has_images(self) -> bool:
        """Whether there are images; where masks came alone, each stands for its own."""
        return not (isinstance(self._records, _Files) and self._records.are_masks)

    def image_sizes(self) -> dict[str, tuple[int, int]]:
        """Returns height and width of every image by its name, without decoding any."""
        records = [self._subset[index] // self._versions for index in range(len(self))]
        return {self.name(index): image_size(self._records[record]["image"]) for index, record in enumerate(records)}

    def name(self, index: int) -> str:
        """Returns the name of an example."""
        record, version = divmod(self._subset[index], self._versions)
        if (name := self._names.get(record)) is None:
            name = self._names[record] = self._records[record]["name"]
        return name if self._versions == 1 else simulated.version_name(name, version)

    def digest(self) -> str:
        """Returns the sha256 of their names, in order."""
        return hashlib.sha256("\n".join(map(self.name, range(len(self)))).encode()).hexdigest()

    def only(self, indices: Sequence[int]) -> "Examples":
        """Returns some of the examples, in the order of `indices`."""
        chosen = object.__new__(Examples)
        chosen._records, chosen._versions, chosen._names = self._records, self._versions, self._names
        chosen._subset = [self._subset[index] for index in indices]
        return chosen


class _Files:
    """Files of pairs as the records of a built data set."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs
        self.are_masks = all(pair.image == pair.mask for pair in pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pair = self._pairs[index]
        mask = pair.mask.read_bytes()
        if not pair.focus_is_white:
            mask = encode_png(255 - read_mask(mask))
        return {"name": pair.name, "image": pair.image.read_bytes(), "mask": mask}


def hold_out(examples: Examples, validation: str) -> tuple[Examples, Examples]:
    """Returns the examples to train on and those held out for validation.

    Args:
      examples: of the training split.
      validation: "shi60" for the committed list; a number for so many examples, by the sha256 of their
        names, all versions of a simulated source on one side; "none".

    Raises:
      ValueError: too few examples, or none of the committed names.
    """
    names = [examples.name(index) for index in range(len(examples))]
    groups = [simulated.source_name(name) for name in names]
    if validation == "shi60":
        held = set(shi.VALIDATION) & set(names)
        if len(held) != len(shi.VALIDATION):
            raise ValueError(
                f'validation "shi60" names {len(shi.VALIDATION)} images of Shi\'s set and {len(held)} are here; '
                'give a number of images to hold out, or "none"'
            )
        is_held = [name in held for name in names]
    else:
        wanted, held, count = 0 if validation == "none" else int(validation), set(), 0
        for group in sorted(set(groups), key=lambda group: hashlib.sha256(group.encode()).digest()):
            if count >= wanted:
                break
            held.add(group)
            count += groups.count(group)
        is_held = [group in held for group in groups]
    kept = [index for index, flag in enumerate(is_held) if not flag]
    if not kept:
        raise ValueError(f"holding out {validation} of {len(names)} images leaves none to train on")
    return examples.only(kept), examples.only([index for index, flag in enumerate(is_held) if flag])


def train_batches(
    examples: Examples, config: DataConfig, *, start: int = 0, shard: tuple[int, int] = (0, 1)
) -> Iterator[Batch]:
    """Returns an endless iterator of augmented batches.

    Every epoch shows each orientation of each image once, in an order of its own.

    Args:
      examples: to train on.
      config: batch size, sizes, orientations, grain and seed.
      start: number of batches to leave out, those that an interrupted run has seen.
      shard: index of this process and number of processes; each gets its share of every batch.

    Raises:
      ValueError: a batch that the processes cannot share equally.
    """
    process, num_processes = shard
    if config.batch_size % num_processes:
        raise ValueError(f"{num_processes} processes cannot share a batch of {config.batch_size}")
    versions = NUM_VERSIONS[config.orientations]

    def prepare(index: int, rng: np.random.Generator) -> Batch:
        example, version = divmod(index, versions)
        image, mask = _resized(*examples[example], config.size)
        image, mask = (orient(array, version, of=versions) for array in (image, mask))
        if config.crop:
            top, left = (crop_start(n, config.crop, rng) for n in image.shape[:2])
            window = np.s_[top : top + config.crop, left : left + config.crop]
            image, mask = image[window], mask[window]
        if config.grain:
            image = with_grain(image, config.grain, rng)
        side = config.crop or config.size
        return _padded(image, mask, example, (side, side) if side else _bucket(mask.shape))

    dataset = grain.MapDataset.range(len(examples) * versions).seed(config.seed).shuffle().repeat()
    dataset = dataset.random_map(prepare)[process::num_processes]  # in this order, all processes see what one would
    # Dropped or not, there is no remainder; but Grain cannot count the batches of 1 image otherwise.
    dataset = dataset.batch(config.batch_size // num_processes, drop_remainder=True)[start:]
    return iter(dataset.to_iter_dataset(_read_options(config.threads)))


def ordered_batches(
    examples: Examples, *, size: int, batch_size: int = 1, threads: int = 2, shard: tuple[int, int] = (0, 1)
) -> Iterator[Batch]:
    """Returns all examples once, in order; the last batch is filled up with images of no pixel.

    Args:
      examples: to score.
      size: height and width that images and masks are resized to, bilinear; 0 keeps their own.
      batch_size: images a batch, over all processes.
      threads: that read and decode.
      shard: index of this process and number of processes.

    Raises:
      ValueError: several images of their own sizes in a batch.
    """
    process, num_processes = shard
    if not size and batch_size > num_processes:
        raise ValueError("images of their own sizes cannot share a batch: give a size, or batch_size 1")

    def prepare(index: int) -> Batch:
        if index >= len(examples):
            side = size or BUCKET
            empty = np.zeros((0, 0, 3), np.uint8), np.zeros((0, 0), np.uint8)
            return _padded(*empty, -1, (side, side))
        image, mask = _resized(*examples[index], size)
        return _padded(image, mask, index, (size, size) if size else _bucket(mask.shape))

    length = -(-len(examples) // batch_size) * batch_size
    dataset = grain.MapDataset.range(length)[process::num_processes].map(prepare).batch(batch_size // num_processes)
    return iter(dataset.to_iter_dataset(_read_options(threads)))


def _read_options(threads: int) -> grain.ReadOptions:
    return grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)


def _resized(
    image: HostImage, mask: HostMap, size: int
) -> tuple[UInt8[ndarray, "new_h new_w 3"], UInt8[ndarray, "new_h new_w"]]:
    return (resize_image(image, (size, size)), resize_image(mask, (size, size))) if size else (image, mask)


def _bucket(shape: tuple[int, ...]) -> tuple[int, int]:
    height, width = (-(-n // BUCKET) * BUCKET for n in shape)
    return height, width


def _padded(image: HostImage, mask: HostMap, index: int, shape: tuple[int, int]) -> Batch:
    """One example without a batch axis, padded to `shape`."""
    height, width = mask.shape
    margins = ((0, shape[0] - height), (0, shape[1] - width))
    return Batch(
        image=np.pad(image, (*margins, (0, 0))),
        mask=np.pad(mask, margins)[..., None],
        size=np.array(mask.shape, np.int32),
        example=np.array(index, np.int32),
    )
