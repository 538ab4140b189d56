"""Receiving a client's directory: what changes, what stays, and clients that lie."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tiffin.build.dockerfile.ignore import Patterns
from tiffin.client.build_files import Listing
from tiffin.errors import Invalid
from tiffin.http.buildkit import filesync
from tiffin.http.buildkit.filesync import DATA, FAILED, FINISHED, REQUEST, STAT, Receiver
from tiffin.wire.buildkit import message

DIRECTORY, SYMLINK, FIFO = 1 << 31, 1 << 27, 1 << 25


def packet(**fields: Any) -> bytes:
    return bytes(message("fsutil.types.Packet")(**fields).SerializeToString())


def entry(path: str, mode: int = 0o644, **fields: Any) -> bytes:
    return packet(type=STAT, stat=message("fsutil.types.Stat")(path=path, mode=mode, **fields))


END = packet(type=STAT)


class Transfer:
    """A Receiver on a directory."""

    def __init__(self, folder: Path, ignore: Patterns | None = None) -> None:
        self.root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self.receiver = Receiver(self.root, ignore)

    def take(self, *packets: bytes) -> list[Any]:
        """The answers, decoded."""
        kind = message("fsutil.types.Packet")
        return [kind.FromString(answer) for answer in self.receiver.take(list(packets))]

    def close(self) -> None:
        self.receiver.close()
        os.close(self.root)


@pytest.fixture
def transfer(tmp_path: Path) -> Iterator[Transfer]:
    found = Transfer(tmp_path)
    yield found
    found.close()


def synced(source: Path, target: Path, *, exclude: tuple[str, ...] = (), paths: tuple[str, ...] = ()) -> list[str]:
    """Our own client's listing into a Receiver; the names of the files whose bytes were asked for."""
    kind = message("fsutil.types.Packet")
    listing = Listing(str(source), paths, exclude, kind)
    names, transfer = [], Transfer(target, Patterns(exclude) if exclude else None)
    try:
        listed = list(listing.packets())
        pending = transfer.take(*listed)
        while pending:
            answer = pending.pop(0)
            if answer.type == REQUEST:
                names.append(kind.FromString(listed[answer.ID]).stat.path)
                pending += transfer.take(*listing.content(answer.ID))
        assert transfer.receiver.done
    finally:
        transfer.close()
    return names


def test_a_tree_arrives_as_it_is(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "d" / "e").mkdir(parents=True)
    target.mkdir()
    (source / "d" / "file").write_bytes(b"content" * 50000)
    (source / "empty").touch()
    (source / "d" / "file").chmod(0o4751)
    (source / "d" / "link").symlink_to("../empty")
    os.link(source / "empty", source / "second")
    os.mkfifo(source / "fifo")
    os.utime(source / "d", ns=(0, 123456789012345678))
    assert sorted(synced(source, target)) == ["d/file", "empty"]
    assert (target / "d" / "file").read_bytes() == b"content" * 50000
    assert stat.S_IMODE((target / "d" / "file").stat().st_mode) == 0o4751
    assert os.readlink(target / "d" / "link") == "../empty"
    assert (target / "second").samefile(target / "empty")
    assert (target / "fifo").is_fifo()
    assert (target / "d").stat().st_mtime_ns == 123456789012345678


def test_what_has_not_changed_is_not_sent_nor_touched(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "d").mkdir(parents=True)
    target.mkdir()
    for name in ("same", "d/changed", "gone"):
        (source / name).write_text("1")
    synced(source, target)
    before = (target / "same").stat()
    (source / "d" / "changed").write_text("22")
    (source / "gone").unlink()
    assert synced(source, target) == ["d/changed"]
    assert (target / "same").stat().st_ctime_ns == before.st_ctime_ns
    assert (target / "d" / "changed").read_text() == "22"
    assert not (target / "gone").exists()


def test_files_and_directories_change_places(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "a" / "inner").mkdir(parents=True)
    (source / "b").parent.mkdir(exist_ok=True)
    (source / "b").write_text("file")
    target.mkdir()
    synced(source, target)
    (source / "a" / "inner").rmdir()
    (source / "a").rmdir()
    (source / "b").unlink()
    (source / "a").write_text("now a file")
    (source / "b").mkdir()
    (source / "b" / "x").symlink_to("/etc/passwd")
    synced(source, target)
    assert (target / "a").read_text() == "now a file"
    assert os.readlink(target / "b" / "x") == "/etc/passwd"


def test_ignored_files_stay_away_but_for_those_taken_back(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep" / "er").mkdir(parents=True)
    target.mkdir()
    for name in ("top", "deep/er/kept", "deep/er/not"):
        (source / name).write_text(name)
    assert synced(source, target, exclude=("**", "!deep/er/kept")) == ["deep/er/kept"]
    assert sorted(path.name for path in target.rglob("*")) == ["deep", "er", "kept"]


def test_only_wanted_paths_are_listed_with_what_links_lead_to(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "real" / "sub").mkdir(parents=True)
    target.mkdir()
    for name in ("real/sub/file", "real/other", "match1", "match2", "left"):
        (source / name).write_text(name)
    (source / "link").symlink_to("/real/sub")
    assert sorted(synced(source, target, paths=("link/file", "match[^2]"))) == ["match1", "real/sub/file"]
    (source / "loop").symlink_to("loop")
    assert synced(source, target, paths=("loop", "../outside")) == []


@pytest.mark.parametrize("path", ["../evil", "/evil", "a/../../evil", "", ".", "a//b", "a/./b", "..", "a\0b"])
def test_names_that_lead_out_are_refused(transfer: Transfer, tmp_path: Path, path: str) -> None:
    with pytest.raises(Invalid):
        transfer.take(entry("a", DIRECTORY | 0o755), entry(path))
    assert not (tmp_path.parent / "evil").exists()


def test_a_link_is_never_followed(transfer: Transfer, tmp_path: Path) -> None:
    outside = tmp_path.parent / "outside"
    outside.mkdir(exist_ok=True)
    with pytest.raises((Invalid, OSError)):
        transfer.take(entry("link", SYMLINK | 0o777, linkname=str(outside)), entry("link/file"), END)
    assert not list(outside.iterdir())


def test_a_link_left_by_a_former_transfer_is_replaced_not_followed(tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (target / "d").symlink_to(outside)
    transfer = Transfer(target)
    (request,) = transfer.take(entry("d", DIRECTORY | 0o755), entry("d/f", size=1), END)
    (finished,) = transfer.take(packet(type=DATA, ID=request.ID, data=b"x"), packet(type=DATA, ID=request.ID))
    transfer.close()
    assert finished.type == FINISHED
    assert (target / "d" / "f").read_bytes() == b"x"
    assert not list(outside.iterdir())


@pytest.mark.parametrize(
    "packets",
    [
        [packet(type=DATA, ID=0, data=b"unasked")],
        [entry("a", size=1), packet(type=DATA, ID=7, data=b"x")],
        [entry("a"), entry("a")],
        [entry("d/f")],
        [END, entry("late")],
        [entry("hard", linkname="../../etc/passwd")],
        [entry("hard", linkname="unlisted")],
        [entry("odd", 1 << 19)],
        [packet(type=FAILED, data=b"the client cannot go on")],
    ],
)
def test_packets_out_of_order_are_refused(transfer: Transfer, packets: list[bytes]) -> None:
    with pytest.raises(Invalid):
        transfer.take(*packets)


def test_files_sent_at_once_are_limited(transfer: Transfer) -> None:
    count = filesync.OPEN_FILES + 1
    transfer.take(*(entry(f"f{number:03}", size=9) for number in range(count)))
    with pytest.raises(Invalid):
        transfer.take(*(packet(type=DATA, ID=number, data=b"x") for number in range(count)))


def test_an_interrupted_file_is_asked_for_again(tmp_path: Path) -> None:
    first = Transfer(tmp_path)
    first.take(entry("f", size=2, modTime=5), END)
    first.take(packet(type=DATA, ID=0, data=b"ab"))
    first.close()
    again = Transfer(tmp_path)
    (request,) = again.take(entry("f", size=2, modTime=5), END)
    again.close()
    assert request.type == REQUEST
