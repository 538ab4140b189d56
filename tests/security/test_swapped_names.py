"""A container that renames things under the engine's hands: what the engine touches next is never the host's.

The swap is done at the very step where it hurts, in place of a race that would be won once in a thousand times.
"""

import io
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiffin.cli import copy_archive
from tiffin.cli.command import Failed
from tiffin.errors import TiffinError
from tiffin.runtime import controls
from tiffin.snapshots import trees
from tiffin.snapshots.extract import extract
from tiffin.snapshots.pack import END, Packer
from tiffin.snapshots.tar import Entry, Kind, TarReader, entry_header

pytestmark = pytest.mark.root


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A file of the host's that nobody else may read."""
    path = tmp_path / "host"
    path.mkdir()
    secret = path / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    return path


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "volume"
    path.mkdir()
    return path


def swap_before(monkeypatch: pytest.MonkeyPatch, call: str, swap: Callable[[], None]) -> None:
    """Run `swap` once, just before the engine makes the system call after `os.<call>`."""
    original = getattr(os, call)
    armed = [True]

    def called(*words: Any, **named: Any) -> Any:
        result = original(*words, **named)
        if armed and named.get("follow_symlinks") is False:
            armed.clear()
            swap()
        return result

    monkeypatch.setattr(os, call, called)


def replaced_by_link(path: Path, target: Path) -> Callable[[], None]:
    def swap() -> None:
        path.rename(path.with_name("aside"))
        path.symlink_to(target)

    return swap


@pytest.mark.parametrize("kind", [Kind.DIRECTORY, Kind.FIFO, Kind.CHARACTER])
def test_an_extracted_entry_that_becomes_a_link_changes_no_mode_of_the_host(
    monkeypatch: pytest.MonkeyPatch, host: Path, volume: Path, kind: Kind
) -> None:
    swap_before(monkeypatch, "chown", replaced_by_link(volume / "entry", host / "secret"))
    archive = entry_header(Entry(b"entry", kind, 0o777, major=1, minor=3)) + END
    fd = os.open(volume, os.O_RDONLY | os.O_DIRECTORY)
    with pytest.raises(TiffinError):
        extract(fd, io.BytesIO(archive))
    os.close(fd)
    assert stat.S_IMODE((host / "secret").stat().st_mode) == 0o600


def test_a_copied_entry_that_becomes_a_link_changes_no_mode_of_the_host(
    monkeypatch: pytest.MonkeyPatch, host: Path, volume: Path, tmp_path: Path
) -> None:
    (tmp_path / "image/entry").mkdir(parents=True)
    (tmp_path / "image/entry").chmod(0o777)
    swap_before(monkeypatch, "chown", replaced_by_link(volume / "entry", host / "secret"))
    source, target = (os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (tmp_path / "image", volume))
    with pytest.raises(OSError):
        trees.copy(source, target)
    os.close(source)
    os.close(target)
    assert stat.S_IMODE((host / "secret").stat().st_mode) == 0o600


def test_a_copied_hard_link_is_none_to_a_file_of_the_host(
    monkeypatch: pytest.MonkeyPatch, host: Path, volume: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    (image / "a").mkdir(parents=True)
    (image / "a/secret").write_text("the image's")
    os.link(image / "a/secret", image / "b")
    original = trees.copy_times_and_owner

    def after(status: os.stat_result, directory: int, name: bytes) -> None:
        original(status, directory, name)
        if name == b"a":
            replaced_by_link(volume / "a", host)()

    monkeypatch.setattr(trees, "copy_times_and_owner", after)
    source, target = (os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (image, volume))
    with pytest.raises(OSError):
        trees.copy(source, target)
    os.close(source)
    os.close(target)
    assert (host / "secret").stat().st_nlink == 1


def test_a_file_that_becomes_a_device_is_not_opened(monkeypatch: pytest.MonkeyPatch, volume: Path) -> None:
    (volume / "file").write_text("text")
    opened: list[Any] = []
    original = Packer._described

    def described(self: Packer, *words: Any) -> Entry:
        (volume / "file").unlink()
        os.mknod(volume / "file", stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero: it has no end
        return original(self, *words)

    monkeypatch.setattr(Packer, "_described", described)
    real = os.open

    def watched(path: Any, flags: int, *words: Any, **named: Any) -> int:
        fd = real(path, flags, *words, **named)
        if not flags & os.O_PATH and stat.S_ISCHR(os.fstat(fd).st_mode):
            opened.append(path)
        return fd

    monkeypatch.setattr(os, "open", watched)
    fd = real(volume, os.O_RDONLY | os.O_DIRECTORY)
    packed = b"".join([*Packer().tree(fd), END])
    os.close(fd)
    assert opened == []
    assert list(TarReader(io.BytesIO(packed))) == []


@pytest.mark.parametrize("way", ["tree", "item"])
def test_nothing_comes_beneath_what_was_told_as_a_link(monkeypatch: pytest.MonkeyPatch, volume: Path, way: str) -> None:
    """Else whoever extracts it (`docker cp` out of a container) writes where the link leads on his own machine."""
    (volume / "real").mkdir()
    (volume / "real/passwd").write_text("evil")
    (volume / "dir").symlink_to("/etc")
    original = os.readlink

    def read(path: Any, **named: Any) -> Any:
        target = original(path, **named)
        if (volume / "dir").is_symlink():
            (volume / "dir").unlink()
            (volume / "real").rename(volume / "dir")
        return target

    monkeypatch.setattr(os, "readlink", read)
    fd = os.open(volume, os.O_RDONLY | os.O_DIRECTORY)
    packer = Packer()
    parts = packer.tree(fd) if way == "tree" else packer.item(fd, b"dir", b"dir")
    entries = {entry.name: entry.kind for entry in TarReader(io.BytesIO(b"".join([*parts, END])))}
    os.close(fd)
    assert entries[b"dir"] is Kind.SYMLINK
    assert b"dir/passwd" not in entries


def test_the_command_line_makes_no_directory_of_a_link(host: Path, volume: Path) -> None:
    """A link, then a directory of the same name: its mode and owner would be those of what the link leads to."""
    host.chmod(0o700)
    archive = entry_header(Entry(b"x/way", Kind.SYMLINK, 0o777, link=os.fsencode(host)))
    archive += entry_header(Entry(b"x/way/", Kind.DIRECTORY, 0o777)) + END
    with pytest.raises(Failed):
        copy_archive.extract([archive], str(volume), "", keep_owner=True)
    assert stat.S_IMODE(host.stat().st_mode) == 0o700
    (volume / "mine").symlink_to(host)
    archive = entry_header(Entry(b"./", Kind.DIRECTORY, 0o755)) + entry_header(Entry(b"new", Kind.FILE)) + END
    copy_archive.extract([archive], str(volume / "mine"), "", keep_owner=False)
    assert (host / "new").exists()


def test_a_number_that_became_somebody_elses_is_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reading cgroup.procs and opening the process, its number may have been given away."""
    with subprocess.Popen(["sleep", "1000"]) as bystander:
        lists = [b"%d\n" % bystander.pid, b"", b""]
        monkeypatch.setattr(controls, "read", lambda path: lists.pop(0) if lists else b"")
        controls.kill((b"cgroup.procs",))
        assert bystander.poll() is None
        lists = [b"%d\n" % bystander.pid] * 2
        controls.kill((b"cgroup.procs",))
        assert bystander.wait(timeout=30) == -9
