""".debs taken apart, a first root file system, and what is kept of the last one."""

import io
import tarfile
from pathlib import Path

import pytest

from rig.debs import DATE, PACK, Deb, ar, tar
from tiffin.errors import Invalid
from tiffin.images.bootstrap.packages import Package
from tiffin.images.bootstrap.rootfs import Rootfs
from tiffin.images.bootstrap.tidy import tidied

PACKAGE = Package("soup", "1", "all")


def unpacked(data: bytes, directory: Path) -> dict[str, tarfile.TarInfo]:
    """What a .deb becomes in a root file system."""
    path = directory / "soup.deb"
    path.write_bytes(data)
    written = io.BytesIO()
    rootfs = Rootfs(written.write, DATE)
    rootfs.unpack(PACKAGE, path)
    rootfs.close()
    return members(written.getvalue())


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        return {member.name: member for member in opened.getmembers()}


@pytest.mark.parametrize("compression", PACK)
def test_every_compression_of_a_deb_is_read(compression: str, tmp_path: Path) -> None:
    found = unpacked(Deb("soup", files={"usr/share/soup": "hot"}, packed=compression).data, tmp_path)
    assert list(found) == ["usr", "usr/share", "usr/share/soup"]
    assert found["usr/share/soup"].size == 3


def test_directories_that_were_merged_into_usr_are_links(tmp_path: Path) -> None:
    found = unpacked(Deb("soup", files={"bin/x": "", "lib64/ld.so": "", "usr/bin/y": ""}).data, tmp_path)
    assert sorted(found) == ["bin", "lib64", "usr", "usr/bin", "usr/bin/x", "usr/bin/y", "usr/lib64", "usr/lib64/ld.so"]
    assert (found["bin"].linkname, found["lib64"].linkname) == ("usr/bin", "usr/lib64")


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        made.addfile(info)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "usr/.."])
def test_names_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="refused"):
        unpacked(Deb("soup", raw=member(name)).data, tmp_path)


def test_hard_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="refused"):
        unpacked(Deb("soup", raw=member("x", tarfile.LNKTYPE, "../../etc/shadow")).data, tmp_path)


GOOD = Deb("soup").data


@pytest.mark.parametrize(
    "data",
    [b"", b"not a deb", GOOD[:100], GOOD[:-200], ar({"debian-binary": b"3.0\n"}), ar({"debian-binary": b"2.0\n"}),
     ar({"data.tar": b"", "debian-binary": b"2.0\n"}),
     ar({"debian-binary": b"2.0\n", "data.tar.xz": b"\xfd7zXZ\0 no"})],
)  # fmt: skip
def test_damaged_debs_are_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        unpacked(data, tmp_path)


def test_what_each_run_makes_anew_is_left_out() -> None:
    kept = {"etc/passwd", "usr/bin/x", "var/log/btmp", "var/lib/dpkg/status", "var/log/note.log", "etc/machine-id"}
    gone = {
        *(".dockerenv", "etc/resolv.conf", "etc/shadow-", "run/bootstrap/install", "run/postgresql/pid", "tmp/x"),
        *("var/cache/ldconfig/aux-cache", "var/lib/dpkg/status-old", "var/log/dpkg.log", "var/log/apt/term.log"),
    }
    found = members(b"".join(tidied(iter([tar(dict.fromkeys(kept | gone, "text"), {}, prefix="")]), DATE - 5)))
    files = {name for name, one in found.items() if one.isfile()}
    assert files == kept
    assert found["etc/machine-id"].size == 0
    assert {"run", "run/postgresql"} <= set(found)
    assert "run/bootstrap" not in found
    assert found["etc/passwd"].size == 4
    assert {one.mtime for one in found.values()} == {DATE - 5}


def test_older_times_stay() -> None:
    found = members(b"".join(tidied(iter([tar({"x": ""}, {}, prefix="")]), DATE + 100)))
    assert found["x"].mtime == DATE
