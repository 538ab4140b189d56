"""Archives for cp: what is sent arrives, what is hostile stays out."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from tiffin.cli import copy_archive
from tiffin.cli.command import Failed
from tiffin.cli.copy import destination, split


def archive(*members: tarfile.TarInfo) -> list[bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        for member in members:
            out.addfile(member, io.BytesIO(b"x" * member.size))
    data = buffer.getvalue()
    return [data[start : start + 700] for start in range(0, len(data), 700)]


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    if kind == tarfile.DIRTYPE:
        info.mode = 0o755
    return info


def test_a_tree_survives_the_way_there_and_back(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_bytes(os.urandom(100_000))
    (source / "sub" / "file").chmod(0o4750)
    (source / ("long" * 60)).write_text("a name that needs an extended header")
    (source / "link").symlink_to("sub/file")
    os.mkfifo(source / "fifo")
    (tmp_path / "target").mkdir()
    copy_archive.extract(copy_archive.create(str(source), "source"), str(tmp_path / "target"), "renamed", False)
    copy = tmp_path / "target" / "renamed"
    assert (copy / "sub" / "file").read_bytes() == (source / "sub" / "file").read_bytes()
    assert (copy / "sub" / "file").stat().st_mode == (source / "sub" / "file").stat().st_mode
    assert (copy / "sub" / "file").stat().st_mtime == pytest.approx((source / "sub" / "file").stat().st_mtime)
    assert (copy / ("long" * 60)).exists() and os.readlink(copy / "link") == "sub/file"
    assert (copy / "fifo").is_fifo()


@pytest.mark.parametrize("name", ["../out", "a/../../out"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(Failed, match="leads out"):
        copy_archive.extract(archive(entry(name, size=1)), str(tmp_path / "in"), "", False)
    assert not (tmp_path / "out").exists()


def test_an_absolute_name_stays_inside(tmp_path: Path) -> None:
    copy_archive.extract(archive(entry("/file", size=1)), str(tmp_path), "", False)
    assert (tmp_path / "file").read_bytes() == b"x"


def test_a_symbolic_link_is_never_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    hostile = archive(entry("d", tarfile.SYMTYPE, str(tmp_path / "out")), entry("d/file", size=1))
    with pytest.raises(Failed, match="through a symbolic link"):
        copy_archive.extract(hostile, str(tmp_path / "in"), "", False)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_link_in_the_place_of_a_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("safe")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").symlink_to(tmp_path / "victim")
    copy_archive.extract(archive(entry("file", size=3)), str(tmp_path / "in"), "", False)
    assert (tmp_path / "victim").read_text() == "safe"
    assert (tmp_path / "in" / "file").read_text() == "xxx"


def test_a_file_never_replaces_a_directory(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(Failed, match="cannot overwrite directory"):
        copy_archive.extract(archive(entry("d", size=1)), str(tmp_path), "", False)


@pytest.mark.parametrize(
    ("target", "is_folder", "exists", "from_folder", "place"),
    [
        ("/t", True, True, True, ("/t", "")),
        ("/t", True, True, False, ("/t", "")),
        ("/t", False, True, False, ("/", "t")),
        ("/a/t", False, False, True, ("/a", "t")),
        ("/a/t/", False, False, True, ("/a", "t")),
        ("/a/t", False, False, False, ("/a", "t")),
    ],
)
def test_the_place_of_a_copy_is_cps(
    target: str, is_folder: bool, exists: bool, from_folder: bool, place: tuple[str, str]
) -> None:
    assert destination(target, is_folder, exists, from_folder) == place


def test_impossible_places_are_refused() -> None:
    with pytest.raises(Failed, match="cannot copy directory"):
        destination("/t", False, True, True)
    with pytest.raises(Failed, match="no such directory"):
        destination("/t/", False, False, False)


@pytest.mark.parametrize(
    ("argument", "parts"),
    [("c:/a", ("c", "/a")), ("/a:b", ("", "/a:b")), ("./a:b", ("", "./a:b")), ("a", ("", "a")), ("-", ("", "-"))],
)
def test_containers_are_told_from_paths(argument: str, parts: tuple[str, str]) -> None:
    assert split(argument) == parts
