"""Content digests of trees that are kept across builds: a file is read once, and again when it has changed."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tiffin.build.keys import ContentInput
from tiffin.build.solve import contents
from tiffin.model.digest import Digest


def rewrite(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "bytes": rewrite,
    "mode": lambda path: path.chmod(0o600),
    "attribute": lambda path: os.setxattr(path, "user.note", b"new"),
}


def digest(root: Path, hashes: contents.Hashes) -> Digest:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return contents.digest(fd, ContentInput(0, ("/",)), hashes)
    finally:
        os.close(fd)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree that is older than what the kernel's clock can tell apart."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_bytes(b"bytes")
    os.setxattr(tmp_path / "tree/file", "user.note", b"old")
    changed = (tmp_path / "tree/file").stat().st_ctime_ns
    while time.time_ns() <= changed + 200_000_000:
        time.sleep(0.02)
    return tmp_path / "tree"


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_in_what_was_read_before(tree: Path, tmp_path: Path, change: str) -> None:
    hashes = contents.Hashes(tmp_path / "known")
    first = digest(tree, hashes)
    hashes.save()
    CHANGES[change](tree / "file")
    assert digest(tree, contents.Hashes(tmp_path / "known")) != first


def test_what_was_read_before_is_not_read_again(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = contents.Hashes(tmp_path / "known")
    first = digest(tree, hashes)
    hashes.save()
    monkeypatch.setattr(contents, "_reading", lambda *_: pytest.fail("read again"))
    assert digest(tree, contents.Hashes(tmp_path / "known")) == first
