"""A container to look at from inside and from the host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rig import Cli, Engine

DEFAULT = 0xA80425FB
EMPTY = "0" * 16


@dataclass(frozen=True)
class Box:
    """A container that sleeps."""

    docker: Cli
    name: str
    pid: int

    def sh(self, script: str, *words: str) -> str:
        """A script's output, run by exec."""
        return self.docker("exec", *words, self.name, "sh", "-c", script).out

    def status(self) -> dict[str, str]:
        """The first process as the host sees it, from proc(5)."""
        return fields(Path(f"/proc/{self.pid}/status").read_text())

    def mounts(self) -> dict[str, tuple[str, set[str]]]:
        """Mount point → (type, options of the mount and of the file system); the topmost where there are several."""
        found = {}
        for line in Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines():
            before, after = line.split(" - ")
            kind, _, options = after.split(" ", 2)
            words = before.split()
            found[words[4]] = (kind, {*words[5].split(","), *options.split(",")})
        return found


def fields(text: str) -> dict[str, str]:
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def start(engine: Engine, name: str, *words: str) -> Box:
    docker = engine.cli("docker")
    docker("run", "-d", "--name", name, *words, "busybox", "sleep", "100000")
    return Box(docker, name, int(docker("inspect", "-f", "{{.State.Pid}}", name).line))


def check_process(status: dict[str, str]) -> None:
    assert {int(status[f"Cap{name}"], 16) for name in ("Bnd", "Prm", "Eff")} == {DEFAULT}
    assert status["CapInh"] == status["CapAmb"] == EMPTY
    assert (status["NoNewPrivs"], status["Seccomp"], status["Seccomp_filters"]) == ("0", "2", "1")
    assert status["Umask"] == "0022"
    assert status["SigBlk"] == status["SigIgn"] == EMPTY
    assert (status["Uid"], status["Gid"]) == ("0\t0\t0\t0", "0\t0\t0\t0")


def own_capabilities() -> int:
    return int(fields(Path("/proc/self/status").read_text())["CapPrm"], 16)
