import os
from pathlib import Path

import pytest

from tiffin.linux import paths


def opened(place: Path) -> int:
    """A directory as O_PATH."""
    return os.open(place, os.O_PATH | os.O_DIRECTORY)


def test_links_and_dots_stay_in_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "absolute").symlink_to("/inner")
    (root / "up").symlink_to("../../../../inner")
    fd = opened(root)
    want = (root / "inner").stat().st_ino
    for path in (b"absolute", b"up", b"../../inner", b"/inner", b"inner/../../../inner"):
        assert os.fstat(paths.open_in(fd, path)).st_ino == want


def test_beneath_refuses_every_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    fd = opened(tmp_path)
    assert os.fstat(paths.open_beneath(fd, b"file")).st_size == 1
    with pytest.raises(OSError, match="link"):
        paths.open_beneath(fd, b"link")


def test_missing_directories_are_made_inside_and_a_dangling_link_makes_nothing(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "dangling").symlink_to("nowhere")
    (root / "etc").mkdir()
    (root / "link").symlink_to("/etc")
    fd = opened(root)
    _, made = paths.ensure_directory(fd, b"/link/a/b/../c")
    assert made
    assert (root / "etc/a/c").is_dir()
    assert not (root / "etc/a/b").exists()
    with pytest.raises(OSError, match="dangling"):
        paths.ensure_directory(fd, b"/dangling/x")
    os.close(paths.ensure_file(fd, b"/etc/deep/file"))
    assert (root / "etc/deep/file").read_bytes() == b""
    assert list(outside.iterdir()) == []


def test_paths_are_cleaned_as_go_does() -> None:
    assert paths.normal(b"/a//b/./../c/") == (b"a", b"c")
    assert paths.normal(b"../../x") == (b"x",)
    assert paths.normal(b"/") == ()
