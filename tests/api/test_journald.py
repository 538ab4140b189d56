"""The log driver journald, with a systemd-journald of the test's own."""

import json
import subprocess
from collections.abc import Callable, Iterator

import pytest

from rig import Engine
from rig.waiting import eventually

SETUP = """
for directory in systemd log; do mkdir -p /run/$directory && mount -t tmpfs none /run/$directory; done
mkdir -p /run/systemd/journal /run/log/journal
exec /lib/systemd/systemd-journald
"""


@pytest.fixture
def journal(start_engine: Callable[..., Engine]) -> Iterator[Engine]:
    """An engine among whose mounts a journald runs."""
    engine = start_engine()
    daemon = engine.machine.popen(["sh", "-ec", SETUP], stdin=subprocess.DEVNULL)
    try:
        listening = ["test", "-S", "/run/systemd/journal/socket"]
        eventually(lambda: subprocess.run(engine.machine.inside(listening, mounts=True)).returncode == 0)
        yield engine
    finally:
        daemon.terminate()
        daemon.wait(60)


def entries(engine: Engine, tag: str) -> list[dict[str, str]]:
    argv = ["journalctl", "--no-pager", "--all", "-o", "json", f"CONTAINER_TAG={tag}"]
    done = subprocess.run(engine.machine.inside(argv, mounts=True), capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_lines_are_in_the_journal_and_docker_logs_reads_them(journal: Engine) -> None:
    docker = journal.cli("docker")
    words = ("--log-driver", "journald", "--log-opt", "tag={{.Name}}", "--name", "speaker", "--network", "none")
    script = "echo one; echo two >&2; head -c 20000 /dev/zero | tr '\\0' x"
    docker("run", *words, "busybox", "sh", "-c", script)
    eventually(lambda: len(entries(journal, "speaker")) == 4)
    found = {entry["MESSAGE"][:3]: entry for entry in entries(journal, "speaker")}
    assert (found["one"]["PRIORITY"], found["two"]["PRIORITY"]) == ("6", "3")
    assert found["one"]["CONTAINER_NAME"] == "speaker" and found["one"]["IMAGE_NAME"] == "busybox"
    assert sum(len(entry["MESSAGE"]) for entry in entries(journal, "speaker")) == 20_006
    logs = docker("logs", "speaker")
    assert (logs.out[:4], logs.err) == ("one\n", "two\n")


def test_a_host_without_a_journal_says_so(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine()
    subprocess.run(engine.machine.inside(["mount", "-t", "tmpfs", "none", "/run"], mounts=True), check=True)
    done = engine.cli("docker")("run", "--rm", "--log-driver", "journald", "busybox", "true", check=False)
    assert done.rc != 0
    assert "journald is not enabled on this host" in done.err
