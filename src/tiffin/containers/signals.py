"""Signals by name or number, as a user writes them: `SIGTERM`, `term`, `15`, `SIGRTMIN+3`."""

import re
import signal

from tiffin.errors import Invalid

_REALTIME = re.compile(r"RT(MIN|MAX)(?:([+-])(\d{1,2}))?")


def signal_number(text: str) -> int:
    """Raises Invalid `invalid signal: x`, docker's words."""
    if text.isascii() and text.isdigit():
        number = int(text)
        if number == 0:
            raise Invalid(f"invalid signal: {text}")
        if number > 64:
            raise Invalid(f"the linux daemon does not support signal {text}")
        return number
    name = text.upper().removeprefix("SIG")
    match = _REALTIME.fullmatch(name)
    if match:
        base = int(signal.SIGRTMIN) if match[1] == "MIN" else int(signal.SIGRTMAX)
        offset = int(match[3] or 0) * (-1 if match[2] == "-" else 1)
        if 34 <= base + offset <= 64:
            return base + offset
    try:
        return int(signal.Signals["SIG" + name])
    except KeyError:
        raise Invalid(f"invalid signal: {text}") from None
