"""A container lives as long as its first process."""

from __future__ import annotations

from pathlib import Path

from acceptance.conftest import inspect
from rig import Cli, eventually


def test_the_containers_status_is_its_first_processs_and_children_die_with_it(cli: Cli, name: str) -> None:
    script = "sleep 4242 & read line; exit 3"
    cli("create", "-i", "--name", name, "busybox", "sh", "-c", script)
    attached = cli.start("start", "-a", "-i", name)

    def child() -> int | None:
        rows = [line.split() for line in cli("top", name, check=False).out.splitlines()]
        return next((int(row[1]) for row in rows if row[-1] == "4242"), None)

    pid = eventually(child, what="the sleep that the shell started")
    attached.communicate(b"go\n", timeout=60)
    assert attached.returncode == 3
    assert not Path(f"/proc/{pid}").exists()
    state = inspect(cli, name)["State"]
    assert (state["Status"], state["ExitCode"], state["Running"]) == ("exited", 3, False)


def test_exec_adds_processes_beside_the_first(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "sleep 1000 & wait")
    shell = cli("exec", name, "sh", "-c", "echo $$; grep -c . /proc/1/cmdline").out.split()
    assert int(shell[0]) > 1
    cli("exec", "-d", name, "sleep", "2000")
    eventually(lambda: "sleep 2000" in cli("top", name).out and "sleep 1000" in cli("top", name).out)
    assert cli("exec", name, "sh", "-c", "exit 9", check=False).rc == 9
    assert cli("exec", name, "no-such-program", check=False).rc in (126, 127)  # 126 before Docker 23
    assert (
        cli("exec", "-i", "-e", "A=b", "-w", "/tmp", "-u", "33", name, "sh", input="echo $A $(pwd) $(id -u)\n").line
        == "b /tmp 33"
    )


def test_exec_in_a_container_that_is_stopped_is_refused(cli: Cli, name: str) -> None:
    cli("run", "--name", name, "busybox", "true")
    result = cli("exec", name, "true", check=False)
    assert result.rc == 1
    assert "is not running" in result.err


def test_on_failure_restarts_as_often_as_it_says(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, "--restart", "on-failure:2", "busybox", "sh", "-c", "echo ran; exit 4")
    eventually(lambda: inspect(cli, name)["RestartCount"] == 2 and inspect(cli, name)["State"]["Status"] == "exited")
    assert inspect(cli, name)["State"]["ExitCode"] == 4
    assert cli("logs", name).out == "ran\n" * 3


def test_always_restarts_after_success_until_it_is_stopped(cli: Cli, name: str) -> None:
    cli(
        "run",
        "-d",
        "--name",
        name,
        "--restart",
        "always",
        "busybox",
        "sh",
        "-c",
        "test -e /again && exec sleep 1000; touch /again",
    )
    eventually(lambda: inspect(cli, name)["RestartCount"] == 1 and inspect(cli, name)["State"]["Status"] == "running")
    cli("stop", "-t", "0", name)
    state = inspect(cli, name)["State"]
    assert (state["Status"], state["Restarting"]) == ("exited", False)


def test_without_a_policy_nothing_restarts(cli: Cli, name: str) -> None:
    cli("run", "--name", name, "busybox", "false", check=False)
    assert inspect(cli, name)["RestartCount"] == 0
    assert inspect(cli, name)["HostConfig"]["RestartPolicy"]["Name"] == "no"


def test_init_reaps_zombies(cli: Cli, name: str) -> None:
    # the inner shell leaves an orphan to PID 1; sleep as PID 1 would never wait for it
    script = "sh -c 'sleep 0.1 & exit'; exec sleep 1000"
    cli("run", "-d", "--init", "--name", name, "busybox", "sh", "-c", script)
    assert cli("exec", name, "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline").out.find("init") >= 0
    # init, sleep 1000 and ps, below a line of headings
    eventually(lambda: len(cli("exec", name, "ps", "-o", "pid,args").out.splitlines()) == 4)


def test_init_forwards_signals_and_hands_on_the_status(cli: Cli, name: str) -> None:
    script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    cli("run", "-d", "--init", "--name", name, "busybox", "sh", "-c", script)
    eventually(lambda: cli("logs", name).out == "ready\n")
    cli("stop", "-t", "50", name)
    assert inspect(cli, name)["State"]["ExitCode"] == 7
