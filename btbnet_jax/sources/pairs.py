"""Images and masks of one's own, to train on, to fine-tune with and to evaluate on.

An image and its mask have the same name, except for their suffixes and for words such as ``_mask`` or ``gt-``.
The polarity is always said, never guessed.
"""

from collections.abc import Mapping
from pathlib import Path

from btbnet_jax.sources.checks import Findings, Pair, listed
from btbnet_jax.sources.folders import ambiguous_names, contents, images_by_stem
from btbnet_jax.sources.names import candidates, image_name, read_names

HOW_TO_GET = (
    "give one folder of images and one of masks with the same names (in one folder, call them images/ and masks/), "
    "and say whether white or black means in focus; train.txt and test.txt may name the examples of the two splits"
)


def find_pairs(
    images: Path,
    masks: Path,
    *,
    focus_is_white: bool,
    train_names: Path | None = None,
    test_names: Path | None = None,
) -> Findings:
    """Returns the pairs of two folders, and all that is wrong with their names.

    Without lists all pairs are the train split.  With one list the rest is the other split; with two, what
    neither names is left out, and a note says so.

    Args:
      images: folder of images.
      masks: folder of their masks.
      focus_is_white: the masks' polarity.
      train_names: text file with one name a line.
      test_names: likewise.

    Raises:
      SourceError: a list that cannot be read.
    """
    findings = Findings()
    if images == masks:
        findings.problems.append(f"images and masks are the same folder, {images}: give two")
    image_files, mask_files = (_files(folder, findings) for folder in (images, masks))
    if not image_files or not mask_files or images == masks:
        return findings
    pairs = _matched(image_files, mask_files, focus_is_white, findings)
    _split(pairs, train_names, test_names, findings)
    return findings


def find_masks(masks: Path, *, focus_is_white: bool) -> Findings:
    """Returns the masks of a folder as pairs without images: each stands for its own.

    Args:
      masks: folder of masks.
      focus_is_white: their polarity.
    """
    findings = Findings()
    files = _files(masks, findings)
    findings.splits = {"train": [Pair(image_name(stem), path, path, focus_is_white) for stem, path in files.items()]}
    return findings


def _files(folder: Path, findings: Findings) -> dict[str, Path]:
    """The image files of a folder by their stems; what is wrong with it becomes a problem."""
    if not folder.is_dir():
        findings.problems.append(f"{folder} is not a folder")
        return {}
    found = images_by_stem(folder)
    findings.problems += ambiguous_names(found) if found else [f"no image in {folder}: {contents(folder)}"]
    return {stem: paths[0] for stem, paths in found.items()}


def _matched(
    images: Mapping[str, Path], masks: Mapping[str, Path], focus_is_white: bool, findings: Findings
) -> dict[str, Pair]:
    """Pairs by the name of the image; images and masks that stay alone become problems."""
    pairs, without_mask, used = {}, [], set()
    for stem, of in candidates(images, masks).items():
        image = images[stem]
        if len(of) == 1:
            pairs[stem] = Pair(stem, image, masks[of[0]], focus_is_white)
        elif of:
            findings.problems.append(f"{image} could belong to {listed(of)}")
        else:
            without_mask.append(image.name)
        used.update(of)
    without_image = [path.name for stem, path in masks.items() if stem not in used]
    for alone, every, what in (
        (without_mask, images, "images have no mask"),
        (without_image, masks, "masks have no image"),
    ):
        if alone:
            folder = next(iter(every.values())).parent
            findings.problems.append(f"{len(alone)} of {len(every)} {what}, in {folder}: {listed(alone)}")
    return pairs


def _split(pairs: Mapping[str, Pair], train_names: Path | None, test_names: Path | None, findings: Findings) -> None:
    """Divides the pairs between the two splits."""
    lists = {name: set(read_names(path)) for name, path in (("train", train_names), ("test", test_names)) if path}
    for path, names in zip((path for path in (train_names, test_names) if path), lists.values(), strict=True):
        if unknown := names - pairs.keys():
            findings.problems.append(f"{path} names {len(unknown)} that are not there: {listed(unknown)}")
    if len(lists) == 2:
        if both := lists["train"] & lists["test"]:
            findings.problems.append(f"{len(both)} names are in both lists: {listed(both)}")
        if rest := pairs.keys() - lists["train"] - lists["test"]:
            findings.notes.append(f"{len(rest)} pairs that neither list names are left out: {listed(rest)}")
    elif lists:
        (named,) = lists
        other = "test" if named == "train" else "train"
        lists[other] = set(pairs) - lists[named]
    else:
        lists["train"] = set(pairs)
    findings.splits = {
        name: [pairs[stem] for stem in sorted(names & pairs.keys())] for name, names in lists.items() if names
    }
