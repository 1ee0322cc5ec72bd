"""Shi's data set: 604 photographs to train on and 100 to test.

Source: Shi, Xu, Jia, "Discriminative Blur Detection Features", CVPR 2014: 1000 images, of which the 704 named
``out_of_focusNNNN`` are used; the paper's split of them.  Published masks are white where the image is blurred.
"""

from collections.abc import Sequence
from pathlib import Path

from btbnet_jax.sources.checks import Findings, Pair
from btbnet_jax.sources.folders import ambiguous_names, contents, find_folder, images_by_stem, missing_names
from btbnet_jax.sources.names import committed_names

EXPECTED = {"train": 604, "test": 100}
HOW_TO_GET = (
    "download BlurDatasetImage.zip (folder image/) and BlurDatasetGT.zip (folder gt/) from the page of Shi et al., "
    '"Discriminative Blur Detection Features" (CVPR 2014), at the Chinese University of Hong Kong, '
    "and put both, zipped or unzipped, into one folder"
)

TEST = committed_names("shi_test100")  # in the order of the authors' release
VALIDATION = committed_names("shi_valid60")  # of the train split, to choose by

_NAMES = frozenset(f"out_of_focus{number:04d}" for number in range(1, 705))
_PATTERN = r"out_of_focus\d{4}"


def find_shi(roots: Sequence[Path]) -> Findings:
    """Returns the pairs of both splits, and all that is missing.

    Args:
      roots: folders that hold ``image`` and ``gt`` at any depth; the motion-blurred images are passed over.
    """
    findings, files = Findings(), []
    for names in (("image", "blurdatasetimage"), ("gt", "blurdatasetgt")):
        folder = find_folder(roots, names, pattern=_PATTERN)
        if folder is None:
            findings.problems.append(f"no folder {names[0]!r} with images named out_of_focusNNNN: {contents(roots[0])}")
            continue
        found = images_by_stem(folder, pattern=_PATTERN)
        findings.problems += missing_names(folder, _NAMES, found) + ambiguous_names(found)
        files.append(found)
    if len(files) == 2:
        images, masks = files
        for name in sorted(_NAMES & images.keys() & masks.keys()):
            split = "test" if name in TEST else "train"
            pair = Pair(name, images[name][0], masks[name][0], focus_is_white=False)
            findings.splits.setdefault(split, []).append(pair)
    return findings
