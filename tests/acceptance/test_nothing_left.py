"""What a container needed is given back: processes, mounts, cgroups, links, descriptors."""

from __future__ import annotations

import pytest

from rig import Cli


@pytest.fixture
def warm(docker: Cli) -> None:
    """Everything that an engine makes once and keeps (a bridge, a forkserver) is there before anything is counted."""
    docker("run", "--rm", "busybox", "true")


def live(docker: Cli, name: str) -> None:
    """The whole life of a container, on the bridge with a published port."""
    docker(
        "create", "-it", "--name", name, "-p", "127.0.0.1::80", "--memory", "64m", "-v", "/anonymous", "busybox", "sh"
    )
    docker("start", name)
    docker("exec", name, "true")
    docker("stop", "-t", "0", name)
    docker("rm", "-v", name)


def test_a_life_of_a_container_leaves_nothing_behind(warm: None, no_leaks: None, docker: Cli, name: str) -> None:
    for number in range(5):
        live(docker, f"{name}-{number}")
    for words in (["true"], ["false"], ["no-such-program"], ["/etc/passwd"]):
        docker("run", "--rm", "busybox", *words, check=False)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_lives_leave_the_machine_as_it_was(warm: None, no_leaks: None, docker: Cli, name: str) -> None:
    for number in range(1000):
        live(docker, f"{name}-{number}")
