"""Data sets that were built: opened, and checked to be whole."""

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import tensorflow_datasets as tfds

from btbnet_jax.sources import dut, shi

# Of the sets whose size is known; each may have any one of the lists of splits.
_EXPECTED: Mapping[str, tuple[Mapping[str, int], ...]] = {
    "shi": (shi.EXPECTED,),
    "dut": (dut.EXPECTED, dut.EXPECTED_WITH_TRAIN),
}


_KINDS = ("shi", "dut", "simulated", "pairs")
_ORIGIN = "origin.json"
FILES = "files"
"""What an origin calls the files that a set was made of, see `made_of`."""


class BuildError(ValueError):
    """A built data set that is not there, not whole, or made from something else."""


class SplitError(BuildError):
    """A split that a built data set does not have."""


class BuiltSource(Sequence[dict[str, Any]]):
    """The examples of a split, as bytes: {"image": bytes, "mask": bytes, "name": str}.

    ``mask`` is absent where the set holds clear images only.  It can be pickled, and read by many threads.
    """

    def __init__(self, directory: Path, split: str) -> None:
        """Opens a split of a set that `check_built` has passed."""
        self._state = directory, split
        builder = tfds.builder_from_directory(directory)
        if not builder.info.splits[split].num_examples:
            raise BuildError(f"{directory} has no example in {split!r}")
        as_stored = {name: tfds.decode.SkipDecoding() for name in ("image", "mask") if name in _features(builder)}
        options: dict[str, Any] = {"split": split, "decoders": as_stored}
        self._records: Any = builder.as_data_source(**options)  # TFDS' types know none of its arguments

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | Sequence[dict[str, Any]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        example = dict(self._records[index % len(self)])
        return example | {"name": example["name"].decode()}

    def __reduce__(self) -> tuple[Any, ...]:
        return BuiltSource, self._state


def open_source(data_dir: Path | str, name: str, split: str) -> BuiltSource:
    """Returns a split of a built data set.

    Args:
      data_dir: folder of built sets.
      name: such as "shi", "simulated/generated" or "pairs/mine".
      split: such as "train" or "test", or a part of one as TFDS writes it, "train[:100]".

    Raises:
      BuildError: the set is not built or not whole.
      SplitError: it has no such split.
    """
    newest = find_built(data_dir, name)
    splits = check_built(newest)
    for part in split.split("+"):
        if part.partition("[")[0].strip() not in splits:  # "all", which would hide a test split, is none of ours
            raise SplitError(f"{name} in {data_dir} has no split {part!r}; it has {', '.join(sorted(splits))}")
    return BuiltSource(newest, split)


def find_built(data_dir: Path | str, name: str) -> Path:
    """Returns the folder of the newest version of a built data set; arguments as of `open_source`.

    Raises:
      BuildError: the set is not built.
    """
    folder = Path(data_dir, name)
    versions = [path for path in folder.glob("*") if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
    if not versions and (interrupted := sorted(folder.glob("incomplete.*"))):
        raise BuildError(f"the building of {name} was interrupted: delete {interrupted[0]} and build it again")
    if not versions:
        there = sorted(
            str(path.parent.parent.relative_to(data_dir)) for path in Path(data_dir).glob("**/dataset_info.json")
        )
        kind, _, rest = name.partition("/")
        words = {"simulated": f" --config {rest}", "pairs": f" --name {rest}"}.get(kind, "") if rest else ""
        words += "" if kind == "pairs" or name == "simulated/generated" else " --manual-dir FOLDER"
        how = f"build it by python -m btbnet_jax data {kind}{words} --data-dir {data_dir} (--help says with what)"
        if kind not in _KINDS:
            how = f"what can be built is called {', '.join(_KINDS)}, the last two with a name after a slash"
        raise BuildError(f"no data set {name!r} is built in {data_dir}, which has {', '.join(there) or 'none'}; {how}")
    return max(versions, key=lambda path: [int(part) for part in path.name.split(".")])


def _features(builder: tfds.core.DatasetBuilder) -> tfds.features.FeaturesDict:
    features = builder.info.features
    if not isinstance(features, tfds.features.FeaturesDict):
        raise BuildError(f"{builder.data_path} is not one of our data sets: its features are {features}")
    return features


def check_built(directory: Path) -> dict[str, int]:
    """Returns the number of examples of each split of a built set.

    Args:
      directory: of the set's version, such as ``data/shi/1.0.0``.

    Raises:
      BuildError: the set was built in part only, or with other numbers than the set is known to have.
    """
    advice = f"delete the folder {directory} and build the set again"
    try:
        json.loads((directory / "dataset_info.json").read_text("utf-8"))  # whose errors TFDS has a type of its own for
        info = tfds.builder_from_directory(directory).info
    except (OSError, ValueError, KeyError) as error:
        raise BuildError(f"{directory} was not built to its end ({error}): {advice}") from error
    counts = {name: split.num_examples for name, split in info.splits.items()}
    if not counts:
        raise BuildError(f"{directory} was not built to its end, it has no splits: {advice}")
    missing = [Path(file) for split in info.splits.values() for file in split.filepaths if not Path(file).is_file()]
    if missing:
        raise BuildError(f"{directory} lacks {len(missing)} of its files, {missing[0].name} the first: {advice}")
    expected = _EXPECTED.get(info.name)
    if expected and counts not in expected:
        raise BuildError(f"{directory} has {counts} examples instead of {' or '.join(map(str, expected))}: {advice}")
    return counts


def write_origin(directory: Path, origin: Mapping[str, str]) -> None:
    """Notes beside a built set what it was built from."""
    (directory / _ORIGIN).write_text(json.dumps(origin, indent=2) + "\n", "utf-8")


def made_of(files: Collection[Path]) -> dict[str, str]:
    """Returns, for an origin, how many files a set is made of, and a digest of their names and sizes.

    Nothing where there are none: a set may be asked for after what it was made of has been deleted.
    """
    names = sorted(f"{path.name} {path.stat().st_size}" for path in files)
    digest = hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()
    return {FILES: f"{len(names)}, whose names and sizes have the digest {digest[:12]}"} if names else {}


def check_origin(directory: Path, origin: Mapping[str, str]) -> None:
    """Raises a BuildError where a built set was made from something else; what `tfds build` made has no note of it."""
    path = directory / _ORIGIN
    built_from = json.loads(path.read_text("utf-8")) if path.is_file() else origin
    names = built_from.keys() | origin.keys()
    if FILES not in built_from or FILES not in origin:
        names -= {FILES}
    changes = [
        f"{name}: {built_from.get(name)} -> {origin.get(name)}"
        for name in sorted(names)
        if built_from.get(name) != origin.get(name)
    ]
    if changes:
        listed = "\n- ".join(changes)
        raise BuildError(
            f"{directory} was built from something else (then -> now):\n- {listed}\n"
            "To build it anew, delete that folder; to keep it, choose another name or data folder"
        )
