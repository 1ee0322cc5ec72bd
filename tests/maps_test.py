from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from btbnet_jax.images import write_png
from btbnet_jax.maps import find_maps, named
from btbnet_jax.sources.checks import SourceError
from btbnet_jax.sources.names import candidates

SIZES = {"a": (4, 6), "b": (4, 6)}


def write(folder: Path, *names: str, size: tuple[int, int] = (4, 6), level: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        write_png(folder / name, np.full(size, level, np.uint8))


@pytest.mark.parametrize("names", [("a.png", "b.png"), ("a_FinalMap.png", "b.png"), ("gt-a.png", "b_pred.png")])
def test_maps_are_found_by_the_names_of_their_images(tmp_path: Path, names: tuple[str, str]):
    write(tmp_path, *names)
    assert find_maps(tmp_path, SIZES) == ({"a": tmp_path / names[0], "b": tmp_path / names[1]}, [])


def test_images_may_have_such_words_in_their_names_too(tmp_path: Path):
    write(tmp_path, "a_map.png")
    assert find_maps(tmp_path, {"a_image": (4, 6)})[0] == {"a_image": tmp_path / "a_map.png"}


def test_a_map_with_the_very_name_goes_before_others(tmp_path: Path):
    write(tmp_path, "a.png", "a_mask.png", "b.png")
    assert find_maps(tmp_path, SIZES) == ({"a": tmp_path / "a.png", "b": tmp_path / "b.png"}, ["a_mask.png"])


def test_files_of_no_image_are_named(tmp_path: Path):
    write(tmp_path, "a.png", "b.png", "c.png", "d_map.png")
    (tmp_path / "readme.txt").touch()
    assert find_maps(tmp_path, SIZES)[1] == ["c.png", "d_map.png"]


def test_all_that_is_wrong_is_in_one_error(tmp_path: Path):
    write(tmp_path, "a.png", size=(4, 5))
    write(tmp_path, "b_map.png", "b_pred.png", "d.png", "d.jpg")
    (tmp_path / "e.png").write_bytes(b"<html>")
    sizes = SIZES | {"c": (1, 1), "d": (4, 6), "e": (4, 6)}
    with pytest.raises(SourceError) as caught:
        find_maps(tmp_path, sizes, scored_at=3)
    text = str(caught.value)
    assert "cannot be scored" in text
    assert "1 of 5 maps are missing: c" in text
    assert "b could be b_map, b_pred" in text
    assert "has d.jpg, d.png for one image" in text
    assert "a.png has 4 × 5 pixels; its image has 4 × 6, and 3 × 3 are scored" in text
    assert "e.png: a web page" in text


def test_maps_of_another_size_are_resized_only_where_it_was_asked_for(tmp_path: Path):
    write(tmp_path, "a.png", "b.png", size=(8, 8))
    with pytest.raises(SourceError, match=r"a\.png has 8 × 8 pixels; its image has 4 × 6: .*--resize_maps"):
        find_maps(tmp_path, SIZES)
    assert len(find_maps(tmp_path, SIZES, resize=True)[0]) == 2
    assert len(find_maps(tmp_path, SIZES, scored_at=8)[0]) == 2


def test_a_wrong_folder_says_what_is_in_it(tmp_path: Path):
    with pytest.raises(SourceError, match="it is not a folder"):
        find_maps(tmp_path / "absent", SIZES)
    write(tmp_path, "x.png")
    with pytest.raises(
        SourceError, match=r"no map in .* has the name of an image:\n- images are called a, b\n- .*x\.png"
    ):
        find_maps(tmp_path, SIZES)


@pytest.mark.parametrize(
    ("dtype", "highest", "words"),
    [
        (np.uint8, 1, "the brightest level of all maps is 1 of 255, which is nearly black: multiply"),
        (np.uint16, 255, "the brightest level of all maps is 255 of 65535, which is nearly black: save"),
        (np.uint16, 1, "the brightest level of all maps is 1 of 65535"),
    ],
)
def test_maps_that_are_nearly_black_by_mistake_are_refused(
    tmp_path: Path, dtype: type[np.generic], highest: int, words: str
):
    for name, level in (("a", 0), ("b", highest)):
        Image.fromarray(np.full((4, 6), level, dtype)).save(tmp_path / f"{name}.png")
    with pytest.raises(SourceError, match=words):
        find_maps(tmp_path, SIZES)
    write(tmp_path, "a.png", level=2)  # one that is brighter tells that the scale is right
    assert len(find_maps(tmp_path, SIZES)[0]) == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_maps_that_find_nothing_in_focus_are_scored(tmp_path: Path, dtype: type[np.generic]):
    for name in SIZES:
        Image.fromarray(np.zeros((4, 6), dtype)).save(tmp_path / f"{name}.tiff")
    assert len(find_maps(tmp_path, SIZES)[0]) == 2


def test_all_maps_that_cannot_be_read_are_named_at_once(tmp_path: Path):
    write(tmp_path, "a.png", level=200)
    coloured = np.zeros((4, 6, 3), np.uint8)
    coloured[..., 0] = 200
    write_png(tmp_path / "b.png", coloured)
    for name, value in (("c", np.nan), ("d", 255)):
        Image.fromarray(np.full((4, 6), value, np.float32)).save(tmp_path / f"{name}.tiff")
    with pytest.raises(SourceError) as caught:
        find_maps(tmp_path, dict.fromkeys("abcd", (4, 6)))
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    for line, words in zip(lines[1:], ("b.png: has colours", "c.tiff: a map has", "d.tiff: a map has"), strict=True):
        assert words in line


def test_a_name_that_is_itself_such_a_word_is_found():
    assert candidates(["photo", "image"], ["photo_focus", "gt-image"]) == {
        "photo": ["photo_focus"],
        "image": ["gt-image"],
    }


def test_a_name_is_what_comes_before_the_sign_unless_that_is_a_path(tmp_path: Path):
    (tmp_path / "lr=0.1").mkdir()
    assert named("mine=maps") == ("mine", "maps")
    assert named("mine=runs/lr=0.1") == ("mine", "runs/lr=0.1")
    assert named(f"{tmp_path}/lr=0.1") == ("", f"{tmp_path}/lr=0.1")
    assert named("maps") == ("", "maps")
