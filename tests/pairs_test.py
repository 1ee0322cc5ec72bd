from pathlib import Path

import pytest

from btbnet_jax.sources.checks import Findings, SourceError
from btbnet_jax.sources.pairs import find_pairs


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "photos").mkdir()
    (tmp_path / "masks").mkdir()
    return tmp_path / "photos", tmp_path / "masks"


def found(folders: tuple[Path, Path], images: str, masks: str, **lists: Path) -> Findings:
    for folder, names in zip(folders, (images, masks), strict=True):
        for name in names.split():
            (folder / name).touch()
    return find_pairs(*folders, focus_is_white=True, **lists)


def matches(findings: Findings) -> dict[str, str]:
    assert findings.problems == []
    return {pair.image.name: pair.mask.name for pairs in findings.splits.values() for pair in pairs}


def test_pairs_are_matched_by_stem_whatever_the_suffix(folders: tuple[Path, Path]):
    assert matches(found(folders, "a.JPG b.tif", "b.png a.bmp")) == {"a.JPG": "a.bmp", "b.tif": "b.png"}


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.jpg", "a_mask.png"),
        ("a.jpg", "a-gt.png"),
        ("a.jpg", "a_GT.png"),
        ("a.jpg", "mask_a.png"),
        ("a.jpg", "a.mask.png"),
        ("a_image.jpg", "a_label.png"),
        ("img_7.jpg", "gt_7.png"),
    ],
)
def test_words_around_a_name_are_overlooked(folders: tuple[Path, Path], image: str, mask: str):
    assert matches(found(folders, f"{image} b.jpg", f"{mask} b_mask.png")) == {image: mask, "b.jpg": "b_mask.png"}


def test_a_word_within_a_name_is_not_overlooked(folders: tuple[Path, Path]):
    assert len(found(folders, "unmask.jpg", "un.png").problems) == 2


def test_the_same_name_goes_before_a_similar_one(folders: tuple[Path, Path]):
    assert matches(found(folders, "a.jpg a_mask.jpg", "a.png a_mask.png")) == {
        "a.jpg": "a.png",
        "a_mask.jpg": "a_mask.png",
    }


def test_what_stays_alone_is_counted_and_named_on_both_sides(folders: tuple[Path, Path]):
    images = " ".join(f"i{n}.jpg" for n in range(7))
    first, second = found(folders, f"{images} both.jpg", "both.png other.png").problems
    assert first.startswith("7 of 8 images have no mask")
    assert first.endswith("i0.jpg, i1.jpg, i2.jpg, i3.jpg, i4.jpg and 2 more")
    assert second.startswith("1 of 2 masks have no image")
    assert second.endswith("other.png")


def test_two_masks_that_could_be_meant_are_a_problem(folders: tuple[Path, Path]):
    (problem,) = found(folders, "a.jpg", "a_mask.png a_gt.png").problems
    assert "could belong to a_gt, a_mask" in problem


def test_two_files_of_one_name_are_a_problem(folders: tuple[Path, Path]):
    (problem,) = found(folders, "a.jpg a.png", "a.png").problems
    assert "a.jpg, a.png" in problem


def test_all_that_is_wrong_with_the_names_is_said_at_once(folders: tuple[Path, Path]):
    twice, could_be, alone = found(folders, "a.jpg a.png b.jpg c.jpg", "a.png b_mask.png b_gt.png").problems
    assert "a.jpg, a.png" in twice
    assert "b.jpg could belong to b_gt, b_mask" in could_be
    assert "1 of 3 images have no mask" in alone


def test_an_empty_folder_is_named_with_what_it_holds(folders: tuple[Path, Path]):
    images, masks = found(folders, "readme.txt", "").problems
    assert images.endswith("photos holds 1 file (readme.txt)")
    assert masks.endswith("masks holds nothing")


def test_an_absent_folder_and_one_for_both_are_problems(tmp_path: Path):
    same, images, masks = find_pairs(tmp_path / "no", tmp_path / "no", focus_is_white=True).problems
    assert "same folder" in same
    assert images == masks == f"{tmp_path / 'no'} is not a folder"


def test_the_polarity_is_the_one_that_was_said(folders: tuple[Path, Path]):
    found(folders, "a.jpg", "a.png")
    for focus_is_white in (True, False):
        (pair,) = find_pairs(*folders, focus_is_white=focus_is_white).splits["train"]
        assert pair.focus_is_white is focus_is_white


def splits(findings: Findings) -> dict[str, list[str]]:
    assert findings.problems == []
    return {name: [pair.name for pair in pairs] for name, pairs in findings.splits.items()}


def write_list(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_without_lists_all_is_to_train_on(folders: tuple[Path, Path]):
    assert splits(found(folders, "a.jpg b.jpg", "a.png b.png")) == {"train": ["a", "b"]}


@pytest.mark.parametrize(("named", "rest"), [("train", "test"), ("test", "train")])
def test_with_one_list_the_rest_is_the_other_split(folders: tuple[Path, Path], tmp_path: Path, named: str, rest: str):
    names = write_list(tmp_path / "names.txt", "\ufeff# mine\nb.jpg\n\n")
    findings = found(folders, "a.jpg b.jpg c.jpg", "a.png b.png c.png", **{f"{named}_names": names})
    assert splits(findings) == {named: ["b"], rest: ["a", "c"]}


def test_with_two_lists_the_rest_is_left_out_with_a_note(folders: tuple[Path, Path], tmp_path: Path):
    train, test = write_list(tmp_path / "1.txt", "a"), write_list(tmp_path / "2.txt", "b")
    findings = found(folders, "a.jpg b.jpg c.jpg", "a.png b.png c.png", train_names=train, test_names=test)
    assert splits(findings) == {"train": ["a"], "test": ["b"]}
    assert findings.notes == ["1 pairs that neither list names are left out: c"]


def test_unknown_names_and_names_in_both_lists_are_problems(folders: tuple[Path, Path], tmp_path: Path):
    train, test = write_list(tmp_path / "1.txt", "a\nx"), write_list(tmp_path / "2.txt", "a")
    unknown, both = found(folders, "a.jpg", "a.png", train_names=train, test_names=test).problems
    assert unknown == f"{train} names 1 that are not there: x"
    assert both == "1 names are in both lists: a"


@pytest.mark.parametrize(("text", "words"), [("", "no name"), ("# a\n", "no name"), ("a\nb\na.png\n", "twice")])
def test_lists_without_names_or_with_repeated_ones_are_refused(
    folders: tuple[Path, Path], tmp_path: Path, text: str, words: str
):
    with pytest.raises(SourceError, match=words):
        found(folders, "a.jpg b.jpg", "a.png b.png", test_names=write_list(tmp_path / "n.txt", text))


def test_an_absent_list_is_named(folders: tuple[Path, Path], tmp_path: Path):
    with pytest.raises(SourceError, match=r"no\.txt is not a file"):
        found(folders, "a.jpg", "a.png", test_names=tmp_path / "no.txt")
