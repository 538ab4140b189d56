"""What a step that failed has left: kept, bounded, and opened with a shell."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from build_wire.test_buildx import write
from rig import Cli, Engine, Terminal, eventually

pytestmark = pytest.mark.timeout(600)

FAILING = """\
FROM busybox
RUN echo cook:x:1000:1000::/kitchen:/bin/sh >> /etc/passwd && mkdir /kitchen && chown cook /kitchen
USER cook
WORKDIR /kitchen
ENV DISH=soup PS1="ready> "
ARG SIDE=bread
RUN --mount=type=secret,id=recipe --mount=type=secret,id=spice,env=SPICE --mount=type=bind,target=/given \\
    --mount=type=cache,id=debug,target=/cache,mode=0777 --mount=type=tmpfs,target=/scratch \\
    echo burnt > pot; cat /run/secrets/recipe; test -n "$SPICE"; cat /given/note; touch /cache/jar; exit 3
"""


def get(builder: Engine, path: str, *words: str) -> Any:
    text = builder.run("curl", "-sS", *words, "--unix-socket", builder.socket, f"http://engine{path}")
    return json.loads(text) if text else None


def kept(builder: Engine) -> list[str]:
    """IDs of the steps whose files are kept, newest first."""
    return [one["Id"] for one in get(builder, "/build/failed")]


@pytest.fixture
def folder(tiffin: Cli, builder: Engine, tmp_path: Path) -> Iterator[Path]:
    tiffin("builder", "prune", "-f", "--filter", "type=internal")
    assert kept(builder) == []
    yield write(tmp_path / "c", Dockerfile=FAILING, note="from the context")
    tiffin("builder", "prune", "-f", "--filter", "type=internal")


def secrets(tmp_path: Path) -> list[str]:
    for name in ("recipe", "spice"):
        (tmp_path / name).write_text("hidden-words")
    return [word for name in ("recipe", "spice") for word in ("--secret", f"id={name},src={tmp_path / name}")]


def ask(terminal: Terminal, command: str) -> str:
    """What a command prints, between marks that the echo of the command does not hold."""
    terminal.send(f"echo be''gin; {command}; echo e''nd\n")
    return terminal.expect(r"begin\r\n(?s:(.*?))end\r\n")[1].replace("\r\n", "\n").strip()


def test_a_shell_in_the_failed_step_has_its_files_user_variables_and_mounts_but_no_secrets(
    tiffin: Cli, builder: Engine, folder: Path, tmp_path: Path
) -> None:
    with tiffin.terminal("build", "--progress", "plain", "--debug", *secrets(tmp_path), str(folder)) as terminal:
        terminal.expect("exit code: 3")
        terminal.expect("ready> ")
        assert ask(terminal, "cat pot") == "burnt"
        assert ask(terminal, "id -un; pwd; echo $DISH $SIDE") == "cook\n/kitchen\nsoup bread"
        assert ask(terminal, "cat /given/note") == "from the context"
        assert ask(terminal, "ls /cache") == "jar"
        assert ask(terminal, "grep -c ' /scratch tmpfs' /proc/mounts") == "1"
        assert ask(terminal, "wc -c < /run/secrets/recipe") == "0"
        assert "hidden-words" not in ask(terminal, "env; cat /proc/mounts")
        terminal.send("exit\n")
        assert terminal.wait() == 1
    assert kept(builder) == []
    assert "nothing wrong" in tiffin("system", "check").out


def test_without_a_terminal_the_command_that_opens_it_is_named(
    tiffin: Cli, builder: Engine, folder: Path, tmp_path: Path
) -> None:
    failed = tiffin("build", "--progress", "plain", "--debug", *secrets(tmp_path), str(folder), check=False)
    assert failed.rc == 1
    (id,) = kept(builder)
    command = failed.err.splitlines()[-1].partition(": ")[2]
    assert command == f"tiffin builder debug {id[:12]}"
    words = command.split()[1:]
    assert "needs a terminal" in tiffin(*words, check=False).err
    assert "RUN --mount=type=secret" in tiffin("builder", "debug", "--list").out
    with tiffin.terminal(*words, "sh", "-c", "echo left: $(cat pot)") as terminal:
        terminal.expect("left: burnt")
        assert terminal.wait() == 0
    assert kept(builder) == []


def test_a_client_that_is_killed_takes_its_shell_with_it(
    tiffin: Cli, builder: Engine, folder: Path, tmp_path: Path
) -> None:
    tiffin("build", *secrets(tmp_path), str(folder), check=False)
    with tiffin.terminal("builder", "debug") as terminal:
        terminal.expect("ready> ")
        assert kept(builder) == []
        # it is somebody's: nothing takes it away from under the shell
        tiffin("builder", "prune", "-af")
        assert "nothing wrong" in tiffin("system", "check").out
        assert ask(terminal, "cat pot") == "burnt"
        terminal.process.kill()
    eventually(lambda: not list((builder.exec_root / "containers").iterdir()), what="the shell's end")
    eventually(lambda: not writable(builder), what="the end of its files")


def writable(builder: Engine) -> list[str]:
    """Copies that something writes to, or might."""
    ids = "SELECT key FROM snapshot WHERE writable"
    with sqlite3.connect(f"file:{builder.data_root / 'ledger.db'}?mode=ro", uri=True) as db:
        return [row[0] for row in db.execute(ids)]


def test_the_newest_few_are_kept_until_pruned(tiffin: Cli, builder: Engine, folder: Path) -> None:
    for number in range(5):
        write(folder, Dockerfile=f"FROM busybox\nRUN dd if=/dev/zero of=/big bs=1000 count=100; false {number}\n")
        assert "exit code: 1" in tiffin("build", str(folder), check=False).err
    shown = get(builder, "/build/failed")
    assert [one["Step"].split()[-1] for one in shown] == ["4", "3", "2", "1"]
    assert all(one["ExitCode"] == 1 and one["Size"] >= 100_000 for one in shown)
    assert {one["Id"] for one in shown} == set(writable(builder))
    assert tiffin("builder", "du", "--verbose").out.count("left by the failed") == 4
    assert "nothing wrong" in tiffin("system", "check").out
    tiffin("builder", "prune", "-f")
    assert kept(builder) == writable(builder) == []


@pytest.mark.slow
def test_docker_says_what_it_always_says_of_a_step_that_is_kept(docker: Cli, builder: Engine, folder: Path) -> None:
    write(folder, Dockerfile="FROM busybox\nRUN echo words; exit 7\n")
    failed = docker("build", str(folder), check=False)
    assert failed.err.splitlines()[-1].endswith(
        'process "/bin/sh -c echo words; exit 7" did not complete successfully: exit code: 7'
    )
    assert len(kept(builder)) == 1
    failed = docker("build", str(folder), check=False, env={"DOCKER_BUILDKIT": "0"})
    assert "returned a non-zero code: 7" in failed.err
    assert len(kept(builder)) == 2


def test_a_step_without_a_shell_says_so_and_stays(tiffin: Cli, builder: Engine, folder: Path) -> None:
    (folder / "Dockerfile").write_text(
        'FROM busybox AS tools\nFROM scratch\nCOPY --from=tools /bin/busybox /\nRUN ["/busybox", "false"]\n'
    )
    with tiffin.terminal("build", "--progress", "plain", "--debug", str(folder)) as terminal:
        terminal.expect('exec: "/bin/sh"')
        assert terminal.wait() == 1
    (id,) = kept(builder)
    with tiffin.terminal("builder", "debug", id, "/busybox", "sh") as terminal:
        terminal.expect("# ")
        terminal.send("exit\n")
        assert terminal.wait() == 0


def test_a_copy_that_fails_has_no_shell(tiffin: Cli, builder: Engine, folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM busybox\nCOPY --from=busybox /nowhere /\n")
    failed = tiffin("build", "--debug", str(folder), check=False)
    assert "No shell" in failed.err
    assert kept(builder) == []
