"""Binds: whose files, made or not, how deep."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rig import Cli, Engine
from rig.peers import tiffins_own

pytestmark = pytest.mark.root


@pytest.fixture
def tiffin(engine: Engine, tidy: None) -> Cli:
    tiffins_own(engine, "docker has no bind-idmap yet")
    return engine.cli("tiffin")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A developer's work tree."""
    tree = tmp_path / "work"
    tree.mkdir()
    (tree / "mine").write_text("mine\n")
    (tree / "roots").write_text("root's\n")
    for path in (tree, tree / "mine"):
        os.chown(path, 1500, 1501)
    return tree


def owner(path: Path) -> tuple[int, int]:
    return path.stat().st_uid, path.stat().st_gid


@pytest.mark.parametrize("user", ["root", "70:71"])
def test_a_developer_owns_what_a_container_makes(tiffin: Cli, work: Path, user: str) -> None:
    mount = f"type=bind,source={work},target=/work,bind-idmap"
    make = "stat -c %u:%g /work/mine; echo new > /work/new; mkdir /work/deep; echo more >> /work/mine"
    seen = tiffin("run", "--rm", "-u", user, "--mount", mount, "busybox", "sh", "-c", make)
    assert seen.line == {"root": "0:0"}.get(user, user)
    assert owner(work / "new") == owner(work / "deep") == owner(work / "mine") == (1500, 1501)
    assert owner(work / "roots") == (0, 0)
    assert (work / "mine").read_text() == "mine\nmore\n"


def test_another_user_than_the_containers_may_be_meant(tiffin: Cli, work: Path) -> None:
    mount = f"type=bind,source={work},target=/work,bind-idmap=match-user:70:71"
    seen = tiffin("run", "--rm", "--mount", mount, "busybox", "stat", "-c", "%u:%g", "/work/mine", "/work/roots")
    assert seen.out == "70:71\n0:0\n"


def test_a_file_system_that_cannot_map_owners_is_named(tiffin: Cli) -> None:
    mount = "type=bind,source=/sys/kernel,target=/work,bind-idmap"
    refused = tiffin("run", "--rm", "-u", "70", "--mount", mount, "busybox", "true", check=False)
    assert refused.rc == 125
    assert '"/sys/kernel"' in refused.err and "its file system can't map owners" in refused.err


def test_what_cannot_be_is_refused(tiffin: Cli, work: Path) -> None:
    mount = f"type=bind,source={work},target=/work,bind-idmap"
    refused = tiffin("create", "--mount", f"{mount}=userns", "busybox", check=False)
    assert "needs a container that has one of its own" in refused.err
    refused = tiffin("create", "--mount", f"{mount}=other", "busybox", check=False)
    assert "invalid IDMapping source" in refused.err
    refused = tiffin("run", "--rm", "--runtime", "runc", "--mount", mount, "busybox", "true", check=False)
    assert "owners can't be mapped by runtime runc" in refused.err


def test_a_missing_source_is_made_where_that_is_asked_for(tiffin: Cli, tmp_path: Path) -> None:
    mount = f"type=bind,source={tmp_path}/new/deep,target=/work"
    refused = tiffin("run", "--rm", "--mount", mount, "busybox", "true", check=False)
    assert f"bind source path does not exist: {tmp_path}/new/deep" in refused.err
    tiffin("run", "--rm", "--mount", f"{mount},bind-create-src", "busybox", "touch", "/work/file")
    assert (tmp_path / "new" / "deep" / "file").exists()


def test_read_only_goes_as_deep_as_asked(tiffin: Cli, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    engine.machine.popen(["mount", "-t", "tmpfs", "below", tmp_path / "below"]).wait()
    mount = f"type=bind,source={tmp_path},target=/work,readonly"

    def touch(*options: str) -> int:
        words = ("--mount", ",".join((mount, *options)), "busybox", "touch", "/work/below/file")
        return tiffin("run", "--rm", *words, check=False).rc

    assert touch() != 0
    assert touch("bind-recursive=writable") == 0
    assert touch("bind-recursive=readonly", "bind-propagation=rprivate") != 0
    engine.machine.popen(["umount", tmp_path / "below"]).wait()


def test_a_tmpfs_takes_its_options(tiffin: Cli) -> None:
    mount = "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770"
    show = "stat -c %a /t; grep ' /t ' /proc/mounts"
    shown = tiffin("run", "--rm", "--mount", mount, "busybox", "sh", "-c", show).out.splitlines()
    assert shown[0] == "1770"
    assert {"size=1024k", "nosuid", "nodev", "noexec"} <= set(shown[1].split()[3].split(","))
    shown = tiffin("run", "--rm", "--tmpfs", "/t:exec,size=2m,uid=70", "busybox", "sh", "-c", show).out.splitlines()
    assert "size=2048k" in shown[1] and "noexec" not in shown[1] and "uid=70" in shown[1]


def test_nfs_says_what_is_missing(tiffin: Cli) -> None:
    options = ("-o", "type=nfs", "-o", "o=addr=127.0.0.1,rw", "-o", "device=:/export")
    tiffin("volume", "create", *options, "nfs")
    refused = tiffin("run", "--rm", "-v", "nfs:/x", "busybox", "true", check=False)
    assert refused.rc == 125
    assert "nfs" in refused.err and "127.0.0.1" in refused.err
    tiffin("volume", "rm", "nfs")
