import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from btbnet_jax.pictures import Found, Report, ahead, find_pictures, result_names


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_folders_hold_pictures_at_any_depth_and_other_files_are_left_out(tmp_path: Path):
    touch(tmp_path, "b.JPG", "a/c.png", "a/x.png/d.tif", "notes.txt", "e", "b.CR2", "a/c.nef")
    touch(tmp_path, "._b.JPG", "__MACOSX/b.JPG")  # which macOS leaves
    found, problems, (note,) = find_pictures([str(tmp_path)])
    assert [str(picture.inside) for picture in found] == ["b.JPG", "a/c.png", "a/x.png/d.tif"]
    assert (problems, "raw photographs left out, 2 of them: develop" in note) == ([], True)


def test_a_file_that_is_named_counts_whatever_it_is_called_and_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    touch(tmp_path, "photo", "a/c.png", "[1].png")
    monkeypatch.chdir(tmp_path)
    found, *complaints = find_pictures(["photo", "a", "a/c.png", "./a/../photo", "[1].png"])
    assert [str(picture.path) for picture in found] == ["photo", "a/c.png", "[1].png"]
    assert complaints == [[], []]


def test_what_is_not_there_or_holds_no_picture_is_named(tmp_path: Path):
    touch(tmp_path, "empty/notes.txt")
    inputs = [str(tmp_path / name) for name in ("absent.jpg", "*.gif", "empty")]
    found, problems, notes = find_pictures(inputs)
    assert found == notes == []
    assert [problem.rpartition(": ")[2][:20] for problem in problems] == [
        "there is no such fil",
        "there is no such fil",
        "no pictures in it; t",
    ]


def test_no_two_results_have_one_name():
    inside = ["a.jpg", "a.png", "b.jpg", "B.png", "c.jpg", "c.jpg", "d/a.jpg", "é.jpg", "🙂.png"]
    names = result_names([Found(Path(str(n), one), Path(one)) for n, one in enumerate(inside)], "_focus.png")
    assert [str(name) for name in names] == [
        *("a.jpg_focus.png", "a.png_focus.png", "b.jpg_focus.png", "B.png_focus.png"),
        *("c.jpg_focus.png", "c.jpg-2_focus.png", "d/a_focus.png", "é_focus.png", "🙂_focus.png"),
    ]


def test_work_goes_on_ahead_in_other_threads_and_comes_back_in_order():
    started: list[int] = []

    def work(number: int) -> int:
        started.append(number)
        if number == 3:
            raise ValueError("three")
        return 10 * number

    found = []
    for number, future in ahead(work, range(20), threads=2):
        found.append("error" if future.exception() else future.result())
        assert len(started) <= number + 7  # not all at once
    assert found == [0, 10, 20, "error", *range(40, 200, 10)]


def test_work_that_nobody_waits_for_is_not_begun():
    gate, started = threading.Event(), []

    def work(number: int) -> None:
        started.append(number)
        if number > 0:
            gate.wait(5)

    def numbers() -> Iterator[int]:
        yield from range(100)

    results = ahead(work, numbers(), threads=2)
    next(results)
    gate.set()
    results.close()
    assert len(started) < 10


def test_a_report_goes_on_where_it_was_cut_short(tmp_path: Path):
    path = tmp_path / "report.csv"
    report = Report(path, "one")
    report.add(Path("a.jpg"), focus=0.5, result=tmp_path / "a.png")
    report.add(Path("b, with a comma.jpg"), error="damaged")
    with path.open("a") as file:
        file.write(f"{Path.cwd()}/c.jpg,c.png,one,3")
    again = Report(path, "one")
    assert again.done(Path("a.jpg"), None)
    assert not again.done(Path("a.jpg"), tmp_path / "a.png")  # whose result is gone
    assert not again.done(Path("b, with a comma.jpg"), None)
    assert not again.done(Path("c.jpg"), None)
    again.add(Path("d.jpg"), focus=0.25)
    assert Report(path, "one").done(Path("d.jpg"), None)
    assert not Report(path, "two").done(Path("a.jpg"), None)


def test_a_report_whose_first_line_was_cut_short_begins_anew(tmp_path: Path):
    (tmp_path / "report.csv").write_text("file,res")
    Report(tmp_path / "report.csv", "one").add(Path("a.jpg"), focus=1)
    assert Report(tmp_path / "report.csv", "one").done(Path("a.jpg"), None)


def test_another_file_of_the_reports_name_is_not_added_to(tmp_path: Path):
    for text in ("mine\n", "mine"):
        (tmp_path / "report.csv").write_text(text)
        with pytest.raises(ValueError, match="is no report of ours"):
            Report(tmp_path / "report.csv", "one")
        assert (tmp_path / "report.csv").read_text() == text
