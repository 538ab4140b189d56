"""Volumes beyond docker: tiffin's own verbs, and drivers of others in containers."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import rig.volume_driver
from rig import Cli, Engine, eventually
from rig.peers import tiffins_own

pytestmark = pytest.mark.root


@pytest.fixture
def tiffin(engine: Engine, tidy: None) -> Iterator[Cli]:
    """Tiffin's command line; what it made is removed."""
    tiffins_own(engine, "docker has no such verbs")
    made = engine.cli("tiffin")
    yield made
    engine.clear()
    made("volume", "prune", "-af")


def fill(cli: Cli, volume: str) -> None:
    cli("run", "--rm", "-v", f"{volume}:/x", "busybox", "sh", "-c", "echo one > /x/file; chown 70:71 /x /x/file")


def shown(cli: Cli, volume: str) -> str:
    return cli("run", "--rm", "-v", f"{volume}:/x", "busybox", "stat", "-c", "%u:%g %s", "/x", "/x/file").out


def test_a_volume_is_copied_and_renamed(tiffin: Cli) -> None:
    fill(tiffin, "data")
    assert tiffin("volume", "copy", "--label", "tier=copy", "data", "other").out == "other\n"
    assert tiffin("volume", "inspect", "-f", "{{.Labels.tier}}", "other").line == "copy"
    assert tiffin("volume", "rename", "other", "third").out == ""
    assert tiffin("volume", "ls", "-q").out == "data\nthird\n"
    assert shown(tiffin, "third") == shown(tiffin, "data")
    refused = tiffin("volume", "copy", "data", "third", check=False)
    assert refused.rc == 1 and "volume third exists" in refused.err


def test_a_volume_in_use_is_refused(tiffin: Cli) -> None:
    fill(tiffin, "data")
    tiffin("run", "-d", "--init", "--name", "writer", "-v", "data:/x", "busybox", "sleep", "600")
    for words in (("copy", "data", "other"), ("export", "data", "-o", "/dev/null"), ("rename", "data", "other")):
        refused = tiffin("volume", *words, check=False)
        assert refused.rc == 1 and "in use" in refused.err, words
    assert tiffin("volume", "copy", "--force", "data", "other").out == "other\n"
    tiffin("pause", "writer")
    assert tiffin("volume", "copy", "data", "third").out == "third\n"
    tiffin("unpause", "writer")


def test_a_volume_goes_out_and_comes_in(tiffin: Cli, tmp_path: Path) -> None:
    fill(tiffin, "data")
    tiffin("volume", "export", "-o", str(tmp_path / "data.tar"), "data")
    assert b"one\n" in (tmp_path / "data.tar").read_bytes()
    subprocess.run(["gzip", tmp_path / "data.tar"], check=True)
    assert tiffin("volume", "import", "--label", "a=b", "other", str(tmp_path / "data.tar.gz")).out == "other\n"
    assert shown(tiffin, "other") == shown(tiffin, "data")
    (tmp_path / "text").write_text("no archive")
    refused = tiffin("volume", "import", "third", str(tmp_path / "text"), check=False)
    assert refused.rc == 1
    assert tiffin("volume", "ls", "-q").out == "data\nother\n"


@pytest.fixture
def plugin(engine: Engine, tidy: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The name of a volume plugin beside the engine, and its directory."""
    tiffins_own(engine, "what it keeps is asked for in its directory")
    name, state = f"keeper-{uuid.uuid4().hex[:8]}", tmp_path_factory.mktemp("plugin")
    state.chmod(0o755)
    # of this machine's own: another engine would find the socket otherwise
    mount = "mkdir -p /run/docker && mount -t tmpfs plugins /run/docker && mkdir /run/docker/plugins"
    engine.machine.popen(["sh", "-c", mount]).wait()
    socket = f"/run/docker/plugins/{name}.sock"
    process = engine.machine.popen([sys.executable, rig.volume_driver.__file__, socket, state])
    docker = engine.cli("docker")
    eventually(lambda: docker("volume", "create", "-d", name, "probe", check=False).rc == 0, what="the plugin answers")
    docker("volume", "rm", "probe")
    (state / "calls").unlink()
    yield name, state
    engine.clear()
    if left := docker("volume", "ls", "-q", "--filter", f"driver={name}").out.split():
        docker("volume", "rm", *left)
    process.kill()
    process.wait()
    engine.machine.popen(["umount", "-l", "/run/docker"]).wait()


def calls(state: Path) -> list[list[str]]:
    lines = [line.split() for line in (state / "calls").read_text().splitlines()]
    return [line for line in lines if line[0] in ("Create", "Mount", "Unmount", "Remove")]


def test_a_container_has_a_plugins_volume(plugin: tuple[str, Path], docker: Cli) -> None:
    name, state = plugin
    write = ["sh", "-c", "echo kept > /x/file; exec sleep 600"]
    one = docker("run", "-d", "--init", "--volume-driver", name, "-v", "data:/x", "busybox", *write).line
    eventually((state / "volumes" / "data" / "file").exists)
    assert docker("volume", "ls", "--format", "{{.Driver}} {{.Name}}").out == f"{name} data\n"
    assert docker("info", "-f", '{{join .Plugins.Volume " "}}').out.startswith("local ")
    assert name in docker("info", "-f", "{{.Plugins.Volume}}").out
    assert docker("volume", "inspect", "-f", "{{.Scope}} {{.Status.holders}}", "data").line == "global 1"
    two = docker("create", "-v", "data:/y", "busybox", "cat", "/y/file").line
    assert docker("start", "-a", two).out == "kept\n"
    assert "volume is in use" in docker("volume", "rm", "data", check=False).err
    docker("rm", "-f", one, two)
    docker("volume", "rm", "data")
    assert calls(state) == [
        ["Create", "data"],
        ["Mount", "data", one],
        ["Mount", "data", two],
        ["Unmount", "data", two],
        ["Unmount", "data", one],
        ["Remove", "data"],
    ]


def test_a_plugin_that_fails_is_the_starts_error(plugin: tuple[str, Path], docker: Cli) -> None:
    name, state = plugin
    docker("volume", "create", "-d", name, "-o", "size=1G", "data")
    (state / "fail").write_text("Mount no space in the pool")
    failed = docker("run", "--name", "one", "-v", "data:/x", "busybox", "true", check=False)
    assert failed.rc == 125 and f"volume driver {name}: Mount: no space in the pool" in failed.err
    (state / "fail").unlink()
    assert docker("start", "-a", "one").rc == 0
    docker("rm", "one")
    docker("volume", "rm", "data")
    missing = docker("volume", "create", "-d", "nobody", "other", check=False)
    assert 'plugin "nobody" not found' in missing.err


def test_copies_of_a_plugins_volume_are_the_plugins_affair(plugin: tuple[str, Path], engine: Engine) -> None:
    tiffin = engine.cli("tiffin")
    tiffin("volume", "create", "-d", plugin[0], "data")
    for words in (("copy", "data", "other"), ("rename", "data", "other"), ("export", "data", "-o", "/dev/null")):
        refused = tiffin("volume", *words, check=False)
        assert refused.rc == 1 and "only local volumes can be" in refused.err, words
