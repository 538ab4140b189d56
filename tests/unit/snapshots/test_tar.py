"""Archives, read and written: against GNU tar and Python's tarfile, and against what an enemy writes."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.errors import Invalid
from tiffin.snapshots.tar import END, Entry, Kind, Limits, TarReader, entry_header, padding


def read(data: bytes, limits: Limits | None = None) -> list[tuple[Entry, bytes]]:
    reader = TarReader(io.BytesIO(data), limits)
    found = []
    for entry in reader:
        found.append((entry, b"".join(iter(reader.read, b""))))
    return found


def python_tar(*members: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size) if member.isreg() else None)
    return buffer.getvalue()


def member(name: str, size: int = 0, **attributes: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_dialect_says_the_same(form: int) -> None:
    info = member("dir/" + "n" * 90, 700, mode=0o4755, uid=1000, gid=7, mtime=1_700_000_000)
    [(entry, data)] = read(python_tar(info, form=form))
    assert (entry.name, entry.kind, entry.mode) == (b"dir/" + b"n" * 90, Kind.FILE, 0o4755)
    assert (entry.uid, entry.gid, entry.mtime) == (1000, 7, 1_700_000_000 * 10**9)
    assert data == b"x" * 700


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_links_and_big_numbers(form: int) -> None:
    link = member("l" * 300, type=tarfile.SYMTYPE, linkname="t" * 400, uid=3_000_000_000 if form else 0, mtime=-5)
    [(entry, _)] = read(python_tar(link, form=form))
    assert (entry.name, entry.link) == (b"l" * 300, b"t" * 400)
    assert entry.uid == link.uid
    assert entry.mtime == -5 * 10**9


def test_extended_attributes_and_nanoseconds_are_read() -> None:
    headers = {"SCHILY.xattr.user.a": "1\n=2", "mtime": "1234.000000567"}
    [(entry, _)] = read(python_tar(member("f", pax_headers=headers)))
    assert entry.xattrs == {b"user.a": b"1\n=2"}
    assert entry.mtime == 1_234_000_000_567


@pytest.mark.parametrize(
    "options",
    [["--format=gnu"], *(["--format=pax", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0"))],
    ids=["old", "0.0", "0.1", "1.0"],
)
def test_all_of_gnu_s_sparse_formats_are_understood(tmp_path: Path, options: list[str]) -> None:
    with open(tmp_path / "holes", "wb") as file:
        for number in range(40):
            file.seek(number * (1 << 20))
            file.write(b"%03d" % number)
        file.truncate(50 << 20)
    subprocess.run(["tar", *options, "-S", "-C", tmp_path, "-cf", tmp_path / "a.tar", "holes"], check=True)
    [(entry, data)] = read((tmp_path / "a.tar").read_bytes())
    assert (entry.name, entry.size) == (b"holes", 50 << 20)
    assert entry.sparse is not None and len(entry.sparse) >= 40
    assert entry.stored == len(data) < 1 << 20
    assert entry.sparse[3][0] == 3 << 20
    assert data[entry.sparse[0][1] :].startswith(b"001")


def test_what_is_written_is_read_back_by_python_and_by_gnu_tar(tmp_path: Path) -> None:
    entries = [
        Entry(b"dir/", Kind.DIRECTORY, 0o1777, mtime=10**9),
        Entry("ü".encode() * 120, size=3, mtime=1_234_567_890_123_456_789, uid=1 << 30, xattrs={b"user.x": b"\0\n"}),
        Entry(b"p/" * 60 + b"q" * 90, Kind.SYMLINK, 0o777, link=b"t" * 200),
        Entry(b"null", Kind.CHARACTER, 0o666, major=1, minor=3),
        Entry(b"hard", Kind.LINK, link=b"null"),
        Entry(b"fifo", Kind.FIFO),
    ]
    data = b"".join(entry_header(entry) + (b"abc" + padding(3) if entry.size else b"") for entry in entries) + END
    assert [(entry.name, entry.kind, entry.mtime, entry.uid, entry.link) for entry, _ in read(data)] == [
        (entry.name, entry.kind, entry.mtime, entry.uid, entry.link) for entry in entries
    ]
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert [info.name.encode() for info in archive] == [entry.name.rstrip(b"/") for entry in entries]
    (tmp_path / "a.tar").write_bytes(data)
    listed = subprocess.run(["tar", "-tf", tmp_path / "a.tar"], capture_output=True, check=True).stdout
    assert len(listed.splitlines()) == len(entries)


NAMES = st.binary(min_size=1, max_size=300).map(lambda name: name.replace(b"\0", b"_").replace(b"/", b"_"))
ENTRIES = st.builds(
    Entry,
    name=NAMES,
    kind=st.just(Kind.FILE),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    gid=st.integers(0, 2**32 - 2),
    mtime=st.integers(-(10**18), 2**62),
    xattrs=st.dictionaries(NAMES.map(lambda name: name.replace(b"=", b"_")), st.binary(max_size=50), max_size=3),
)


@given(ENTRIES)
@settings(max_examples=300, deadline=None)
def test_any_entry_survives_writing_and_reading(entry: Entry) -> None:
    [(again, _)] = read(entry_header(entry) + END)
    assert again == entry


@given(st.binary(max_size=4096), st.integers(0, 5000), st.binary(min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_a_damaged_archive_is_read_or_invalid_and_nothing_else(junk: bytes, at: int, change: bytes) -> None:
    good = python_tar(member("a", 600), member("b" * 200, 5, pax_headers={"SCHILY.xattr.user.a": "b"}))
    for data in (junk, good[: at % len(good)], good[:at] + change + good[at + len(change) :]):
        try:
            read(data)
        except Invalid:
            pass


def header_with(field: slice, value: bytes) -> bytes:
    block = bytearray(entry_header(Entry(b"x")))
    block[field] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + END


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"not a tar archive" * 100, "checksum|number"),
        (entry_header(Entry(b"f", size=1000)), "unexpected EOF"),
        (header_with(slice(124, 136), b"\x80" + b"\xff" * 11), "size"),
        (header_with(slice(124, 136), b"\xff" * 12), "size"),
        (header_with(slice(108, 116), b"\x80\0\0\0\xff\xff\xff\xff"), "owner"),
        (header_with(slice(156, 157), b"Z"), "unknown type"),
        (python_tar(member("x", pax_headers={"path": "a\0b"})), "zero byte"),
        (python_tar(member("x", pax_headers={"path": "a/" * 1500})), "too long"),
        (python_tar(member("n" * 5000)), "too long"),
        (python_tar(member("x", pax_headers={"comment": "c" * (2 << 20)})), "extended header above"),
        (python_tar(member("x", pax_headers={"GNU.sparse.map": "0,5,3,5", "GNU.sparse.size": "9"})), "sparse"),
        (python_tar(member("x", pax_headers={"GNU.sparse.map": "0,99999999", "GNU.sparse.size": "5"})), "sparse"),
        (python_tar(member("l", type=tarfile.LNKTYPE, linkname="")), "link to nothing"),
    ],
)
def test_hostile_headers_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        read(data)


def test_an_archive_with_too_many_entries_is_refused() -> None:
    with pytest.raises(Invalid, match="more than 10 entries"):
        read(entry_header(Entry(b"x")) * 11 + END, Limits(entries=10))
