"""What containers learn of each other, and what their networks bring in."""

from __future__ import annotations

import pytest

from rig import Cli, eventually

pytestmark = pytest.mark.root

_SEARCH = r"""
import os, re, sys
wanted = sys.argv[1].encode()[::-1]
found = set()
for pid in [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]:
    try:
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for line in maps:
                start, end = (int(number, 16) for number in re.match("([0-9a-f]+)-([0-9a-f]+) r", line).groups())
                try:
                    memory.seek(start)
                    if wanted in memory.read(end - start):
                        found.add(pid)
                except (OSError, ValueError, OverflowError):
                    pass
    except (OSError, AttributeError):
        pass
print(sorted(found))
"""


def secret_seen_by(docker: Cli, python: str, *words: str) -> str:
    """Looks for another container's variable in the memory of every process in sight; the pids that have it."""
    secret = "correct-horse-battery-staple"
    docker("run", "-d", "--name", "other", "-e", f"SECRET={secret}", "busybox", "sleep", "100000")
    return docker("run", "--rm", *words, python, "python", "-c", _SEARCH, secret[::-1]).line


@pytest.mark.parametrize(
    "words", [[], ["--init"], ["--cap-add", "SYS_PTRACE"], ["--init", "--cap-add", "SYS_PTRACE"]], ids=" ".join
)
def test_a_containers_variables_are_in_no_other_containers_reach(docker: Cli, python: str, words: list[str]) -> None:
    """Of which the last is allowed to read its PID 1, a fork of ours."""
    assert secret_seen_by(docker, python, *words) == "[]"


def test_a_router_has_no_say_in_a_container(docker: Cli) -> None:
    """CVE-2020-13401: a neighbour's router advertisement would give it an address and a way."""
    script = "cd /proc/sys/net/ipv6/conf && for i in eth0 default; do cat $i/disable_ipv6 $i/accept_ra; done"
    disabled, accepted, *_ = docker("run", "--rm", "busybox", "sh", "-c", script).out.split()
    assert disabled == "1" or accepted == "0"


def test_a_container_of_no_network_has_none(docker: Cli) -> None:
    script = "ls /sys/class/net; ip route; ping -c 1 -w 1 172.17.0.1 >/dev/null 2>&1 || echo unreachable"
    assert docker("run", "--rm", "--network", "none", "busybox", "sh", "-c", script).out.split() == [
        "lo",
        "unreachable",
    ]


def test_processes_of_another_container_are_out_of_sight(docker: Cli) -> None:
    docker("run", "-d", "--name", "one", "busybox", "sleep", "100001")
    docker("run", "-d", "--name", "two", "busybox", "sleep", "100002")
    shown = eventually(lambda: docker("exec", "two", "ps").out)
    assert "100002" in shown and "100001" not in shown
    assert docker("exec", "two", "sh", "-c", "kill -9 -1; true").rc in (0, 137)
    assert docker("inspect", "-f", "{{.State.Running}}", "one").line == "true"
