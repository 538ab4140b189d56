"""The reserved image `host`: this machine's own root file system."""

from pathlib import Path

import pytest

from rig import Cli, Engine
from rig.peers import tiffins_own


@pytest.fixture(autouse=True)
def only_here(engine: Engine) -> None:
    tiffins_own(engine, "no other engine has this image")


def test_a_container_of_it_runs_this_machine_s_programs_and_is_told_to_be_no_sandbox(docker: Cli) -> None:
    result = docker("run", "--rm", "host", "cat", "/etc/os-release")
    assert result.out == Path("/etc/os-release").read_text()
    assert "no sandbox" in docker("create", "--name", "host-warns", "host").err
    docker("rm", "host-warns")


def test_what_a_container_writes_stays_in_its_layer(docker: Cli) -> None:
    docker("run", "--name", "host-writes", "host", "sh", "-c", "echo x > /etc/tiffin-test; rm /etc/os-release")
    assert Path("/etc/os-release").exists() and not Path("/etc/tiffin-test").exists()
    assert set(docker("diff", "host-writes").out.splitlines()) >= {"A /etc/tiffin-test", "D /etc/os-release"}
    docker("rm", "host-writes")


def test_the_engine_s_own_files_do_not_show(docker: Cli, engine: Engine) -> None:
    seen = docker("run", "--rm", "host", "ls", "-A", str(engine.data_root), check=False)
    assert seen.rc != 0 and "No such file" in seen.err
    assert docker("run", "--rm", "host", "ls", "-A", str(engine.exec_root), check=False).rc != 0


def test_it_can_not_be_removed_renamed_saved_or_pushed(docker: Cli) -> None:
    for words in (("rmi", "-f", "host"), ("tag", "host", "mine"), ("save", "host"), ("push", "host")):
        assert docker(*words, check=False).rc == 1
    assert docker("images", "-q", "host").line
