"""DUT, the data set of the paper: 500 photographs to test on, and 600 to train on where a user has them.

Source: the authors' releases.  ``dut500-source`` and ``dut500-gt`` hold 1 to 500, white where the image is in
focus.  ``1204source`` and ``1204gt`` of later releases hold 604 of Shi's images and DUT's 600, numbered 1 to 1204.

Assumption: which of the 1204 are DUT's is not published, and the numbers do not say it.  It is known from a list
  of names, or from Shi's own images where they are at hand: those that look like one of them are Shi's.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from btbnet_jax.images import ImageError, read_image, resize_image
from btbnet_jax.sources.checks import Findings, Pair, listed
from btbnet_jax.sources.folders import ambiguous_names, contents, find_folder, images_by_stem, missing_names
from btbnet_jax.sources.names import read_names
from btbnet_jax.sources.shi import find_shi

EXPECTED = {"test": 500}
EXPECTED_WITH_TRAIN = {"train": 600, "test": 500}
TRAIN_LIST = "dut_train600.txt"
HOW_TO_GET = (
    "download the authors' data set (a folder or zip with dut500-source/ and dut500-gt/, as linked from the pages "
    "of the BTBNet group's repositories) and put it, zipped or unzipped, into one folder; for the optional 600 "
    f"training images add 1204source/ and 1204gt/, and either Shi's data set or {TRAIN_LIST}, a list of DUT's names"
)

_TEST_NAMES = frozenset(str(number) for number in range(1, 501))
_TRAIN_NAMES = frozenset(str(number) for number in range(1, 1205))
_NUM_SHI, _NUM_DUT = 604, 600
_THUMBNAIL = (16, 16)
# Correlation of thumbnails: the same image at 320 × 320 has 0.9998 or more, different ones up to 0.88.
_ALIKE = 0.97


def find_dut(roots: Sequence[Path]) -> Findings:
    """Returns the pairs of the test split, and of the train split where it is there and can be told apart.

    Args:
      roots: folders that hold ``dut500-source`` and ``dut500-gt`` at any depth.
    """
    findings = Findings()
    if test := _pairs(roots, ("dut500-source", "dut500-gt"), _TEST_NAMES, findings):
        findings.splits["test"] = list(test.values())
    if find_folder(roots, ("1204source",), pattern=r"\d+"):
        both = _pairs(roots, ("1204source", "1204gt"), _TRAIN_NAMES, findings)
        if names := both and _names_of_dut(roots, both, findings):
            findings.splits["train"] = [replace(both[name], name=f"train_{name}") for name in sorted(names, key=int)]
    return findings


def _pairs(
    roots: Sequence[Path], folders: tuple[str, str], expected: frozenset[str], findings: Findings
) -> dict[str, Pair]:
    """The pairs of two folders by name; what is missing goes into the findings."""
    files = []
    for name in folders:
        folder = find_folder(roots, (name,), pattern=r"\d+")
        if folder is None:
            findings.problems.append(f"no folder {name!r} with images named 1, 2, 3, …: {contents(roots[0])}")
            return {}
        files.append(images_by_stem(folder, pattern=r"\d+"))
        findings.problems += missing_names(folder, expected, files[-1]) + ambiguous_names(files[-1])
    images, masks = files
    return {
        name: Pair(name, images[name][0], masks[name][0], focus_is_white=True)
        for name in sorted(expected & images.keys() & masks.keys(), key=int)
    }


def _names_of_dut(roots: Sequence[Path], pairs: Mapping[str, Pair], findings: Findings) -> set[str]:
    """Which of the 1204 are DUT's; nothing, and a note or a problem, where it cannot be told."""
    if lists := [path for root in roots for path in sorted(root.rglob(TRAIN_LIST))]:
        names = set(read_names(lists[0]))
        if unknown := names - pairs.keys():
            findings.problems.append(f"{lists[0]} names {len(unknown)} that are not there: {listed(unknown)}")
        if len(names) != _NUM_DUT:
            findings.problems.append(f"{lists[0]} has {len(names)} names, not {_NUM_DUT}")
        return names & pairs.keys()
    shi = find_shi(roots)
    if shi.problems:
        findings.notes.append(
            f"1204source is left out: which {_NUM_DUT} of its images are DUT's can only be told with Shi's data set "
            f"in the same folder, or by their names in a file {TRAIN_LIST}"
        )
        return set()
    try:
        alike = _looking_alike(pairs, [pair.image for pair in shi.splits["train"]])
    except ImageError as error:
        findings.problems.append(str(error))
        return set()
    if len(alike) != _NUM_SHI:
        findings.problems.append(
            f"{len(alike)} of the {len(pairs)} images in 1204source look like one of Shi's {_NUM_SHI}, not {_NUM_SHI}: "
            f"name DUT's {_NUM_DUT} in a file {TRAIN_LIST}"
        )
        return set()
    return pairs.keys() - alike


def _looking_alike(pairs: Mapping[str, Pair], originals: Sequence[Path]) -> set[str]:
    """The names of the pairs whose image is one of the originals at another size."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        ours = np.stack(list(threads.map(_fingerprint, [pair.image for pair in pairs.values()])))
        theirs = np.stack(list(threads.map(_fingerprint, originals)))
    likest = (ours @ theirs.T).max(axis=1)
    return {name for name, correlation in zip(pairs, likest, strict=True) if correlation > _ALIKE}


def _fingerprint(path: Path) -> Float32[ndarray, "768"]:
    """A thumbnail as a vector of mean 0 and length 1, whose products with others are correlations."""
    pixels = resize_image(read_image(path), _THUMBNAIL).astype(np.float32).ravel()
    pixels -= pixels.mean()
    return pixels / max(float(np.linalg.norm(pixels)), 1e-6)
