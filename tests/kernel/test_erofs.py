"""Layers as EROFS: what the kernel shows is what GNU tar extracts, and what fsck.erofs takes."""

from __future__ import annotations

import io
import os
import socket
import stat
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from kernel.erofs_trees import Seen, archive, differing, indexed, kernel_mounts_files, layer, look, mounted
from rig import erofs_utils
from tiffin.errors import Invalid
from tiffin.snapshots.tar import Entry, Kind

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not kernel_mounts_files(), reason="a kernel that mounts EROFS straight from a file: 6.12 or later"
    ),
]
GIB = 1 << 30
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
ACL = struct.pack("<IHHIHHIHHI", 2, 1, 7, 0xFFFFFFFF, 4, 5, 0xFFFFFFFF, 32, 5, 0xFFFFFFFF)


def garden(root: Path) -> None:
    """One of each kind of thing that an archive can hold."""
    root.mkdir()
    for name in ("dir", "dir/empty", "dir/deep/er", "many", "set"):
        (root / name).mkdir(parents=True)
    for size in (0, 1, 511, 512, 513, 4095, 4096, 4097, 1_000_003):
        (root / "dir" / f"file-{size}").write_bytes(os.urandom(size))
    for number in range(2000):
        (root / "many" / f"entry with a name that is {'long ' * (number % 20)}{number}").write_bytes(b"%d" % number)
    (root / ("n" * 255)).write_text("long name")
    (root / os.fsdecode(b"not \xff utf-8 \x01")).write_text("bytes")
    deep = root / "/".join(["directory-of-a-long-path"] * 20)
    deep.mkdir(parents=True)
    (deep / "bottom").write_text("deep")
    os.link(root / "dir/file-513", root / "hard")
    os.link(root / "dir/file-513", root / "dir/deep/hard")
    os.symlink("dir/file-1", root / "link")
    os.symlink("/" + "far/" * 1000, root / "long-link")
    os.symlink("x" * 440, root / "link-440")
    os.link(root / "link", root / "hard-link-to-link", follow_symlinks=False)
    os.mkfifo(root / "fifo", 0o640)
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "large-numbers", stat.S_IFCHR | 0o600, os.makedev(4095, 1_048_575))
    os.mknod(root / "block", stat.S_IFBLK | 0o660, os.makedev(259, 7))
    os.chown(root / "dir/file-4097", 4_000_000_000, 3_999_999_999)
    os.chown(root / "link", 65536, 7, follow_symlinks=False)
    (root / "dir/file-1").chmod(0o4711)
    (root / "set").chmod(0o3775)
    (root / "dir/file-512").chmod(0)
    os.setxattr(root / "dir/file-4096", "security.capability", CAPABILITY)
    os.setxattr(root / "dir/file-4096", "user.note", b"")
    os.setxattr(root / "hard", "user.big", os.urandom(3000))
    os.setxattr(root / "dir", "trusted.one", b"\0binary\xff")
    os.setxattr(root / "dir/deep", "user.note", b"same")
    os.setxattr(root / "dir/empty", "user.note", b"same")
    os.setxattr(root / "set", "system.posix_acl_default", ACL)
    os.setxattr(root, "user.root", b"root")
    with (root / "holes").open("wb") as file:
        for offset in (0, 1 << 20, (1 << 20) + 8192, 5 << 20):
            file.seek(offset)
            file.write(os.urandom(4096))
        file.seek(64 << 20)
        file.write(b"end")
    with (root / "trailing-hole").open("wb") as file:
        file.write(bytes(range(256)))
        file.truncate(64 << 20)
    times = {"dir/file-1": 1_234_567_890_123_456_789, "link": -1_500_000_000, "dir/deep": 1, "hard": 2**33 * 10**9 + 7}
    for name, when in times.items():
        os.utime(root / name, ns=(when, when), follow_symlinks=False)


def gnu_tar(root: Path, target: Path, *options: str) -> None:
    subprocess.run(["tar", "--sort=name", *options, "-cf", target, "-C", root, "."], check=True, capture_output=True)


def extracted(tar: Path, root: Path) -> dict[bytes, Seen]:
    root.mkdir()
    options = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-owner", "-xpf"]
    subprocess.run(["tar", *options, tar, "-C", root], check=True)
    return look(root)


DIALECTS = {
    "pax": ["--format=pax", "--xattrs", "--xattrs-include=*"],
    "pax-sparse": ["--format=pax", "--xattrs", "--xattrs-include=*", "-S", "--sparse-version=1.0"],
    "pax-sparse-0.1": ["--format=pax", "--xattrs", "--xattrs-include=*", "-S", "--sparse-version=0.1"],
    "pax-sparse-0.0": ["--format=pax", "--xattrs", "--xattrs-include=*", "-S", "--sparse-version=0.0"],
    "gnu": ["--format=gnu"],
    "gnu-sparse": ["--format=gnu", "-S"],
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("streamed", [False, True], ids=["lying", "streamed"])
def test_the_mounted_tree_is_what_gnu_tar_extracts(tmp_path: Path, dialect: str, streamed: bool) -> None:
    garden(tmp_path / "garden")
    tar, image = tmp_path / "layer.tar", tmp_path / "layer.erofs"
    gnu_tar(tmp_path / "garden", tar, *DIALECTS[dialect])
    indexed(tar, image, streamed=streamed)
    if streamed:
        assert image.with_suffix(".copy").read_bytes() == tar.read_bytes()
        tar = image.with_suffix(".copy")
    with mounted(image, tar) as root:
        assert differing(look(root), extracted(tar, tmp_path / "extracted")) == {}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_fsck_erofs_finds_nothing_wrong_and_extracts_the_same(tmp_path: Path, dialect: str) -> None:
    fsck = erofs_utils.tool("fsck.erofs")
    if fsck is None:
        pytest.skip("no fsck.erofs of version 1.7 or later, installed or from Debian trixie")
    garden(tmp_path / "garden")
    os.removexattr(tmp_path / "garden/dir/file-4096", "user.note")  # fsck.erofs 1.8 fails on an empty value
    tar, image = tmp_path / "layer.tar", tmp_path / "layer.erofs"
    gnu_tar(tmp_path / "garden", tar, *DIALECTS[dialect])
    indexed(tar, image)
    command = [*fsck, f"--device={tar}", f"--extract={tmp_path / 'by-fsck'}", "--preserve", "--xattrs", image]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    mine, theirs = (look(path) for path in (tmp_path / "by-fsck", tmp_path / "garden"))
    assert mine.keys() == theirs.keys()
    # fsck.erofs 1.8 loses the hole at a file's end
    assert {path for path in mine if mine[path].content != theirs[path].content} <= {b"./trailing-hole"}


def test_the_tree_is_what_mkfs_erofs_makes_of_the_same_tar(tmp_path: Path) -> None:
    mkfs = erofs_utils.tool("mkfs.erofs")
    if mkfs is None:
        pytest.skip("no mkfs.erofs of version 1.7 or later, installed or from Debian trixie")
    garden(tmp_path / "garden")
    tar = tmp_path / "layer.tar"
    os.utime(tmp_path / "garden/link", ns=(0, 0), follow_symlinks=False)
    gnu_tar(tmp_path / "garden", tar, *DIALECTS["pax"])
    subprocess.run([*mkfs, "--tar=i", tmp_path / "by-mkfs", tar], check=True, capture_output=True)
    with layer(tar, tmp_path) as root, mounted(tmp_path / "by-mkfs", tar) as theirs:
        mine, others = look(root), look(theirs)
    for seen in (*mine.values(), *others.values()):
        seen.mtime //= 10**9  # mkfs.erofs 1.8 takes `.5` seconds for 5 nanoseconds
    assert differing(mine, others) == {}


def test_a_hundred_thousand_entries_in_one_directory(tmp_path: Path) -> None:
    names = [b"directory/%d" % number for number in range(100_000)]
    data = archive(Entry(b"directory", Kind.DIRECTORY, 0o755), *(Entry(name) for name in names))
    with layer(data, tmp_path) as root:
        assert sorted(os.listdir(os.fsencode(root / "directory"))) == sorted(name[10:] for name in names)
        assert all((root / os.fsdecode(name)).exists() for name in names[::997])
        assert not (root / "directory/100000").exists()
        assert not (root / "directory/5 ").exists()


def test_a_file_of_five_gib_is_read_to_its_end(tmp_path: Path) -> None:
    tar = tmp_path / "layer.tar"
    with tar.open("wb") as file:
        subprocess.run(["truncate", "-s", "5G", tmp_path / "big"], check=True)
        with (tmp_path / "big").open("r+b") as big:
            big.seek(5 * GIB - 3)
            big.write(b"end")
        header = subprocess.run(
            f"tar --format=pax -cf - -C {tmp_path} big | head -c 4096", shell=True, capture_output=True
        ).stdout
        start = header.index(b"ustar", 257 + 512 if header[156:157] == b"x" else 0) - 257 + 512
        file.write(header[:start])
        file.seek(start + 5 * GIB - 3)
        file.write(b"end")
        file.truncate(start + 5 * GIB + 1024)
    (tmp_path / "big").unlink()
    with layer(tar, tmp_path) as root, (root / "big").open("rb") as file:
        assert os.fstat(file.fileno()).st_size == 5 * GIB
        file.seek(5 * GIB - 4)
        assert file.read() == b"\0end"


def holes(path: Path) -> list[tuple[int, int]]:
    """(offset, length) of what a file holds."""
    found = []
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        end = 0
        while end < size:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found.append((start, end - start))
    return found


def test_holes_stay_holes(tmp_path: Path) -> None:
    """A copy-up would write them out otherwise: /var/log/lastlog of a large uid has hundreds of gigabytes of them."""
    size = 300 * GIB
    entry = Entry(b"lastlog", sparse=((4096, 4096), (size - 4096, 4096)))
    (tmp_path / "lastlog").touch()
    os.truncate(tmp_path / "lastlog", size)
    with (tmp_path / "lastlog").open("r+b") as file:
        for offset, _ in entry.sparse or ():
            file.seek(offset)
            file.write(b"x" * 4096)
    gnu_tar(tmp_path, tmp_path / "layer.tar", "--format=gnu", "-S", "--exclude=layer.*")
    with layer(tmp_path / "layer.tar", tmp_path) as root:
        assert (root / "lastlog").stat().st_size == size
        assert sum(length for _, length in holes(root / "lastlog")) <= 32 << 20
        with (root / "lastlog").open("rb") as file:
            for offset in (4095, size - 4097):
                file.seek(offset)
                assert file.read(3) == b"\0xx"
    assert (tmp_path / "layer.erofs").stat().st_blocks * 512 < 32 << 20


def test_pieces_that_lie_on_no_block_are_copied(tmp_path: Path) -> None:
    """GNU tar cuts at 512 bytes; another writer may not."""
    content = bytearray(100_000)
    pieces = ((7, 1000), (5000, 3), (70_001, 29_999))
    for offset, length in pieces:
        content[offset : offset + length] = os.urandom(length)
    records = {
        "GNU.sparse.major": 0, "GNU.sparse.minor": 1, "GNU.sparse.size": len(content), "GNU.sparse.name": "file",
        "GNU.sparse.map": ",".join(f"{offset},{length}" for offset, length in pieces),
    }  # fmt: skip
    info = tarfile.TarInfo("file")
    info.pax_headers = {key: str(value) for key, value in records.items()}
    data = b"".join(bytes(content[offset : offset + length]) for offset, length in pieces)
    info.size = len(data)
    with tarfile.open(tmp_path / "layer.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(data))
    with layer(tmp_path / "layer.tar", tmp_path) as root:
        assert (root / "file").read_bytes() == content


def test_attributes_of_any_number_and_size(tmp_path: Path) -> None:
    many = {b"user.%d" % number: b"%d" % number * 3 for number in range(300)}
    large = {b"user.large": os.urandom(65_000), b"trusted.also": b"x" * 60_000}
    data = archive(
        Entry(b"many", xattrs=many), Entry(b"large", xattrs=large), Entry(b"same", xattrs=large),
        Entry(b"odd", xattrs={b"system.unknown": b"x", b"user.": b"", b"user.known": b"1"}),
    )  # fmt: skip
    with layer(data, tmp_path) as root:
        seen = look(root)
    assert seen[b"./many"].xattrs == {name.decode(): value for name, value in many.items()}
    assert seen[b"./large"].xattrs == seen[b"./same"].xattrs == {n.decode(): v for n, v in large.items()}
    assert seen[b"./odd"].xattrs == {"user.known": b"1"}


def test_overlayfs_s_own_attributes_are_left_out(tmp_path: Path) -> None:
    xattrs = {b"trusted.overlay.redirect": b"/etc", b"user.overlay.opaque": b"y", b"user.mine": b"1"}
    with layer(archive(Entry(b"d", Kind.DIRECTORY, 0o755, xattrs=xattrs)), tmp_path) as root:
        assert os.listxattr(root / "d") == ["user.mine"]


def test_whiteouts_are_overlayfs_s(tmp_path: Path) -> None:
    data = archive(
        Entry(b"a/.wh.gone"), Entry(b"b", Kind.DIRECTORY, 0o755), Entry(b"b/.wh..wh..opq"), Entry(b"b/.wh.other"),
        Entry(b".wh..wh.plnk"),
    )  # fmt: skip
    with layer(data, tmp_path) as root:
        assert sorted(os.listdir(root)) == ["a", "b"]
        for name in ("a/gone", "b/other"):
            status = (root / name).lstat()
            assert stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
        assert os.getxattr(root / "b", "trusted.overlay.opaque") == b"y"
        assert os.listxattr(root / "a") == []


def test_an_empty_layer_is_an_empty_directory(tmp_path: Path) -> None:
    with layer(archive(), tmp_path) as root:
        assert os.listdir(root) == []
        assert stat.S_IMODE(root.stat().st_mode) == 0o755


def test_directories_that_nobody_described_have_the_time_of_what_brought_them(tmp_path: Path) -> None:
    """Not that of the machine's clock: the same layer has the same index everywhere."""
    data = archive(Entry(b"a/b/c", mtime=5_000_000_007))
    with layer(data, tmp_path) as root:
        assert (root / "a/b").stat().st_mtime_ns == 5_000_000_007
    first = (tmp_path / "layer.erofs").read_bytes()
    indexed(tmp_path / "layer.tar", tmp_path / "layer.erofs")
    assert (tmp_path / "layer.erofs").read_bytes() == first


HOSTILE = {
    "out of the root": Entry(b"../evil"),
    "out by a detour": Entry(b"a/../../evil"),
    "hard link outside": Entry(b"x", Kind.LINK, link=b"../../etc/passwd"),
    "hard link to nothing": Entry(b"x", Kind.LINK, link=b"nothing"),
    "hard link to a directory": Entry(b"x", Kind.LINK, link=b"dir"),
    "hard link to the root": Entry(b"x", Kind.LINK, link=b"."),
    "parent is a file": Entry(b"file/x"),
    "parent is a loop": Entry(b"loop/x"),
    "parent dangles": Entry(b"dangling/x"),
    "name too long": Entry(b"n" * 256),
    "directory's name too long": Entry(b"n" * 256 + b"/x"),
    "whiteout of dots": Entry(b".wh..."),
    "attributes without end": Entry(b"x", xattrs={b"user.%d" % number: b"x" * 65_000 for number in range(9)}),
    "attribute too large": Entry(b"x", xattrs={b"user.x": b"x" * 70_000}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused(tmp_path: Path, name: str) -> None:
    data = archive(
        Entry(b"dir", Kind.DIRECTORY, 0o755), Entry(b"file"), Entry(b"loop", Kind.SYMLINK, link=b"./loop"),
        Entry(b"dangling", Kind.SYMLINK, link=b"/nowhere"),
        *(Entry(b"fill%d" % number, xattrs={b"user.f": os.urandom(65_000)}) for number in range(70)), HOSTILE[name],
    )  # fmt: skip
    (tmp_path / "tar").write_bytes(data)
    for streamed in (False, True):
        with pytest.raises(Invalid):
            indexed(tmp_path / "tar", tmp_path / "image", streamed=streamed)


@pytest.mark.parametrize("size", [1, 511, 512, 700, 1024 + 5, 3000])
def test_an_archive_that_breaks_off_is_refused(tmp_path: Path, size: int) -> None:
    data = archive((Entry(b"one"), b"1" * 2000), (Entry(b"two"), b"2" * 2000))
    (tmp_path / "tar").write_bytes(data[:size])
    for streamed in (False, True):
        with pytest.raises(Invalid):
            indexed(tmp_path / "tar", tmp_path / "image", streamed=streamed)


def test_names_lead_nowhere_but_into_the_layer(tmp_path: Path) -> None:
    data = archive(
        Entry(b"/absolute"), Entry(b"up", Kind.SYMLINK, link=b"../../../.."), Entry(b"etc", Kind.DIRECTORY, 0o755),
        Entry(b"abs", Kind.SYMLINK, link=b"/etc"), (Entry(b"up/etc/one"), b"1"), (Entry(b"abs/two"), b"2"),
    )  # fmt: skip
    with layer(data, tmp_path) as root:
        assert sorted(os.listdir(root)) == ["abs", "absolute", "etc", "up"]
        assert sorted(os.listdir(root / "etc")) == ["one", "two"]


def test_sockets_can_not_come_but_do_no_harm(tmp_path: Path) -> None:
    """GNU tar leaves them out, so does the driver's own diff."""
    (tmp_path / "src").mkdir()
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "src/socket"))
        gnu_tar(tmp_path / "src", tmp_path / "layer.tar")
    with layer(tmp_path / "layer.tar", tmp_path) as root:
        assert os.listdir(root) == []
