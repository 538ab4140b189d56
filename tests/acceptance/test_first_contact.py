"""Is the engine there, and what does the command line say when it is not."""

from __future__ import annotations

import os
from pathlib import Path

from rig import Cli, archives


def test_version_shows_client_and_server_and_their_platforms(cli: Cli) -> None:
    text = cli("version").out
    assert "Client" in text and "Server" in text
    assert text.count(f"linux/{archives.architecture()}") >= 2
    server = cli("version", "--format", "{{.Server.Os}}/{{.Server.Arch}} {{.Server.KernelVersion}}").line
    assert server == f"linux/{archives.architecture()} {os.uname().release}"


def test_a_daemon_that_is_down_is_named_with_the_question_whether_it_runs(cli: Cli, tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/nobody.sock"
    result = cli("-H", host, "ps", check=False)
    assert result.rc == 1
    assert result.out == ""
    # Docker writes its name both ways in one message
    told = result.err.replace("Docker", "docker")
    assert f"Cannot connect to the {cli.name} daemon at {host}. Is the {cli.name} daemon running?" in told


def lower(text: str) -> str:
    """Docker's name as it is typed: both spellings occur in its messages."""
    return text.replace("Docker", "docker")


def test_an_unknown_command_and_an_unknown_flag_fail_with_125_or_1(cli: Cli) -> None:
    assert cli("no-such-command", check=False).rc == 1
    unknown = cli("run", "--no-such-flag", "busybox", check=False)
    assert unknown.rc == 125
    assert "unknown flag: --no-such-flag" in unknown.err


def test_a_container_is_created_started_stopped_inspected_and_removed(cli: Cli, name: str) -> None:
    identity = cli("create", "--name", name, "busybox", "sleep", "1000").line
    assert len(identity) == 64
    assert cli("start", name).line == name
    assert cli("inspect", "--format", "{{.Id}} {{.State.Status}}", name).line == f"{identity} running"
    assert cli("stop", "-t", "0", name).line == name
    assert cli("inspect", "--format", "{{.State.Status}}", name).line == "exited"
    assert cli("rm", name).line == name
    gone = cli("inspect", name, check=False)
    assert gone.rc == 1
    assert gone.out == "[]\n"
    assert f"o such object: {name}" in gone.err
