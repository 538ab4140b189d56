"""The one table from errors to HTTP statuses, and the body that carries them: `{"message": …}`."""

from __future__ import annotations

import msgspec

from tiffin import errors

STATUSES: dict[type[errors.TiffinError], int] = {
    errors.NotModified: 304,
    errors.Invalid: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Internal: 500,
    errors.Unsupported: 501,
    errors.Unavailable: 503,
}


class PageNotFound(errors.NotFound):
    """No route has this path and method (docker's words)."""

    def __init__(self) -> None:
        super().__init__("page not found")


class ClientGone(ConnectionError):
    """Nobody is there to be answered."""

    def __init__(self) -> None:
        super().__init__("the client has closed the connection")


def status(error: BaseException) -> int:
    """The status for an error: of its nearest class in the table, 400 for a body that does not fit, else 500."""
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return 400 if isinstance(error, msgspec.ValidationError) else 500


def message(error: BaseException) -> str:
    """The text for the user. An error without words is named by its class rather than left blank."""
    return str(error) or type(error).__name__


def body(error: BaseException) -> bytes:
    """The error as the API's ErrorResponse."""
    text = message(error).encode("utf-8", "replace").decode()  # names of files may be in it, in any bytes
    return msgspec.json.encode({"message": text}) + b"\n"
