"""How a build is shown: plain lines, a display on a terminal, JSON lines, or not at all.

What comes are BuildKit's StatusResponses: vertices (steps), statuses (parts of one), logs, warnings.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from tiffin.cli import terminal, units

EXPLANATION = 3
"""The log stream on which the daemon says why a step was, or was not, taken from the cache."""


class Display(Protocol):
    def update(self, status: Any) -> None:
        """Show a StatusResponse."""
        ...

    def close(self) -> None:
        """The build is over."""
        ...


def seconds(stamp: Any) -> float:
    return float(stamp.seconds) + float(stamp.nanos) / 1e9


@dataclass(slots=True)
class Step:
    """What is known of one vertex."""

    number: int
    name: str
    started: float = 0.0
    completed: float = 0.0
    cached: bool = False
    error: str = ""
    logs: list[bytes] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def seconds(self) -> float:
        return max(0.0, (self.completed or time.time()) - self.started)


class Steps:
    """Vertices by digest, numbered as they begin; shared by the displays."""

    def __init__(self) -> None:
        self.all: dict[str, Step] = {}
        self.warnings: list[Any] = []

    def vertex(self, vertex: Any) -> Step | None:
        """The step as it is now, None while it only waits."""
        if not vertex.HasField("started"):
            return None
        step = self.all.get(vertex.digest)
        if step is None:
            step = self.all[vertex.digest] = Step(len(self.all) + 1, vertex.name)
        step.started, step.cached, step.error = seconds(vertex.started), vertex.cached, vertex.error
        step.completed = seconds(vertex.completed) if vertex.HasField("completed") else 0.0
        return step


class Plain:
    """Lines as docker's plain progress has them: `#4 [2/3] RUN …`, `#4 0.213 output`, `#4 DONE 0.4s`."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._steps = Steps()
        self._at = 0
        self._rests: dict[str, bytes] = {}

    def update(self, status: Any) -> None:
        for vertex in status.vertexes:
            self._vertex(vertex)
        for one in status.statuses:
            self._status(one)
        for log in status.logs:
            self._log(log)
        self._steps.warnings += status.warnings

    def _head(self, step: Step) -> None:
        if self._at != step.number:
            self._write(("\n" if self._at > 0 else "") + f"#{step.number} {step.name}\n")
            self._at = step.number

    def _vertex(self, vertex: Any) -> None:
        known = self._steps.all.get(vertex.digest)
        done = known is not None and known.completed
        step = self._steps.vertex(vertex)
        if step is None or done:
            return
        self._head(step)
        if not step.completed:
            return
        rest = self._rests.pop(vertex.digest, b"")
        if rest:
            self._line(step, rest)
        if step.error:
            cancelled = step.error.endswith("context canceled")
            self._write(f"#{step.number} {'CANCELED' if cancelled else f'ERROR: {step.error}'}\n")
        else:
            self._write(f"#{step.number} {'CACHED' if step.cached else f'DONE {step.seconds:.1f}s'}\n")
        self._write("\n")
        self._at = -1

    def _status(self, one: Any) -> None:
        step = self._steps.all.get(one.vertex)
        if step is None:
            return
        done = one.HasField("completed")
        text = f"{part_of(one)}{' done' if done else ''}"
        first, same = one.ID not in step.parts, step.parts.get(one.ID) == text
        step.parts[one.ID] = text
        # what goes on is shown where it begins and where it ends
        if not same and (first or done):
            self._head(step)
            self._write(f"#{step.number} {text}\n")

    def _log(self, log: Any) -> None:
        step = self._steps.all.get(log.vertex)
        if step is None:
            return
        if log.stream == EXPLANATION:
            self._head(step)
            self._write(f"#{step.number} ? {log.msg.decode('utf-8', 'replace')}\n")
            return
        *whole, rest = (self._rests.get(log.vertex, b"") + log.msg).split(b"\n")
        self._rests[log.vertex] = rest
        after = max(0.0, seconds(log.timestamp) - step.started)
        for line in whole:
            step.logs.append(line)
            self._head(step)
            self._line(step, line, after)

    def _line(self, step: Step, line: bytes, after: float | None = None) -> None:
        text = line.rstrip(b"\r").decode("utf-8", "replace")
        self._write(f"#{step.number} {step.seconds if after is None else after:.3f} {text}\n")

    def close(self) -> None:
        failures(self._steps, self._write)
        warnings(self._steps, self._write)


def part_of(one: Any) -> str:
    """`transferring context: 2.00kB`, `sha256:… 1.2MB / 3MB 0.3s`."""
    if one.total:
        return f"{one.ID} {units.size(one.current, 3)} / {units.size(one.total, 3)}"
    return f"{one.ID} {units.size(one.current, 3)}" if one.current else one.ID


def failures(steps: Steps, write: Callable[[str], None]) -> None:
    """What the step that failed has printed last."""
    for step in steps.all.values():
        if step.error and not step.error.endswith("context canceled"):
            write(f"------\n > {step.name}:\n")
            for line in step.logs[-20:]:
                write(f"{line.decode('utf-8', 'replace')}\n")
            write("------\n")


def warnings(steps: Steps, write: Callable[[str], None]) -> None:
    found = steps.warnings
    if not found:
        return
    plural = "s" if len(found) > 1 else ""
    write(f"\n {len(found)} warning{plural} found (use tiffin build --check to expand):\n")
    for one in found:
        write(f" - {one.short.decode('utf-8', 'replace')}\n")


class Live:
    """A block that is drawn again and again on a terminal."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._steps = Steps()
        self._began = time.time()
        self._drawn = 0
        self._last = 0.0

    def update(self, status: Any) -> None:
        for vertex in status.vertexes:
            self._steps.vertex(vertex)
        for one in status.statuses:
            if step := self._steps.all.get(one.vertex):
                step.parts[one.ID] = part_of(one)
        for log in status.logs:
            if step := self._steps.all.get(log.vertex):
                if log.stream == EXPLANATION:
                    told = log.msg.decode("utf-8", "replace")
                    step.reason = f"{step.reason}; {told}" if step.reason else told
                else:
                    step.logs += [line for line in log.msg.split(b"\n") if line.strip()]
        self._steps.warnings += status.warnings
        if time.monotonic() - self._last > 0.1:
            self._draw()

    def close(self) -> None:
        self._draw()
        failures(self._steps, self._write)
        warnings(self._steps, self._write)

    def _draw(self) -> None:
        self._last = time.monotonic()
        rows, columns = terminal.size(terminal.STDERR)
        rows, columns = rows or 24, columns or 80
        lines = self._lines(columns)
        room = max(4, rows - 2)
        if len(lines) > room:
            lines = [lines[0], *lines[-(room - 1) :]]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._write(up + "".join(f"\x1b[2K{line}\n" for line in lines) + "\x1b[J")
        self._drawn = len(lines)

    def _lines(self, columns: int) -> list[str]:
        steps = list(self._steps.all.values())
        done = sum(1 for step in steps if step.completed)
        state = " FINISHED" if steps and done == len(steps) else ""
        lines = [f"[+] Building {time.time() - self._began:.1f}s ({done}/{len(steps)}){state}"]
        for step in steps:
            mark = "ERROR " if step.error else "CACHED " if step.cached else ""
            lines.append(_row(f" => {mark}{step.name}", f"{step.seconds:.1f}s", columns))
            if step.reason:
                lines.append(f" => ? {step.reason}"[:columns])
            if not step.completed:
                lines += [_row(f" => => {part}", "", columns) for part in list(step.parts.values())[-3:]]
                shown = [line.decode("utf-8", "replace").strip() for line in step.logs[-6:]]
                lines += [f" => => # {line}"[: columns - 1] for line in shown]
        return lines


def _row(left: str, right: str, columns: int) -> str:
    room = columns - len(right) - 1
    text = left if len(left) <= room else left[: max(0, room - 3)] + "..."
    return f"{text:<{room}} {right}"


class Raw:
    """One line of JSON for each message, as buildx's rawjson."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def update(self, status: Any) -> None:
        document = {
            "vertexes": [_vertex_document(one) for one in status.vertexes],
            "statuses": [_status_document(one) for one in status.statuses],
            "logs": [_log_document(one) for one in status.logs],
            "warnings": [_warning_document(one) for one in status.warnings],
        }
        self._write(json.dumps({name: found for name, found in document.items() if found}) + "\n")

    def close(self) -> None:
        pass


class Silent:
    def update(self, status: Any) -> None:
        pass

    def close(self) -> None:
        pass


def _time(message: Any, name: str) -> dict[str, str]:
    """A timestamp as Go writes it, or nothing where it is not set."""
    if not message.HasField(name):
        return {}
    stamp = getattr(message, name)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(stamp.seconds))
    fraction = f".{stamp.nanos:09d}".rstrip("0") if stamp.nanos else ""
    return {name: f"{whole}{fraction}Z"}


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def _vertex_document(one: Any) -> dict[str, Any]:
    fields = _given(inputs=list(one.inputs), name=one.name, cached=one.cached, error=one.error)
    return {"digest": one.digest, **fields, **_time(one, "started"), **_time(one, "completed")}


def _status_document(one: Any) -> dict[str, Any]:
    times = {**_time(one, "timestamp"), **_time(one, "started"), **_time(one, "completed")}
    return {
        "id": one.ID,
        "vertex": one.vertex,
        **_given(name=one.name, total=one.total),
        "current": one.current,
        **times,
    }


def _log_document(one: Any) -> dict[str, Any]:
    data = base64.b64encode(one.msg).decode()
    return {"vertex": one.vertex, "stream": one.stream, "data": data, **_time(one, "timestamp")}


def _warning_document(one: Any) -> dict[str, Any]:
    short = base64.b64encode(one.short).decode()
    detail = [base64.b64encode(text).decode() for text in one.detail]
    ranges = [{"start": {"line": each.start.line}, "end": {"line": each.end.line}} for each in one.ranges]
    info = {"filename": one.info.filename, "language": one.info.language} if one.HasField("info") else None
    return {
        "vertex": one.vertex,
        **_given(level=one.level, short=short, detail=detail, url=one.url, sourceInfo=info, range=ranges),
    }


def choose(kind: str, quiet: bool) -> Display:
    """The display for --progress. Progress goes to standard error. Raises ValueError for an unknown one."""

    def write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()

    if quiet or kind in ("quiet", "none"):
        return Silent()
    if kind in ("", "auto"):
        kind = "tty" if terminal.is_terminal(terminal.STDERR) else "plain"
    displays: dict[str, Callable[[Callable[[str], None]], Display]] = {"plain": Plain, "tty": Live, "rawjson": Raw}
    if kind not in displays:
        raise ValueError(kind)
    return displays[kind](write)
