"""ErrorResponse (API v1.51)."""

import msgspec


class ErrorResponse(msgspec.Struct):
    """The body of every 4xx and 5xx."""

    message: str
