"""create, start, stop, rm and rmi."""

from __future__ import annotations

import re

from acceptance.conftest import Configured, inspect
from rig import Cli, eventually


def status(cli: Cli, name: str) -> str:
    """The STATUS column of `ps -a`."""
    return cli("ps", "-a", "--filter", f"name=^/?{name}$", "--format", "{{.Status}}").line


def test_create_makes_created_start_makes_up_and_run_is_both(cli: Cli, name: str) -> None:
    cli("create", "--name", name, "busybox", "sleep", "1000")
    assert status(cli, name) == "Created"
    assert inspect(cli, name)["State"]["Status"] == "created"
    cli("start", name)
    assert re.match(r"Up (Less than a second|\d+ seconds?)", status(cli, name))
    cli("run", "-d", "--name", f"{name}-run", "busybox", "sleep", "1000")
    assert status(cli, f"{name}-run").startswith("Up ")


def test_stop_sends_sigterm_and_the_process_chooses_its_status(cli: Cli, name: str) -> None:
    script = "trap 'echo got TERM; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", script)
    eventually(lambda: cli("logs", name).out == "ready\n")
    assert cli("stop", "-t", "50", name).line == name
    assert status(cli, name).startswith("Exited (5)")
    assert cli("logs", name).out == "ready\ngot TERM\n"
    cli("stop", name)  # nothing to do is no failure


def test_stop_sends_the_images_own_signal(cli: Cli, name: str, configured: Configured) -> None:
    script = "trap 'exit 6' USR1; trap 'exit 1' TERM; echo ready; while :; do sleep 0.05; done"
    cli("run", "-d", "--name", name, configured(StopSignal="SIGUSR1"), "sh", "-c", script)
    eventually(lambda: cli("logs", name).out == "ready\n")
    cli("stop", "-t", "50", name)
    assert inspect(cli, name)["State"]["ExitCode"] == 6


def test_stop_kills_what_does_not_listen(cli: Cli, name: str) -> None:
    # PID 1 without a handler does not get SIGTERM at all
    cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    cli("stop", "-t", "1", name)
    state = inspect(cli, name)["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (137, False)


def test_kill_sends_the_signal_it_is_told(cli: Cli, name: str) -> None:
    cli(
        "run",
        "-d",
        "--name",
        name,
        "busybox",
        "sh",
        "-c",
        "trap 'echo hup' HUP; echo ready; while :; do sleep 0.05; done",
    )
    eventually(lambda: cli("logs", name).out == "ready\n")
    assert cli("kill", "-s", "HUP", name).line == name
    eventually(lambda: cli("logs", name).out == "ready\nhup\n")
    cli("kill", name)
    eventually(lambda: status(cli, name).startswith("Exited (137)"))
    refused = cli("kill", name, check=False)
    assert refused.rc == 1
    assert "is not running" in refused.err


def test_rm_of_a_running_container_is_refused(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    refused = cli("rm", name, check=False)
    assert refused.rc == 1
    assert "running" in refused.err and "remove" in refused.err
    assert status(cli, name).startswith("Up ")
    assert cli("rm", "-f", name).line == name
    assert status(cli, name) == ""


def test_rm_leaves_the_image_and_named_volumes(cli: Cli, name: str) -> None:
    cli("run", "--name", name, "-v", f"{name}:/data", "busybox", "sh", "-c", "echo kept > /data/file")
    cli("rm", "-v", name)
    try:
        assert cli("run", "--rm", "-v", f"{name}:/data", "busybox", "cat", "/data/file").out == "kept\n"
        assert name in cli("volume", "ls", "-q").out.split()
    finally:
        cli("volume", "rm", name)


def test_rmi_of_an_image_in_use_is_refused(cli: Cli, name: str, configured: Configured) -> None:
    image = configured()
    cli("run", "--name", name, image, "true")
    refused = cli("rmi", image, check=False)
    assert refused.rc == 1
    assert "conflict: unable to" in refused.err.lower()
    assert image.split(":")[0] in cli("images").out
    cli("rm", name)
    assert f"Untagged: {image}" in cli("rmi", image).out


def test_restart_pause_unpause_rename_and_wait(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "trap 'exit 2' TERM; while :; do sleep 0.05; done")
    first = inspect(cli, name)["State"]["Pid"]
    cli("restart", "-t", "1", name)
    assert inspect(cli, name)["State"]["Pid"] != first
    cli("pause", name)
    assert status(cli, name).endswith("(Paused)")
    cli("unpause", name)
    cli("rename", name, f"{name}-new")
    waiting = cli.start("wait", f"{name}-new")
    cli("kill", f"{name}-new")
    out, _ = waiting.communicate(timeout=60)
    assert out == b"137\n"
