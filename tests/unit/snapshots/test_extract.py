"""Extracting: everything as the archive says, and nothing outside the root, whatever it says."""

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tiffin.errors import Conflict, Invalid, Unavailable
from tiffin.snapshots.extract import Options, extract
from tiffin.snapshots.pack import END, Packer
from tiffin.snapshots.tar import Entry, Kind, entry_header, padding
from tiffin.snapshots.whiteouts import OverlayWhiteouts, RemovingWhiteouts, Whiteouts

pytestmark = pytest.mark.root
SECRET = "untouched"


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A file beside the root that no archive may reach."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "secret").write_text(SECRET)
    before = {item: item.lstat().st_mode for item in path.iterdir()}
    yield path
    assert {item: item.lstat().st_mode for item in path.iterdir()} == before
    assert (path / "secret").read_text() == SECRET


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


def tar(*entries: Entry | tuple[Entry, bytes]) -> bytes:
    parts = []
    for item in entries:
        entry, data = item if isinstance(item, tuple) else (item, b"")
        entry.size = len(data)
        parts.append(entry_header(entry) + data + padding(len(data)))
    return b"".join(parts) + END


def unpack(
    root: Path, data: bytes, whiteouts: Whiteouts | None = None, options: Options | None = None, beneath: bytes = b""
) -> int:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return extract(fd, io.BytesIO(data), whiteouts=whiteouts, options=options, beneath=beneath)
    finally:
        os.close(fd)


def test_owners_modes_times_links_and_devices_are_as_the_archive_says(root: Path) -> None:
    unpack(
        root,
        tar(
            Entry(b"d", Kind.DIRECTORY, 0o1777, 5, 6, mtime=10**9),
            (Entry(b"d/suid", mode=0o4755, uid=1000, gid=1000, mtime=1_500_000_000_123_456_789), b"data"),
            Entry(b"d/hard", Kind.LINK, link=b"d/suid"),
            Entry(b"d/soft", Kind.SYMLINK, 0o777, 7, 8, mtime=2 * 10**9, link=b"/etc"),
            Entry(b"null", Kind.CHARACTER, 0o666, major=1, minor=3),
            Entry(b"fifo", Kind.FIFO, 0o600),
        ),
    )
    status = (root / "d/suid").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o4755, 1000, 1000)
    assert (status.st_mtime_ns, status.st_nlink) == (1_500_000_000_123_456_789, 2)
    directory = (root / "d").stat()
    assert (stat.S_IMODE(directory.st_mode), directory.st_uid, directory.st_mtime_ns) == (0o1777, 5, 10**9)
    link = (root / "d/soft").lstat()
    assert (link.st_uid, link.st_gid, link.st_mtime_ns) == (7, 8, 2 * 10**9)
    assert (root / "null").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO((root / "fifo").stat().st_mode)


@pytest.mark.parametrize("seconds", [1 << 62, -(1 << 62), 10**17])
def test_a_time_that_no_file_system_can_hold_is_1970(root: Path, seconds: int) -> None:
    header = tarfile.TarInfo("a")
    header.mtime = seconds
    stream = header.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    fd = os.open(root, os.O_PATH)
    try:
        extract(fd, io.BytesIO(stream))
    finally:
        os.close(fd)
    assert (root / "a").stat().st_mtime == 0


def test_capabilities_survive_the_change_of_owner(root: Path) -> None:
    value = bytes.fromhex("0100000200040000000000000000000000000000")
    unpack(root, tar((Entry(b"ping", mode=0o755, uid=5, xattrs={b"security.capability": value}), b"x")))
    assert os.getxattr(root / "ping", "security.capability") == value


def test_overlayfs_s_own_attributes_are_left_out(root: Path) -> None:
    attributes = {b"trusted.overlay.redirect": b"/etc", b"user.overlay.opaque": b"y", b"user.kept": b"1"}
    unpack(root, tar(Entry(b"d", Kind.DIRECTORY, 0o755, xattrs=attributes)))
    assert os.listxattr(root / "d") == ["user.kept"]


def test_a_sparse_file_keeps_its_holes(root: Path, tmp_path: Path) -> None:
    with open(tmp_path / "holes", "wb") as file:
        file.seek(30 << 20)
        file.write(b"end")
    buffer = io.BytesIO()
    os.system(f"tar -S -C {tmp_path} -cf {tmp_path}/a.tar holes")
    buffer.write((tmp_path / "a.tar").read_bytes())
    unpack(root, buffer.getvalue())
    status = (root / "holes").stat()
    assert status.st_size == (30 << 20) + 3
    assert status.st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("name", [b"../outside/x", b"a/../../outside/x", b"/../outside/secret", b".."])
def test_a_name_that_leads_out_is_refused(root: Path, outside: Path, name: bytes) -> None:
    with pytest.raises(Invalid, match="outside of the archive"):
        unpack(root, tar((Entry(name), b"evil")))


def test_an_absolute_name_stays_inside(root: Path) -> None:
    unpack(root, tar((Entry(b"/etc/evil-of-tiffin"), b"x")))
    assert (root / "etc/evil-of-tiffin").read_bytes() == b"x"


@pytest.mark.parametrize("target", [b"../outside", b"/outside", b"../../../../../../../../tmp", b"."])
def test_a_symbolic_link_as_a_parent_stays_inside(root: Path, outside: Path, target: bytes) -> None:
    if target.startswith(b"/"):
        target = os.fsencode(outside)
    data = tar(Entry(b"way", Kind.SYMLINK, 0o777, link=target), (Entry(b"way/secret", mode=0o777), b"evil"))
    try:
        unpack(root, data)
    except Invalid:
        return  # it leads nowhere inside
    assert not target.startswith(b"/")


def test_a_symbolic_link_in_the_way_is_replaced_and_not_followed(root: Path, outside: Path) -> None:
    secret = os.fsencode(outside / "secret")
    unpack(root, tar(Entry(b"f", Kind.SYMLINK, 0o777, link=secret), (Entry(b"f", mode=0o777), b"evil")))
    assert (root / "f").read_bytes() == b"evil" and not (root / "f").is_symlink()


def test_a_directory_entry_over_a_symbolic_link_does_not_touch_its_target(root: Path, outside: Path) -> None:
    link = Entry(b"d", Kind.SYMLINK, 0o777, link=os.fsencode(outside))
    unpack(root, tar(link, Entry(b"d", Kind.DIRECTORY, 0o000, 99, 99)))
    assert not (root / "d").is_symlink() and outside.stat().st_uid == 0


@pytest.mark.parametrize("target", [b"../outside/secret", b"way/secret", b"/nothing", b""])
def test_a_hard_link_to_the_outside_is_refused(root: Path, outside: Path, target: bytes) -> None:
    way = Entry(b"way", Kind.SYMLINK, 0o777, link=os.fsencode(outside))
    with pytest.raises(Invalid):
        unpack(root, tar(way, Entry(b"l", Kind.LINK, link=target), (Entry(b"l"), b"evil")))
    assert (outside / "secret").stat().st_nlink == 1


def test_a_hard_link_to_a_symbolic_link_does_not_follow_it(root: Path, outside: Path) -> None:
    soft = Entry(b"soft", Kind.SYMLINK, 0o777, link=os.fsencode(outside / "secret"))
    unpack(root, tar(soft, Entry(b"hard", Kind.LINK, link=b"soft"), (Entry(b"hard", mode=0o777), b"evil")))
    assert (outside / "secret").stat().st_nlink == 1


def test_a_swapped_parent_is_looked_up_again(root: Path, outside: Path) -> None:
    data = tar(
        Entry(b"d", Kind.DIRECTORY, 0o755),
        (Entry(b"d/one"), b"1"),
        Entry(b"other", Kind.DIRECTORY, 0o755),
        Entry(b"d", Kind.SYMLINK, 0o777, link=b"other"),
        (Entry(b"d/two"), b"2"),
    )
    unpack(root, data)
    assert sorted(os.listdir(root / "other")) == ["two"]


def test_a_whole_directory_can_be_replaced_by_a_file(root: Path) -> None:
    (root / "d/e/f").mkdir(parents=True)
    unpack(root, tar((Entry(b"d"), b"file")))
    assert (root / "d").read_bytes() == b"file"


def test_cp_does_not_replace_a_directory_by_a_file(root: Path) -> None:
    (root / "d").mkdir()
    (root / "f").write_text("")
    with pytest.raises(Conflict, match="cannot overwrite directory 'd' with non-directory"):
        unpack(root, tar((Entry(b"d"), b"file")), options=Options(keep_directories=True))
    with pytest.raises(Conflict, match="cannot overwrite non-directory 'f' with directory"):
        unpack(root, tar(Entry(b"f", Kind.DIRECTORY)), options=Options(keep_directories=True))


def test_beneath_is_resolved_inside_the_root(root: Path, outside: Path) -> None:
    (root / "target").mkdir()
    os.symlink("/target", root / "way")
    unpack(root, tar((Entry(b"f"), b"x")), beneath=b"/way")
    assert (root / "target/f").read_bytes() == b"x"


def test_owners_can_be_mapped(root: Path) -> None:
    unpack(root, tar((Entry(b"f", uid=1, gid=2), b"")), options=Options(owner=lambda uid, gid: (uid + 100, gid + 100)))
    assert ((root / "f").stat().st_uid, (root / "f").stat().st_gid) == (101, 102)


def test_extraction_stops_before_the_disk_is_full(root: Path) -> None:
    with pytest.raises(Unavailable, match="no space left on device"):
        unpack(root, tar((Entry(b"f"), b"x")), options=Options(floor=1 << 62))


def test_whiteouts_become_overlayfs_s(root: Path) -> None:
    unpack(
        root,
        tar(Entry(b"d/.wh.gone"), Entry(b"o", Kind.DIRECTORY, 0o755), Entry(b"o/.wh..wh..opq"), Entry(b".wh..wh.plnk")),
        OverlayWhiteouts(),
    )
    status = (root / "d/gone").lstat()
    assert stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
    assert os.getxattr(root / "o", "trusted.overlay.opaque") == b"y"
    assert sorted(os.listdir(root)) == ["d", "o"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_directory_and_its_whiteout_in_one_layer_make_it_opaque(root: Path, order: tuple[int, int]) -> None:
    entries = (Entry(b"d", Kind.DIRECTORY, 0o755), Entry(b".wh.d"))
    unpack(root, tar(*(entries[index] for index in order)), OverlayWhiteouts())
    assert os.getxattr(root / "d", "trusted.overlay.opaque") == b"y"


@pytest.mark.parametrize("name", [b".wh.", b".wh..", b"d/.wh..."])
def test_a_whiteout_of_dots_is_refused(root: Path, outside: Path, name: bytes) -> None:
    with pytest.raises(Invalid, match="invalid whiteout"):
        unpack(root, tar(Entry(name)), OverlayWhiteouts())


@pytest.mark.parametrize("whiteout", [b"way/.wh.secret", b".wh.way", b"way/.wh..wh..opq"])
def test_a_whiteout_removes_nothing_outside(root: Path, outside: Path, whiteout: bytes) -> None:
    os.symlink(outside, root / "way")
    try:
        unpack(root, tar(Entry(whiteout)), RemovingWhiteouts())
    except Invalid:
        pass


def test_an_opaque_directory_keeps_what_its_own_layer_brought(root: Path) -> None:
    (root / "d/below").mkdir(parents=True)
    (root / "d/old").write_text("")
    data = tar((Entry(b"d/new"), b"x"), (Entry(b"d/below/mine"), b"y"), Entry(b"d/.wh..wh..opq"))
    unpack(root, data, RemovingWhiteouts())
    assert sorted(os.listdir(root / "d")) == ["below", "new"]
    assert os.listdir(root / "d/below") == ["mine"]


def test_what_is_packed_is_unpacked_the_same(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "a/b").mkdir(parents=True)
    (source / "a/file").write_bytes(os.urandom(100_000))
    os.link(source / "a/file", source / "a/linked")
    os.symlink("file", source / "a/soft")
    os.setxattr(source / "a/file", "user.x", b"1")
    os.mkfifo(source / "fifo")
    fd = os.open(source, os.O_RDONLY)
    data = b"".join(Packer().tree(fd)) + END
    os.close(fd)
    unpack(root, data)
    for path in sorted(source.rglob("*")):
        mine, theirs = (root / path.relative_to(source)).lstat(), path.lstat()
        assert (mine.st_mode, mine.st_size, mine.st_nlink) == (theirs.st_mode, theirs.st_size, theirs.st_nlink)
        assert mine.st_mtime_ns == theirs.st_mtime_ns
    assert os.getxattr(root / "a/linked", "user.x") == b"1"
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == ["a", "a/b", "a/file", "a/linked", "a/soft", "fifo"]
