"""What can go wrong, as the caller sees it.

Raised at the seams, `from` the cause; mapped to an HTTP status in one table.
"""


class TiffinError(Exception):
    """Base of every error that is reported to a user. Its text is the message, whole: what, where, what to do."""


class Invalid(TiffinError):
    """The request can't be understood or is not allowed to mean this (400)."""


class Unauthorized(TiffinError):
    """Credentials are missing or wrong (401)."""


class Forbidden(TiffinError):
    """Understood and refused (403)."""


class NotFound(TiffinError):
    """The named object does not exist (404)."""


class Conflict(TiffinError):
    """The object's state does not allow it (409)."""


class NotModified(TiffinError):
    """There is nothing to do (304)."""


class Internal(TiffinError):
    """A step failed for reasons outside the request (500)."""


class Unsupported(TiffinError):
    """Not built, or not on this machine (501)."""


class Unavailable(TiffinError):
    """It may work later (503)."""
