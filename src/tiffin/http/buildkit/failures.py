"""Errors as BuildKit's clients expect them: a message, and where in the Dockerfile it happened."""

from __future__ import annotations

import base64
import json
from typing import Any

from tiffin import errors
from tiffin.build.dockerfile.source import NOWHERE, DockerfileError, Span
from tiffin.build.solve.failures import StepFailed
from tiffin.http.buildkit.progress import lines
from tiffin.http.errors import message
from tiffin.wire.grpc.status import Code, Detail, StatusError

_TYPE = "github.com/moby/buildkit/errdefs."
_KEPT = "tiffin.build.failed"
"""Of tiffin's own: the ID of the failed step's files. Other clients pass over types they don't know."""
_EXCERPT_LIMIT = 512 << 10

_CODES: dict[type[errors.TiffinError], Code] = {
    errors.NotFound: Code.NOT_FOUND,
    errors.Conflict: Code.ALREADY_EXISTS,
    errors.Forbidden: Code.PERMISSION_DENIED,
    errors.Unauthorized: Code.UNAUTHENTICATED,
    errors.Unsupported: Code.UNIMPLEMENTED,
    errors.Unavailable: Code.UNAVAILABLE,
}


def status_of(error: Exception, source: tuple[str, bytes] = ("", b"")) -> StatusError:
    """The gRPC error for an exception; `source` is the Dockerfile's name and text."""
    if isinstance(error, StatusError):
        return error
    spans = _spans(error)
    details = [_source(source, spans)] if spans and source[1] else []
    if isinstance(error, StepFailed) and error.kept:
        details.append(Detail(_KEPT, error.kept.encode()))
    return StatusError(Code.UNKNOWN, message(error), details)


def code_of(error: Exception) -> Code:
    """For calls that are not builds, whose clients look at the code."""
    return next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), Code.UNKNOWN)


def _spans(error: Exception) -> tuple[Span, ...]:
    if isinstance(error, DockerfileError):
        return tuple(span for span in error.spans if span != NOWHERE)
    if isinstance(error, StepFailed) and error.step.span != NOWHERE:
        return (error.step.span,)
    return ()


def _source(source: tuple[str, bytes], spans: tuple[Span, ...]) -> Detail:
    """errdefs.Source, as Go's encoding/json writes it."""
    name, data = source
    if len(data) > _EXCERPT_LIMIT:
        data = b""
    info: dict[str, Any] = {"filename": name, "data": base64.b64encode(data).decode(), "language": "Dockerfile"}
    document = {"info": info, "ranges": [lines(span) for span in spans]}
    return Detail(_TYPE + "Source+json", json.dumps(document).encode())
