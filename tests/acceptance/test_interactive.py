"""A first session: a shell in a container, at a terminal."""

from __future__ import annotations

import re
from typing import Any

from acceptance.conftest import inspect
from rig import Cli, Terminal, eventually

# a prompt that marks the end of a line, and no escape sequences around what is typed
QUIET = ("-e", "PS1=<prompt>", "-e", "TERM=dumb")


def shell(cli: Cli, *words: str) -> Terminal:
    """`run` of bash on a terminal, at its prompt. The prompt is ours: a line is over when it shows again."""
    terminal = cli.terminal("run", "--rm", *words, *QUIET, "debian", "bash", "--norc", rows=30, columns=100)
    terminal.expect("<prompt>")
    return terminal


def say(terminal: Terminal, line: str) -> str:
    """Type a line; what was printed until the next prompt."""
    start = len(terminal.seen)
    terminal.send(line + "\n")
    terminal.expect(re.escape(line))  # a resize may draw the prompt again before the line is echoed
    terminal.expect("<prompt>")
    return terminal.seen[start:]


def test_long_and_short_flags_are_equal(cli: Cli, name: str) -> None:
    short = [
        "-i",
        "-t",
        "-d",
        "-e",
        "A=b",
        "-w",
        "/tmp",
        "-u",
        "33",
        "-h",
        "box",
        "-l",
        "k=v",
        "-m",
        "64m",
        "-c",
        "512",
        "-v",
        "/tmp:/t",
    ]
    long = ["--interactive", "--tty", "--detach", "--env=A=b", "--workdir", "/tmp", "--user=33", "--hostname", "box"]
    long += ["--label", "k=v", "--memory=64m", "--cpu-shares", "512", "--volume", "/tmp:/t"]
    documents: list[dict[str, Any]] = []
    for suffix, flags in (("short", short), ("long", long)):
        cli("run", *flags, "--name", f"{name}-{suffix}", "busybox", "sh")
        documents.append(inspect(cli, f"{name}-{suffix}"))
    assert documents[0]["Config"] == documents[1]["Config"]
    assert documents[0]["HostConfig"] == documents[1]["HostConfig"]
    assert documents[0]["Config"]["Tty"] and documents[0]["Config"]["OpenStdin"]


def test_a_shell_on_a_terminal_is_pid_1_and_shows_the_image(cli: Cli, debian: str) -> None:
    with shell(cli, "-it") as terminal:
        assert "\r\n/\r\n" in say(terminal, "pwd")
        assert "etc" in say(terminal, "ls /")
        assert "Debian GNU/Linux" in say(terminal, "cat /etc/os-release")
        processes = say(terminal, "ps -ef").splitlines()
        assert any(line.split()[1:2] == ["1"] and "bash" in line for line in processes if line.startswith("root"))
        terminal.send("exit 3\n")
        assert terminal.wait() == 3


def test_the_python_of_the_image_says_its_version(cli: Cli, python: str) -> None:
    assert cli("run", "--rm", python, "python", "--version").out.startswith("Python 3.")
    with cli.terminal("run", "-it", "--rm", python) as terminal:
        terminal.expect(">>> ")
        terminal.send("print(6 * 7)\n")
        terminal.expect(
            "^42\r\n>>> "
        )  # typed before the prompt, the end of file would be lost with the line discipline's
        terminal.send("\x04")
        assert terminal.wait() == 0


def test_job_control_works(cli: Cli, debian: str) -> None:
    with shell(cli, "--interactive", "--tty") as terminal:
        terminal.send("sleep 1234\n")
        terminal.expect("sleep 1234\r\n")
        eventually(lambda: "sleep 1234" in cli("ps", "-q").out or running(cli, "sleep 1234"), what="the sleep to run")
        terminal.send("\x1a")
        terminal.expect(r"Stopped +sleep 1234")
        terminal.expect("<prompt>")
        assert "sleep 1234 &" in say(terminal, "bg")
        assert "Running" in say(terminal, "jobs")
        terminal.send("fg\n")
        terminal.expect("^sleep 1234\r\n")
        terminal.send("\x03")
        terminal.expect("<prompt>")
        assert "130" in say(terminal, "echo $?")
        terminal.send("exit\n")
        terminal.wait()


def running(cli: Cli, command: str) -> bool:
    """Whether a container of the engine runs a process with this command line."""
    return any(command in cli("top", identity, check=False).out for identity in cli("ps", "-q").out.split())


def test_the_terminal_has_the_clients_size_and_follows_it(cli: Cli, debian: str) -> None:
    with shell(cli, "-it") as terminal:
        eventually(lambda: "30 100" in say(terminal, "stty size"))
        say(terminal, "trap 'echo new size: $(stty size)' WINCH")

        def follows() -> bool:
            terminal.resize(40, 132)
            terminal.resize(41, 133)
            # what the trap prints may come in between at any place: an empty line can't be torn by it
            terminal.send("\n")
            terminal.expect("<prompt>")
            return "new size: 41 133" in terminal.seen

        eventually(follows, every=0.2)  # docker's command line hears of sizes only some time after the start
        terminal.send("exit\n")
        terminal.wait()


def test_exit_removes_the_container_with_rm(cli: Cli, name: str, debian: str) -> None:
    with shell(cli, "-it", "--name", name) as terminal:
        assert name in cli("ps", "--format", "{{.Names}}").out.split()
        terminal.send("exit\n")
        assert terminal.wait() == 0
    eventually(lambda: name not in cli("ps", "-a", "--format", "{{.Names}}").out.split())


def test_detach_keys_leave_the_container_running_and_attach_comes_back(cli: Cli, name: str, debian: str) -> None:
    words = ["run", "-it", "--name", name, *QUIET, debian, "bash", "--norc"]
    with cli.terminal(*words) as terminal:
        terminal.expect("<prompt>")
        terminal.send("\x10\x11")
        terminal.wait()
    assert inspect(cli, name)["State"]["Running"] is True
    with cli.terminal("attach", name) as terminal:
        eventually(lambda: "<prompt>" in say(terminal, "echo back again"))
        terminal.send("exit 4\n")
        assert terminal.wait() == 4
