"""What a registry refuses and what keeps it from being reached, in the words clients know from docker."""

import json
from collections.abc import Iterable

from tiffin.errors import Internal, NotFound, TiffinError, Unavailable
from tiffin.model.reference import Reference

_MAX_SHOWN = 512
_DEFAULTS = {"UNAUTHORIZED": "authentication required", "DENIED": "requested access to the resource is denied"}


class Unreachable(Internal):
    """No answer: no route, no name, no TLS, a connection that broke. dockerd answers 500."""


class Cancelled(TiffinError):
    """Nobody waits for it any more."""

    def __init__(self) -> None:
        super().__init__("context canceled")


class Refused(Internal):
    """The registry's own error: a code such as MANIFEST_UNKNOWN and a text. Shown as `manifest unknown: text`."""

    wait: float | None = None
    """Seconds after which the registry wants to be asked again, where it has said so."""

    def __init__(self, code: str, text: str, status: int) -> None:
        self.code = code
        self.status = status
        text = text or _DEFAULTS.get(code, "unknown error")
        super().__init__(f"{code.lower().replace('_', ' ')}: {text}" if code else text)


class Busy(Refused):
    """429 or 5xx, after every attempt."""


def refusal(status: int, reason: str, body: bytes, challenges: Iterable[tuple[str, dict[str, str]]] = ()) -> Refused:
    """The error of an answer above 399. body: its beginning, empty where it must not be shown."""
    kind = Busy if status == 429 or status >= 500 else Refused
    if status >= 500:
        return kind("", f"received unexpected HTTP status: {status} {reason}", status)
    for scheme, parameters in challenges:
        code = {"invalid_token": "UNAUTHORIZED", "insufficient_scope": "DENIED"}.get(parameters.get("error", ""))
        if scheme == "bearer" and code:
            return kind(code, parameters.get("error_description", ""), status)
    code, text = _first_error(body)
    if code:
        return kind(code, text, status)
    if status == 401:
        return kind("UNAUTHORIZED", "", status)
    if status == 429:
        return kind("TOOMANYREQUESTS", text or "too many requests", status)
    shown = body[:_MAX_SHOWN].decode("utf-8", "replace").strip()
    return kind("", f"error parsing HTTP {status} response body: {text or 'unexpected content'}: {shown!r}", status)


def _first_error(body: bytes) -> tuple[str, str]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(document, dict):
        return "", ""
    errors = document.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return str(errors[0].get("code") or "UNKNOWN").upper(), str(errors[0].get("message") or "")
    details = document.get("details") or document.get("message") or ""
    return "", str(details)[:_MAX_SHOWN]


def of_pull(error: TiffinError, reference: Reference) -> TiffinError:
    """The same error as docker tells it for a pull: a missing image is a 404 that clients recognise."""
    if isinstance(error, Refused):
        match error.code:
            case "DENIED":
                return NotFound(
                    f"pull access denied for {reference.familiar_name}, "
                    f"repository does not exist or may require 'docker login': {error}"
                )
            case "MANIFEST_UNKNOWN" | "NOT_FOUND":
                return NotFound(f"manifest for {reference.familiar} not found: {error}")
            case "NAME_UNKNOWN":
                return NotFound(f"repository {reference.familiar_name} not found: {error}")
    return error


def out_of_space(error: OSError, what: str) -> TiffinError:
    """ENOSPC and EDQUOT as the user should read them; anything else as an internal error."""
    import errno
    import os

    text = os.strerror(error.errno or 0).lower()
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(f"{what}: {text}; remove images first")
    return Internal(f"{what}: {text}")
