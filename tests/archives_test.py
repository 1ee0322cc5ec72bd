import io
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from btbnet_jax.sources.archives import archives_in, unpack


def zip_of(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as members:
        for name in names:
            members.writestr(name, "content of " + name)
    return path


def tar_of(path: Path, *names: str) -> Path:
    with tarfile.open(path, "w:gz") as members:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            members.addfile(member, io.BytesIO(name.encode()))
    return path


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_archives_are_found_at_any_depth_and_by_their_names(tmp_path: Path):
    (tmp_path / "a").mkdir()
    for name in ("b.zip", "a/c.TGZ", "a/d.tar.gz", "e.jpg", ".hidden.zip", "f.rar"):
        (tmp_path / name).touch()
    assert [path.name for path in archives_in(tmp_path)] == ["c.TGZ", "d.tar.gz", "b.zip", "f.rar"]


@pytest.mark.parametrize(("pack", "name"), [(zip_of, "gt.zip"), (tar_of, "gt.tar.gz")])
def test_the_images_alone_are_unpacked_into_a_folder_of_the_archives_name(tmp_path: Path, pack, name: str):
    archive = pack(tmp_path / name, "a/1.jpg", "2.PNG", "a/readme.txt", "run.exe")
    (folder,), problems = unpack([archive], tmp_path / "work")
    assert folder.name == "gt"
    assert (files(folder), problems) == (["2.PNG", "a/1.jpg"], [])


@pytest.mark.parametrize(("pack", "name"), [(zip_of, "x.zip"), (tar_of, "x.tgz")])
def test_nothing_is_written_outside_the_workspace(tmp_path: Path, pack, name: str):
    archive = pack(tmp_path / name, "../../../escaped.jpg", "/escaped.jpg")
    unpack([archive], tmp_path / "deep" / "work")  # zip members lose their dots, tar members are refused
    assert [path for path in tmp_path.rglob("escaped.jpg") if "work" not in path.parts] == []
    assert not Path("/escaped.jpg").exists()


def test_all_archives_that_cannot_be_unpacked_are_named_with_the_reason(tmp_path: Path):
    whole = zip_of(tmp_path / "whole.zip", *(f"{n}.jpg" for n in range(100))).read_bytes()
    contents = {
        "a.zip": b"<!DOCTYPE html><html>Sign in</html>",
        "b.zip": whole[: len(whole) // 2],
        "c.tgz": b"\n <HTML>",
        "d.zip": b"",
        "e.rar": b"Rar!",
        "f.tar": b"no archive",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    folders, lines = unpack(archives_in(tmp_path), tmp_path / "work")
    assert [len(files(folder)) for folder in folders] == [0, 0, 0, 0, 0, 0, 100]
    reasons = ("web page", "cut short", "web page", "empty", "by hand", "cut short")
    for line, name, reason in zip(lines, contents, reasons, strict=True):
        assert name in line
        assert reason in line


def test_a_cut_tar_is_named(tmp_path: Path):
    archive = tar_of(tmp_path / "a.tgz", *(f"{n}.jpg" for n in range(100)))
    archive.write_bytes(archive.read_bytes()[:-60])
    _, (problem,) = unpack([archive], tmp_path / "work")
    assert re.search(r"a\.tgz: .*cut short", problem)


def test_a_tar_whose_compression_is_damaged_is_named(tmp_path: Path):
    for suffix in ("bz2", "xz"):
        archive = tmp_path / f"a.tar.{suffix}"
        with tarfile.open(archive, f"w:{suffix}") as members:  # pyright: ignore[reportCallIssue, reportArgumentType]
            member = tarfile.TarInfo("1.jpg")
            member.size = 100_000
            members.addfile(member, io.BytesIO(np.random.default_rng(0).bytes(member.size)))
        data = bytearray(archive.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 100] = bytes(100)
        archive.write_bytes(data)
        _, problems = unpack([archive], tmp_path / suffix)
        assert [str(archive) in problem for problem in problems] == [True]
