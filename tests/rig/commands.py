"""Command lines under test."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rig.terminal import Terminal


@dataclass(frozen=True)
class Result:
    """What a command did: exit status, stdout, stderr."""

    rc: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """stdout without the newline at its end."""
        return self.out.rstrip("\n")


@dataclass(frozen=True)
class Cli:
    """`docker` or `tiffin` against one engine: cli("run", "--rm", "busybox", "true").rc"""

    name: str
    binary: str
    inside: Callable[[Sequence[str]], list[str]]
    environment: Mapping[str, str]

    def __call__(
        self,
        *words: str,
        input: str | None = None,
        check: bool = True,
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Run to the end. `check` makes a status other than 0 an AssertionError that shows the output."""
        options: dict[str, Any] = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(
            self.argv(*words),
            env=self._env(env),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            **options,
        )
        result = Result(done.returncode, done.stdout, done.stderr)
        if check and result.rc != 0:
            raise AssertionError(
                f"{self.name} {' '.join(words)}: {result.rc}\n{result.out[-2000:]}\n{result.err[-4000:]}"
            )
        return result

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start and leave running; pipes for all three streams unless told otherwise."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(self.argv(*words), env=self._env(None), **(pipes | options))

    def terminal(self, *words: str, rows: int = 24, columns: int = 80) -> Terminal:
        """Start on a pseudo-terminal."""
        return Terminal(self.argv(*words), env={**self._env(None), "TERM": "xterm"}, rows=rows, columns=columns)

    def argv(self, *words: str) -> list[str]:
        return self.inside([self.binary, *words])

    def _env(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        return {**os.environ, **self.environment, **(extra or {})}


@functools.cache
def docker_binary() -> str:
    """The stock docker command line: TIFFIN_TEST_DOCKER, else the first on PATH that is 28 or newer, else the newest.

    Debian 12 has 20.10: it serves, and says less.
    """
    if named := os.environ.get("TIFFIN_TEST_DOCKER"):
        return named
    paths = [path for directory in os.get_exec_path() if (path := shutil.which("docker", path=directory))]
    if not paths:
        raise RuntimeError("no docker command line on PATH: apt-get install docker.io, or put Docker's own there")
    return next((path for path in paths if docker_version(path) >= 28), max(paths, key=docker_version))


@functools.cache
def docker_version(path: str) -> int:
    """The major version of a docker command line."""
    text = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
    match = re.search(r"version (\d+)", text)
    return int(match[1]) if match else 0
