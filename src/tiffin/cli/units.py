"""Sizes and times as docker prints them: `1.23MB`, `4.5MiB`, `About a minute`, `2026-11-23 06:13:06 +0000 UTC`."""

from __future__ import annotations

import time

from tiffin.model.duration import in_words


def _scaled(size: float, base: float, names: tuple[str, ...], digits: int) -> str:
    step = 0
    while size >= base and step < len(names) - 1:
        size /= base
        step += 1
    return f"{size:.{digits}g}{names[step]}"


_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def size(count: float, digits: int = 3) -> str:
    """Bytes in powers of 1000."""
    return _scaled(count, 1000.0, _DECIMAL, digits)


def memory(count: float) -> str:
    """Bytes in powers of 1024."""
    return _scaled(count, 1024.0, _BINARY, 4)


def ago(stamp: float) -> str:
    """How long since a unix time."""
    return f"{in_words(time.time() - stamp)} ago"


def go_time(stamp: float) -> str:
    """A unix time as Go prints it, in the local zone."""
    local = time.localtime(stamp)
    return time.strftime("%Y-%m-%d %H:%M:%S %z ", local) + (local.tm_zone or "UTC")


def parse_stamp(text: str) -> float:
    """RFC 3339 to a unix time, 0.0 for the zero time; fractions beyond microseconds are dropped. Raises ValueError."""
    if not text or text.startswith("0001-"):
        return 0.0
    import calendar

    main, zone = text[:19], text[19:]
    seconds = float(calendar.timegm(time.strptime(main, "%Y-%m-%dT%H:%M:%S")))
    if zone.startswith("."):
        cut = 1
        while cut < len(zone) and zone[cut].isdigit():
            cut += 1
        seconds += float("0" + zone[:cut])
        zone = zone[cut:]
    if zone and zone not in ("Z", "z"):
        hours, _, minutes = zone[1:].partition(":")
        offset = int(hours) * 3600 + int(minutes or 0) * 60
        seconds -= offset if zone[0] == "+" else -offset
    return seconds


def query_time(text: str) -> str:
    """What --since and --until say, as the API takes it: seconds, RFC 3339, or a duration before now.

    Raises ValueError.
    """
    from tiffin.cli.kinds import BadValue, duration

    try:
        if text == "0":
            return text  # the beginning of time, not now
        return str((time.time_ns() - duration(text)) // 10**9)
    except BadValue:
        pass
    if text.replace(".", "", 1).isdigit():
        return text
    for shape in ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H", "%Y-%m-%d", "%Y-%m-%dZ%H:%M"):
        try:
            return f"{int(time.mktime(time.strptime(text, shape)))}.000000000"
        except ValueError:
            continue
    stamp = parse_stamp(text)
    fraction = text[19:].lstrip(".") if "." in text[19:20] else ""
    digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
    return f"{int(stamp)}.{digits:0<9}"
