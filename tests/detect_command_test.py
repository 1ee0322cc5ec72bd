"""`btbnet detect`, called as a function and, for pipes, as a command."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from btbnet_jax.detect import Detector
from btbnet_jax.images import encode_png, quantise, read_image, read_mask
from tests.detect_results import results, rows
from tests.raw_sets import noise


def test_files_and_folders_have_their_maps_under_their_names(detect, small_weights: Path, tmp_path: Path):
    status, output, errors = detect("a.png", "album")
    assert (status, output, "3 of 3 pictures done" in errors) == (0, "", True), errors
    assert results(tmp_path / "focus") == ["a_focus.png", "b_focus.png", "deep/c_focus.png", "report.csv"]
    expected = Detector.load(str(small_weights))(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "focus" / "a_focus.png"), quantise(expected.focus_map))
    row = rows(tmp_path / "focus")["a.png"]
    assert (row["height"], row["width"], row["error"]) == ("20", "24", "")
    assert float(row["focus"]) == pytest.approx(expected.fraction_in_focus(), abs=1e-4)


def test_patterns_and_lists_name_pictures_too(detect, tmp_path: Path):
    (tmp_path / "list.txt").write_text("a.png\n\nalbum/b.png\n")
    assert detect("--list", "list.txt", "--output", "one")[0] == 0
    assert results(tmp_path / "one") == ["a_focus.png", "b_focus.png", "report.csv"]
    assert detect("a.png", "album/**/*.png", "--output", "other")[0] == 0
    assert results(tmp_path / "other") == ["a_focus.png", "b_focus.png", "c_focus.png", "report.csv"]


@pytest.mark.parametrize(
    ("kind", "name", "size"),
    [
        ("map16", "a_focus16.png", (20, 24)),
        ("mask", "a_mask.png", (20, 24)),
        ("overlay", "a_overlay.png", (20, 24)),
        ("side", "a_side.png", (20, 24 + 8 + 24)),
    ],
)
def test_every_kind_of_picture_is_written(detect, tmp_path: Path, kind: str, name: str, size: tuple[int, int]):
    assert detect("a.png", "--kind", kind)[0] == 0
    assert read_image(tmp_path / "focus" / name).shape[:2] == size


def test_arrays_and_16_bits_hold_the_map_itself_and_inverted_ones_its_negative(
    detect, small_weights: Path, tmp_path: Path
):
    focus_map = Detector.load(str(small_weights))(tmp_path / "a.png").focus_map
    for kind in ("npy", "map16", "mask"):
        assert detect("a.png", "--kind", kind, "--invert")[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "focus" / "a_focus.npy"), 1 - focus_map)
    levels = np.asarray(Image.open(tmp_path / "focus" / "a_focus16.png"))
    np.testing.assert_allclose(levels / 65535, 1 - focus_map, atol=0.5001 / 65535)
    np.testing.assert_array_equal(read_mask(tmp_path / "focus" / "a_mask.png") > 0, focus_map < 0.5)


def test_all_maps_are_shown_in_a_labelled_panel(detect, tmp_path: Path):
    assert detect("a.png", "--all-maps")[0] == 0
    assert results(tmp_path / "focus") == ["a_focus.png", "a_maps.png", "report.csv"]
    assert read_image(tmp_path / "focus" / "a_maps.png").shape[1] > 5 * 20


def test_pictures_that_cannot_be_read_are_named_and_the_others_done(detect, tmp_path: Path):
    (tmp_path / "album" / "bad.jpg").write_text("<html>")
    (tmp_path / "album" / "empty.png").touch()
    status, _, errors = detect("album", "absent.jpg")
    assert status == 1
    assert "btbnet: album/bad.jpg: a web page, not an image" in errors
    assert "btbnet: album/empty.png: an empty file" in errors
    assert "btbnet: absent.jpg: there is no such file or folder" in errors
    assert results(tmp_path / "focus") == ["b_focus.png", "deep/c_focus.png", "report.csv"]
    assert "web page" in rows(tmp_path / "focus")["album/bad.jpg"]["error"]


def test_raw_photographs_beside_others_are_mentioned(detect, tmp_path: Path):
    (tmp_path / "album" / "b.CR2").touch()
    status, _, errors = detect("album")
    assert (status, "album: raw photographs left out, 1 of them" in errors) == (0, True), errors


def test_an_output_folder_that_cannot_be_written_is_named(detect, tmp_path: Path):
    (tmp_path / "file").touch()
    status, _, errors = detect("a.png", "--output", "file/maps")
    assert (status, errors) == (1, "btbnet: cannot write into file/maps: Not a directory; choose another folder\n")


def test_an_interrupted_command_ends_without_a_traceback(detect, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("btbnet_jax.cli.detect.find_pictures", interrupt)
    status, _, errors = detect("a.png")
    assert (status, errors.startswith("btbnet: interrupted")) == (130, True)


def test_pictures_of_one_name_have_results_of_their_own(detect, tmp_path: Path):
    for name in ("a.jpg", "album/a.png", "A.bmp"):
        Image.fromarray(noise((9, 9))).save(tmp_path / name)
    assert detect("a.png", "a.jpg", "A.bmp", "album/a.png")[0] == 0
    assert len(results(tmp_path / "focus")) == 5
    assert len({row["result"].casefold() for row in rows(tmp_path / "focus").values()}) == 4


def test_what_is_hardly_in_focus_is_listed(detect, tmp_path: Path):
    status, output, _ = detect("a.png", "album", "--kind", "none", "--select", "focus<1")
    shares = {name: float(row["focus"]) for name, row in sorted(rows(tmp_path / "focus").items())}
    assert (status, output.splitlines()) == (0, [name for name, share in shares.items() if share < 1])
    middle = sorted(shares.values())[1]
    output = detect("a.png", "album", "--kind", "none", "--select", f"focus >= {middle:.4f}")[1]
    assert output.splitlines() == [name for name, share in shares.items() if share >= middle]
    assert results(tmp_path / "focus") == ["report.csv"]


def test_a_raw_photograph_that_is_named_is_refused_with_what_to_do(detect, tmp_path: Path):
    Image.fromarray(noise((9, 9))).save(tmp_path / "preview.tif")
    (tmp_path / "preview.tif").rename(tmp_path / "b.NEF")
    status, _, errors = detect("b.NEF")
    assert (status, "b.NEF: a raw photograph: develop it first" in errors) == (1, True), errors


def test_a_folder_that_contains_itself_ends(detect, tmp_path: Path):
    (tmp_path / "album" / "deep" / "again").symlink_to(tmp_path / "album")
    (tmp_path / "album" / "nowhere.png").symlink_to(tmp_path / "absent.png")
    status, _, errors = detect("album")
    assert (status, "2 of 3 pictures done" in errors, "nowhere.png" in errors) == (1, True, True), errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give photographs"),
        (["-", "a.png"], "- stands for one picture from standard input"),
        (["a.png", "--threshold", "2"], "--threshold is from 0 to 1, not 2.0"),
        (["a.png", "--max-size", "-1"], "--max-size is 0 or more, not -1"),
        (["a.png", "--report", "r.txt"], "--report ends in .csv or .json, not '.txt'"),
        (["-", "--all-maps"], "--all-maps has no effect with -"),
        (["-", "--output", "maps"], "--output has no effect with -"),
        (["a.png", "--kind", "none", "--all-maps"], "--all-maps has no effect with --kind none"),
        (["a.png", "--kind", "none", "--invert"], "--invert has no effect with --kind none"),
        (["a.png", "--report", "focus/report.csv"], "is where what was done is kept"),
        (["--list", "/dev/null"], "/dev/null names no picture: a list has one path a line"),
        (["album", "--output", "album/../album"], "album is searched for photographs, and what is written there would"),
        (["a.png", "--tile", "8"], "a tile 16 pixels a side or more"),
        (["a.png", "--weights", "absent"], "no weights absent found"),
    ],
)
def test_options_that_cannot_be_are_named_before_anything_is_written(
    detect, tmp_path: Path, arguments: list[str], words: str
):
    status, _, errors = detect(*arguments)
    assert (status, words in errors) == (1, True), errors
    assert not (tmp_path / "focus").exists()


def test_a_selection_that_makes_no_sense_is_refused(detect, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        detect("a.png", "--select", "blur>1")
    assert "is not like 'focus<0.1'" in capsys.readouterr().err


def test_a_device_that_is_not_there_is_named():
    line = [sys.executable, "-m", "btbnet_jax", "detect", "--device", "tpu", "a.png"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, "btbnet: JAX finds no tpu here; leave out --device" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr


def test_a_picture_goes_through_a_pipe(small_weights: Path):
    image = noise((10, 12))
    done = subprocess.run(
        [sys.executable, "-m", "btbnet_jax", "detect", "--weights", str(small_weights), "-"],
        input=encode_png(image),
        capture_output=True,
        check=True,
    )
    expected = quantise(Detector.load(str(small_weights))(image).focus_map)
    np.testing.assert_allclose(read_mask(io.BytesIO(done.stdout)).astype(int), expected, atol=1)
