"""Points in time as docker's clients write them: seconds with a fraction, RFC 3339, or a duration before now."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from tiffin.errors import Invalid

_SECONDS = re.compile(r"(-?\d+)(?:\.(\d{1,9})\d*)?")
_DURATION = re.compile(r"(?:(\d+(?:\.\d*)?)(h|m(?!s)|s|ms|us|µs|ns))")
_UNITS = {"h": 3_600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "µs": 10**3, "ns": 1}
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2}(?:[T ]\d{2}(?::\d{2}(?::\d{2})?)?)?)(?:\.(\d{1,9})\d*)?(Z|[+-]\d{2}:\d{2})?")


def moment(text: str, now: int) -> int:
    """Nanoseconds since the epoch. Raises Invalid."""
    match = _SECONDS.fullmatch(text)
    if match:
        return int(match[1]) * 10**9 + int((match[2] or "0").ljust(9, "0"))
    pieces = list(_DURATION.finditer(text))
    if pieces and "".join(piece[0] for piece in pieces) == text:
        return now - sum(int(float(piece[1]) * _UNITS[piece[2]]) for piece in pieces)
    match = _DATE.fullmatch(text)
    if match:
        try:
            zone = match[3] or "Z"
            whole = datetime.fromisoformat(match[1] if len(match[1]) != 13 else match[1] + ":00")
            whole = whole.replace(
                tzinfo=UTC if zone == "Z" else datetime.fromisoformat(f"2000-01-01T00:00:00{zone}").tzinfo
            )
            return int(whole.timestamp()) * 10**9 + int((match[2] or "0").ljust(9, "0"))
        except ValueError:
            pass
    raise Invalid(f'failed to parse value as time or duration: "{text}"')


def rfc3339(nanoseconds: int) -> str:
    """As Go writes a time in UTC, zeros at the end left out; 0 is year 1."""
    if nanoseconds == 0:
        return "0001-01-01T00:00:00Z"
    seconds, rest = divmod(nanoseconds, 10**9)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:09d}".rstrip("0") + "Z" if rest else text + "Z"
