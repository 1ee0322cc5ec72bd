"""Pairs of an image and its mask, and what can be wrong with them."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from btbnet_jax.images import ImageError, read_image, read_mask

# Of the published sets 10 to 17 % of the masks are mostly in focus, and 83 to 90 % when they are inverted.
SUSPICIOUS_SHARE = 0.75
_FEWEST_MASKS = 8  # below, the share says nothing


class SourceError(ValueError):
    """Files that do not make up a data set; the text names all that is wrong with them."""

    def __init__(self, headline: str, problems: Sequence[str]) -> None:
        """Joins the headline and one line for each problem."""
        super().__init__("\n- ".join([f"{headline}:", *problems]))


@dataclass(frozen=True)
class Pair:
    """An image and its mask as published.

    Attributes:
      name: of the example, unique in its split.
      image: file of the image.
      mask: file of the mask.
      focus_is_white: the mask's polarity; where it is false, the mask is inverted when it is built.
    """

    name: str
    image: Path
    mask: Path
    focus_is_white: bool


@dataclass
class Findings:
    """What a search for a data set came to.

    Attributes:
      splits: pairs by the name of their split.
      problems: why the data set cannot be built; none where it can.
      notes: what a user should know all the same.
    """

    splits: dict[str, list[Pair]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_pairs(pairs: Iterable[Pair], *, check_polarity: bool = True) -> list[str]:
    """Returns what is wrong with the files of some pairs, after decoding them all; nothing where all is well.

    Args:
      pairs: of all splits.
      check_polarity: whether nearly all masks mostly in focus are a problem.
    """
    pairs = list(pairs)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        checked = list(threads.map(_check, pairs))
    problems = [problem for problem, _, _ in checked if problem]
    if problems:
        return problems
    brightest = max((level for _, _, level in checked), default=255)
    if 0 < brightest < 128:
        return [
            f"the brightest grey of all masks is {brightest} of 255: masks of 0 and 1 have to be saved as 0 and 255"
        ]
    in_focus = sum(share > 0.5 for _, share, _ in checked)
    if check_polarity and len(pairs) >= _FEWEST_MASKS and in_focus > SUSPICIOUS_SHARE * len(pairs):
        white, other = ("in focus", "black") if pairs[0].focus_is_white else ("blurred", "white")
        return [
            f"wrong polarity suspected: with white = {white}, {in_focus} of {len(pairs)} masks "
            "are mostly in focus, which is rare in photographs with blur; give the other polarity "
            f"(--focus {other}), or switch this check off where it is right (--no-polarity-check of btbnet, "
            "--nopolarity_check of evaluate.py)"
        ]
    return []


def listed(names: Iterable[str], *, limit: int = 5) -> str:
    """Returns the first names, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _check(pair: Pair) -> tuple[str, float, int]:
    """What is wrong with a pair, its share in focus, and the brightest grey of its mask."""
    try:
        image, mask = read_image(pair.image), read_mask(pair.mask)
    except ImageError as error:
        return str(error), 0.0, 0
    if image.shape[:2] != mask.shape:
        return f"{pair.mask} has {_size(mask.shape)} pixels, but {pair.image} has {_size(image.shape)}", 0.0, 0
    share = float(mask.mean()) / 255
    return "", share if pair.focus_is_white else 1 - share, int(mask.max())


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} × {shape[1]}"
