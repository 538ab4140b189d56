"""What the daemon's options put into containers that say nothing about it."""

from pathlib import Path

import pytest

from tiffin.daemon import options
from tiffin.daemon.config import Config
from tiffin.daemon.host_defaults import host_defaults, size
from tiffin.errors import Invalid
from tiffin.model.container_host import HostConfig, Ulimit


def test_options_fill_what_the_request_leaves_open(tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text("{}")
    fill = host_defaults(
        Config(
            default_shm_size="128m",
            default_ulimits={"nofile": "10:20", "core": {"Name": "core", "Soft": 0, "Hard": 0}},
            no_new_privileges=True,
            seccomp_profile=str(profile),
            default_ipc_mode="shareable",
            dns=("10.0.0.1",),
        )
    )
    filled = fill(HostConfig())
    assert filled.shm_size == 128 << 20
    assert filled.ulimits == (Ulimit("nofile", 20, 10), Ulimit("core", 0, 0))
    assert filled.security_opt == ("no-new-privileges", "seccomp={}")
    assert (filled.ipc_mode, filled.dns) == ("shareable", ("10.0.0.1",))


def test_the_request_wins() -> None:
    fill = host_defaults(Config(default_ulimits={"nofile": "10"}, seccomp_profile="unconfined", dns=("10.0.0.1",)))
    mine = HostConfig(
        shm_size=1, ulimits=(Ulimit("nofile", 1, 1),), security_opt=("seccomp={}",), dns=("8.8.8.8",), ipc_mode="host"
    )
    assert fill(mine) == mine


def test_a_privileged_container_gets_no_filter() -> None:
    assert host_defaults(Config(seccomp_profile="unconfined"))(HostConfig(privileged=True)).security_opt is None


@pytest.mark.parametrize(("text", "bytes_"), [("64M", 64 << 20), ("64mb", 64 << 20), ("1024", 1024), ("1.5g", 3 << 29)])
def test_sizes(text: str, bytes_: int) -> None:
    assert size(text) == bytes_


def test_what_can_not_be_read_is_refused() -> None:
    with pytest.raises(Invalid):
        size("large")
    with pytest.raises(Invalid):
        host_defaults(Config(default_ulimits={"nofile": "many"}))
    with pytest.raises(Invalid):
        host_defaults(Config(seccomp_profile="/nowhere"))


def test_options_that_would_promise_too_much_are_refused_and_idle_ones_are_named(tmp_path: Path) -> None:
    empty = tmp_path / "daemon.json"
    empty.write_text("{}")
    with pytest.raises(Invalid, match="--iptables is not supported"):
        options.read(["--iptables=false", "--config-file", str(empty)])
    config = options.read(["--userland-proxy=false", "--config-file", str(empty)])
    assert options.without_effect(config) == ["userland-proxy"]
