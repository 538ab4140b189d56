"""Small parts of the container use cases that need no container."""

import base64
import json
import os
import socket
import stat
from pathlib import Path

import pytest

from tiffin.engine import container_links, container_root, container_top, container_volumes
from tiffin.engine.container_archive import PathStat
from tiffin.engine.container_attach import parse_keys
from tiffin.engine.moments import moment, rfc3339
from tiffin.errors import Invalid
from tiffin.http.archive import _header, go_mode
from tiffin.model.container import Config
from tiffin.model.container_host import HostConfig
from tiffin.model.mount import Mount
from unit.containers.specimens import container

NOW = 1_800_000_000 * 10**9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1700000000", 1_700_000_000 * 10**9),
        ("1700000000.000000001", 1_700_000_000 * 10**9 + 1),
        ("1h30m", NOW - 5400 * 10**9),
        ("100ms", NOW - 10**8),
        ("2023-11-14T22:13:20Z", 1_700_000_000 * 10**9),
        ("2023-11-14T23:13:20.5+01:00", 1_700_000_000 * 10**9 + 5 * 10**8),
        ("2023-11-14", 1_699_920_000 * 10**9),
    ],
)
def test_moments_are_seconds_durations_or_dates(text: str, expected: int) -> None:
    assert moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "1x", "2023-13-01", "1h x"])
def test_other_moments_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="failed to parse value as time or duration"):
        moment(text, NOW)


def test_times_read_as_go_writes_them() -> None:
    assert rfc3339(0) == "0001-01-01T00:00:00Z"
    assert rfc3339(1_700_000_000 * 10**9) == "2023-11-14T22:13:20Z"
    assert rfc3339(1_700_000_000 * 10**9 + 120_000_000) == "2023-11-14T22:13:20.12Z"


@pytest.mark.parametrize(
    ("text", "keys"),
    [("", b"\x10\x11"), ("ctrl-p,ctrl-q", b"\x10\x11"), ("a,b", b"ab"), ("ctrl-@,ctrl-_,DEL", b"\0\x1f\x7f")],
)
def test_detach_keys(text: str, keys: bytes) -> None:
    assert parse_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "abc", "a,,b"])
def test_unknown_detach_keys_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="invalid detach keys"):
        parse_keys(text)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (stat.S_IFREG | 0o644, 0o644),
        (stat.S_IFDIR | 0o755, 1 << 31 | 0o755),
        (stat.S_IFDIR | 0o1777, 1 << 31 | 1 << 20 | 0o777),
        (stat.S_IFLNK | 0o777, 1 << 27 | 0o777),
        (stat.S_IFREG | 0o4755, 1 << 23 | 0o755),
        (stat.S_IFCHR | 0o666, 1 << 26 | 1 << 21 | 0o666),
    ],
)
def test_modes_are_gos(mode: int, expected: int) -> None:
    assert go_mode(mode) == expected


def test_top_shows_this_process_in_the_columns_that_ps_has() -> None:
    titles, rows = container_top.table([os.getpid(), 2**22 + 1], "")
    assert titles == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert len(rows) == 1 and rows[0][1] == str(os.getpid())
    titles, rows = container_top.table([os.getpid()], "-o pid,comm=NAME")
    assert titles == ["PID", "NAME"] and rows[0][0] == str(os.getpid())
    assert container_top.table([], "aux")[0][:4] == ["USER", "PID", "%CPU", "%MEM"]


@pytest.mark.parametrize("arguments", ["--bogus", "-o", "-o bogus", "-C sh", "k -pid"])
def test_top_refuses_arguments_that_it_does_not_know(arguments: str) -> None:
    with pytest.raises(Invalid, match="ps:"):
        container_top.table([], arguments)


def test_links_tell_of_the_other_container() -> None:
    other = container("db", config=Config(hostname="h", exposed_ports={"5432/tcp": {}}, env=("A=b", "PATH=/x")))
    link = container_links.Link("data-base", other, "172.17.0.2")
    assert link.names() == ("data-base", "h", "db")
    assert list(container_links.variables(container("web"), [link])) == [
        "DATA_BASE_PORT=tcp://172.17.0.2:5432",
        "DATA_BASE_PORT_5432_TCP=tcp://172.17.0.2:5432",
        "DATA_BASE_PORT_5432_TCP_ADDR=172.17.0.2",
        "DATA_BASE_PORT_5432_TCP_PORT=5432",
        "DATA_BASE_PORT_5432_TCP_PROTO=tcp",
        "DATA_BASE_NAME=/web/data-base",
        "DATA_BASE_ENV_A=b",
    ]
    assert container_links.shown(container("web", host=HostConfig(links=("db:x",)))) == ["/db:/web/x"]


def test_only_regular_files_of_the_root_are_read(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/file").write_bytes(b"x")
    (tmp_path / "etc/link").symlink_to("/etc/file")
    (tmp_path / "etc/out").symlink_to("../../../../../../etc/hostname")
    (tmp_path / "etc/device").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "etc/fifo")
    with (tmp_path / "etc/huge").open("wb") as file:
        file.truncate(1 << 40)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "etc/socket"))
    root = os.open(tmp_path, os.O_PATH)
    try:
        assert container_root.read_small(root, "/etc/file") == container_root.read_small(root, "/etc/link") == b"x"
        for name in ("out", "device", "fifo", "socket", "missing", ""):
            assert container_root.read_small(root, f"/etc/{name}") == b""
        assert len(container_root.read_small(root, "/etc/huge")) <= 4 << 20
    finally:
        os.close(root)


def test_a_link_to_a_name_in_any_bytes_can_be_told() -> None:
    (told,) = _header(PathStat("link", os.lstat("/"), os.fsdecode(b"/\xff"))).values()
    assert json.loads(base64.b64decode(told))["linkTarget"] == "/\ufffd"


def test_a_volume_that_can_not_be_filled_stays_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, volume = tmp_path / "image", tmp_path / "volume"
    (image / "data").mkdir(parents=True)
    volume.mkdir()

    def copied(source: int, target: int) -> None:
        os.mkdir("half", dir_fd=target)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tiffin.snapshots.trees.copy", copied)
    with pytest.raises(OSError, match="No space"):
        container_volumes._fill_if_empty(str(volume), "/data", (Mount("bind", str(image), ("rbind",)),))
    assert os.listdir(volume) == []
