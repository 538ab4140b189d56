"""What the engine tells about a build, as BuildKit's status messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tiffin.build.dockerfile.rules import Finding
from tiffin.build.dockerfile.source import Span
from tiffin.build.solve.events import (
    Event,
    VertexCompleted,
    VertexExplained,
    VertexLog,
    VertexProgress,
    VertexStarted,
    VertexWarning,
)
from tiffin.model.digest import Digest
from tiffin.wire.buildkit import control, stamp

LOG_LIMIT = 2 << 20
"""Bytes of one step's output that are told; the rest is cut, as BuildKit does."""


EXPLANATION = 3
"""The stream of a log that says why a step was, or was not, cached. Told only to clients that ask."""


class Narrator:
    """Turns events into StatusResponses; remembers vertices, as each message repeats what is known of one."""

    def __init__(self) -> None:
        self._vertices: dict[Digest, Any] = {}
        self._logged: dict[Digest, int] = {}
        self.definition: Digest | None = None
        """The vertex that warnings about the Dockerfile belong to."""
        self.source: tuple[str, bytes] = ("Dockerfile", b"")
        self.total = self.cached = self.completed = self.warnings = 0

    def message(self, event: Event) -> Any | None:
        """A StatusResponse, None where there is nothing to tell."""
        response = control("StatusResponse")
        if isinstance(event, VertexStarted):
            vertex = response.vertexes.add(digest=event.digest, name=event.name, inputs=event.inputs)
            vertex.cached = event.cached
            self.total += 1
            self.cached += event.cached
            stamp(vertex.started, event.at)
            self._vertices[event.digest] = vertex
        elif isinstance(event, VertexCompleted):
            vertex = response.vertexes.add(digest=event.digest)
            if event.digest in self._vertices:
                vertex.CopyFrom(self._vertices[event.digest])
            vertex.error = event.error
            stamp(vertex.completed, event.at)
            self.completed += not event.error
        elif isinstance(event, VertexProgress):
            self._progress(response.statuses.add(), event)
        elif isinstance(event, VertexLog):
            data = self._clipped(event)
            if not data:
                return None
            log = response.logs.add(vertex=event.digest, stream=event.stream, msg=data)
            stamp(log.timestamp, event.at)
        elif isinstance(event, VertexExplained):
            log = response.logs.add(vertex=event.digest, stream=EXPLANATION, msg=event.reason.encode())
            stamp(log.timestamp, event.at)
        elif isinstance(event, VertexWarning):
            self.warnings += 1
            self._warning(response.warnings.add(), event)
        return response

    def _progress(self, status: Any, event: VertexProgress) -> None:
        status.ID, status.vertex, status.name = event.id, event.digest, event.id
        status.current, status.total = event.current, event.total
        stamp(status.timestamp, event.at)
        stamp(status.started, event.started or event.at)
        if event.done:
            stamp(status.completed, event.at)

    def _clipped(self, event: VertexLog) -> bytes:
        before = self._logged.get(event.digest, 0)
        self._logged[event.digest] = before + len(event.data)
        if before > LOG_LIMIT:
            return b""
        if before + len(event.data) > LOG_LIMIT:
            return event.data[: LOG_LIMIT - before] + b"\n[output clipped, log limit 2MiB reached]\n"
        return event.data

    def _warning(self, warning: Any, event: VertexWarning) -> None:
        finding = event.finding
        warning.vertex = self.definition or event.digest
        warning.level = 1
        warning.short = str(finding).encode()
        warning.detail.append(finding.rule.description.encode())
        warning.url = finding.rule.url
        name, data = self.source
        warning.info.filename, warning.info.data, warning.info.language = name, data, "Dockerfile"
        for one in ranges(finding):
            warning.ranges.add(start=one, end=one)
            warning.ranges[-1].end.line = max(finding.span.start, finding.span.end)


def ranges(finding: Finding) -> Iterator[dict[str, int]]:
    """Where a finding is, as pb.Position has it."""
    if finding.span.start > 0:
        yield {"line": finding.span.start}


def lines(span: Span) -> dict[str, Any]:
    """A span as the JSON of pb.Range."""
    return {"start": {"line": span.start}, "end": {"line": max(span.start, span.end)}}
