"""What is measured: each measure takes a Subject and gives one sample, in milliseconds unless it says MiB.

The command line is the same docker for every engine, started without a shell around it. What a measure needs is made
before the clock starts and removed after it has stopped.
"""

from __future__ import annotations

import functools
import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rig import Engine
from rig.commands import docker_binary
from rig.engine import BIN
from rig.registries import Registry

NONE = ("--network", "none")
UNBOUNDED = ("--log-driver", "json-file", "--log-opt", "max-size=10g")


@dataclass
class Subject:
    """An engine under measurement, and the containers that measures keep on it between rounds."""

    engine: Engine
    kept: set[str] = field(default_factory=set)
    registry: Registry | None = None

    @functools.cached_property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.engine.environment()}

    def start(self, *words: str, cli: str = "docker") -> subprocess.Popen[bytes]:
        binary = {"docker": docker_binary(), "tiffin": str(BIN / "tiffin")}.get(cli, cli)
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([binary, *words], env=self.environment, **pipes)  # type: ignore[call-overload, no-any-return]

    def docker(self, *words: str, cli: str = "docker") -> str:
        """Run to the end; stdout. RuntimeError with stderr where it fails."""
        process = self.start(*words, cli=cli)
        # with a timeout of its own, communicate looks for the end now and then, and finds it a millisecond late
        watchdog = threading.Timer(600, process.kill)
        watchdog.start()
        out, err = process.communicate()
        watchdog.cancel()
        if process.returncode != 0:
            raise RuntimeError(
                f"{cli} {' '.join(words)}: {process.returncode}: {err.decode(errors='replace').strip()[-500:]}"
            )
        return out.decode(errors="replace")

    def timed(self, *words: str, cli: str = "docker") -> float:
        begin = time.perf_counter()
        self.docker(*words, cli=cli)
        return (time.perf_counter() - begin) * 1000

    def keep(self, name: str, *words: str) -> str:
        """A container that is made on first use and stays for later rounds."""
        if name not in self.kept:
            self.docker(*words[:1], "--name", name, *words[1:])
            self.kept.add(name)
        return name

    def own_processes(self) -> list[int]:
        """The engine's processes, shims and monitors too; those of containers have other mounts."""
        machine = self.engine.machine
        own = os.readlink(f"/proc/{machine.pid}/ns/mnt")
        return [pid for pid in machine.processes() if os.readlink(f"/proc/{pid}/ns/mnt") == own]

    def drop(self, *names: str) -> None:
        """Remove containers, kept ones too."""
        self.docker("rm", "-f", *names)
        self.kept -= set(names)


@dataclass(frozen=True)
class Measure:
    """budget: the largest share of dockerd's figure; None where there is none. `ceiling`: the largest figure."""

    name: str
    title: str
    sample: Callable[[Subject], float]
    budget: float | None = None
    ceiling: float | None = None
    unit: str = "ms"
    engines: tuple[str, ...] = ()
    rounds: int | None = None


def run(subject: Subject) -> float:
    return subject.timed("run", "--rm", "busybox", "true")


def run_without_network(subject: Subject) -> float:
    return subject.timed("run", "--rm", *NONE, "busybox", "true")


def run_with_own_cli(subject: Subject) -> float:
    return subject.timed("run", "--rm", *NONE, "busybox", "true", cli="tiffin")


def execute(subject: Subject) -> float:
    name = subject.keep("idle", "run", "-d", *NONE, "busybox", "sleep", "100000")
    return subject.timed("exec", name, "true")


def first_byte(subject: Subject) -> float:
    subject.docker("create", "--name", "first", *NONE, "busybox", "sh", "-c", "echo x; exec sleep 100000")
    begin = time.perf_counter()
    process = subject.start("start", "-a", "first")
    assert process.stdout is not None
    process.stdout.read(1)
    elapsed = (time.perf_counter() - begin) * 1000
    subject.drop("first")
    process.communicate()
    return elapsed


def restart(subject: Subject) -> float:
    name = subject.keep("idle", "run", "-d", *NONE, "busybox", "sleep", "100000")
    return subject.timed("restart", "-t", "0", name)


def create_and_remove(subject: Subject) -> float:
    return subject.timed("create", "--name", "made", "busybox", "true") + subject.timed("rm", "made")


def concurrent(subject: Subject) -> float:
    begin = time.perf_counter()
    processes = [subject.start("run", "--rm", "busybox", "true") for _ in range(20)]
    for process in processes:
        _, err = process.communicate(timeout=600)
        if process.returncode != 0:
            raise RuntimeError(f"docker run: {err.decode(errors='replace').strip()[-500:]}")
    return (time.perf_counter() - begin) * 1000


def detached(subject: Subject) -> float:
    begin = time.perf_counter()
    names = [f"detached-{number}" for number in range(20)]
    for name in names:
        subject.docker("run", "-d", "--name", name, "busybox", "sleep", "100000")
    subject.docker("rm", "-f", *names)
    return (time.perf_counter() - begin) * 1000


def listing(subject: Subject) -> float:
    for number in range(200):
        subject.keep(f"listed-{number}", "create", *NONE, "busybox", "true")
    return subject.timed("ps", "-a")


def read_log(subject: Subject) -> float:
    script = "yes 'a line of a log, as long as lines of logs are' | head -n 200000"
    name = subject.keep("logged", "run", *NONE, *UNBOUNDED, "busybox", "sh", "-c", script)
    return subject.timed("logs", name)


def write_log(subject: Subject) -> float:
    script = "yes 'a line of a log, as long as lines of logs are' | head -c 200000000"
    subject.docker("run", "-d", "--name", "writer", *NONE, *UNBOUNDED, "busybox", "sh", "-c", f"sleep 0.1; {script}")
    elapsed = subject.timed("wait", "writer")
    subject.drop("writer")
    return elapsed


def memory(subject: Subject) -> float:
    names = [subject.keep(f"idle-{n}", "run", "-d", *NONE, "busybox", "sleep", "100000") for n in range(100)]
    time.sleep(2)  # until the last one is idle too
    total = sum(proportional_set_size(pid) for pid in subject.own_processes())
    subject.drop(*names)
    return total / 2**20


def proportional_set_size(pid: int) -> int:
    """A process's share of memory in bytes: pages it shares count by part."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it has ended meanwhile
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))


def version_of_tiffin(subject: Subject) -> float:
    return subject.timed("--version", cli="tiffin")


def version_of_docker(subject: Subject) -> float:
    return subject.timed("--version")


OURS = ("tiffin",)
MEASURES = (
    Measure("run", "`run --rm busybox true`", run, 1 / 5),
    Measure("run-none", "the same with `--network none`", run_without_network, 1 / 8),
    Measure("exec", "`exec C true`", execute, 1 / 3),
    Measure("first-byte", "start to first byte", first_byte, 1 / 3),
    Measure("restart", "`restart -t 0`", restart, 1 / 3),
    Measure("create", "create + rm", create_and_remove, 1 / 3),
    Measure("concurrent", "20 concurrent `run --rm`", concurrent, 1 / 5),
    Measure("detached", "20 × `run -d`, then `rm -f` of all", detached, 1 / 5),
    Measure("ps", "`ps -a` with 200 containers", listing, 1 / 1.5),
    Measure("logs", "`logs` of 200,000 lines", read_log, 1 / 1.5),
    Measure("log-writing", "log writing, 200 MB", write_log, 1 / 2, rounds=2),
    Measure("memory", "engine's memory, 100 idle containers", memory, 1 / 4, unit="MiB", rounds=1),
    Measure("version", "`tiffin --version`", version_of_tiffin, ceiling=40, engines=OURS),
    Measure("version-docker", "`docker --version`", version_of_docker, engines=OURS),
    Measure("cli", "`tiffin run --rm --network none`", run_with_own_cli, engines=OURS),
)
