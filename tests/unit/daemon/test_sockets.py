"""Listening sockets, directories and locks."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tiffin.daemon.config import Config
from tiffin.daemon.roots import PidFile, Roots
from tiffin.daemon.sockets import listeners
from tiffin.errors import Invalid, Unavailable


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_socket_without_its_group_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    (made,) = listeners(Config(hosts=(f"unix://{path}",), group=""))
    assert mode(path) == 0o600
    made.close()
    assert not path.exists()


def test_a_socket_with_a_group_is_for_the_group_too(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    (made,) = listeners(Config(hosts=(f"unix://{path}",), group=str(os.getgid())))
    assert mode(path) == 0o660
    assert path.stat().st_gid == os.getgid()
    made.close()


def test_an_unknown_group_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="not found"):
        listeners(Config(hosts=(f"unix://{tmp_path}/s.sock",), group="no-such-group"))


def test_a_stale_socket_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    config = Config(hosts=(f"unix://{path}",), group="")
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    (made,) = listeners(config)
    made.socket.listen()
    with pytest.raises(Unavailable, match="another daemon answers"):
        listeners(config)
    made.close()


def test_a_file_in_the_sockets_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    path.write_text("precious")
    with pytest.raises(Unavailable, match="not a socket"):
        listeners(Config(hosts=(f"unix://{path}",)))
    assert path.read_text() == "precious"


def test_tcp_without_client_certificates_is_for_loopback_only() -> None:
    (made,) = listeners(Config(hosts=("tcp://127.0.0.1:0",)))
    made.close()
    with pytest.raises(Invalid, match="anyone who reaches it becomes root"):
        listeners(Config(hosts=("tcp://0.0.0.0:0",)))


def test_one_refused_address_leaves_none_bound(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with pytest.raises(Invalid):
        listeners(Config(hosts=(f"unix://{path}", "tcp://0.0.0.0:0"), group=""))
    assert not path.exists()


def test_tls_needs_its_files() -> None:
    with pytest.raises(Invalid, match="--tlscert and --tlskey"):
        listeners(Config(hosts=("tcp://127.0.0.1:0",), tlsverify=True))


def test_sockets_from_systemd(tmp_path: Path) -> None:
    script = (
        "import os, socket; from tiffin.daemon.config import Config; from tiffin.daemon.sockets import listeners\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(os.environ['P']); s.listen(); os.dup2(s.fileno(), 3)\n"
        "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
        "(made,) = listeners(Config(hosts=('fd://',))); print(made.address, os.get_inheritable(3))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "P": str(tmp_path / "s")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "fd://3 False\n"
    with pytest.raises(Invalid, match="no sockets were passed"):
        listeners(Config(hosts=("fd://",)))


def test_roots_have_their_modes_and_admit_one_daemon(tmp_path: Path) -> None:
    data, state = tmp_path / "data", tmp_path / "state"
    roots = Roots(data, state)
    assert (mode(data), mode(state), mode(data / "containers"), mode(state / "containers")) == (
        0o710,
        0o711,
        0o710,
        0o700,
    )
    with pytest.raises(Unavailable, match=f"in use by another daemon .process {os.getpid()}."):
        Roots(data, tmp_path / "other")
    roots.close()
    Roots(data, state).close()


def test_the_pid_file_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("1")  # alive, and surely no daemon of ours
    file = PidFile(path)
    assert path.read_text() == str(os.getpid())
    with pytest.raises(Unavailable, match=f"process with PID {os.getpid()} is still running"):
        PidFile(path)
    file.close()
    assert not path.exists()
