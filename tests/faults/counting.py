"""Containers that write numbered lines to both outputs, and the proof that none is lost or doubled."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pytest

from faults.api import Api

_SCRIPT = (
    "i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo out $i; echo err $i >&2;"
    " [ $((i % {pause})) = 0 ] && usleep 25000; done; exit {code}"
)


def cycles(few: int, many: int = 200) -> list[Any]:
    """For parametrize: a few in `make test`, many in `make test-slow`, or as many as TIFFIN_TEST_CYCLES says."""
    number = int(os.environ.get("TIFFIN_TEST_CYCLES", many))
    return [few, pytest.param(number, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])]


@dataclass(frozen=True)
class Counting:
    """One such container."""

    api: Api
    id: str
    lines: int
    code: int
    tty: bool

    @classmethod
    def run(cls, api: Api, *, code: int, tty: bool, lines: int = 2000, **host: Any) -> Counting:
        script = _SCRIPT.format(lines=lines, pause=100, code=code)
        return cls(api, api.run("sh", "-c", script, tty=tty, **host), lines, code, tty)

    def check(self) -> None:
        """It ends with its code, and its log holds each line once, in order."""
        assert self.api.wait(self.id) == self.code
        state = self.api.state(self.id)
        assert (state["Status"], state["ExitCode"], state["Error"]) == ("exited", self.code, ""), state
        expected = [[f"{name} {number}" for number in range(1, self.lines + 1)] for name in ("out", "err")]
        for seen, wanted in zip(self.streams(), expected, strict=True):
            assert seen == wanted, difference(seen, wanted)

    def check_beginning(self) -> None:
        """What its log holds are the first lines, each once."""
        for name, seen in zip(("out", "err"), self.streams(), strict=True):
            assert seen == [f"{name} {number}" for number in range(1, len(seen) + 1)]

    def streams(self) -> tuple[list[str], list[str]]:
        out, err = self.api.logs(self.id, tty=self.tty)
        if not self.tty:
            return out, err
        return [line for line in out if line[:3] == "out"], [line for line in out if line[:3] == "err"]


def difference(seen: list[str], wanted: list[str]) -> str:
    """Where two lists part."""
    for number, (one, other) in enumerate(zip(seen, wanted, strict=False)):
        if one != other:
            return f"line {number + 1}: {one!r} instead of {other!r}"
    return f"{len(seen)} lines instead of {len(wanted)}"
