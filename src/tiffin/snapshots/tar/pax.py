"""Extended headers of POSIX.1-2001 (pax): records `length key=value\\n`, and the numbers of all dialects."""

import base64
import re
from urllib.parse import unquote_to_bytes

from tiffin.errors import Invalid

XATTR = b"SCHILY.xattr."
_LIBARCHIVE = b"LIBARCHIVE.xattr."
_TIME = re.compile(rb"(-?)(\d{1,18})(?:\.(\d*))?", re.ASCII)
_SECOND = 1_000_000_000
_BASE256 = 0x80
_NEGATIVE = 0x40


def records(data: bytes) -> list[tuple[bytes, bytes]]:
    """Every record in order (GNU's sparse format 0.0 repeats keys). Invalid where a length lies."""
    found = []
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        digits = data[position:space]
        if space < 0 or not digits.isdigit():
            if not data[position:].strip(b"\0"):
                break
            raise Invalid("invalid tar header: damaged extended header")
        end = position + int(digits)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end > len(data) or end <= space + 1 or data[end - 1 : end] != b"\n" or not equals or not key:
            raise Invalid("invalid tar header: damaged extended header")
        found.append((key, value))
        position = end
    return found


def record(key: bytes, value: bytes) -> bytes:
    """One record; its length counts its own digits."""
    size = len(key) + len(value) + 3
    total = size + len(str(size))
    total = size + len(str(total))
    return b"%d %s=%s\n" % (total, key, value)


def xattrs(values: dict[bytes, bytes]) -> dict[bytes, bytes]:
    found = {}
    for key, value in values.items():
        if key.startswith(XATTR):
            found[key[len(XATTR) :]] = value
        elif key.startswith(_LIBARCHIVE):
            try:
                found.setdefault(unquote_to_bytes(key[len(_LIBARCHIVE) :]), base64.b64decode(value + b"=="))
            except ValueError as error:
                raise Invalid("invalid tar header: damaged extended attribute") from error
    if any(not name or b"\0" in name for name in found):
        raise Invalid("invalid tar header: damaged name of an extended attribute")
    return found


def time(text: bytes) -> int:
    """Nanoseconds from `1350244992.023960108`."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise Invalid(f"invalid tar header: time {text[:40]!r}")
    fraction = (match[3] or b"")[:9].ljust(9, b"0")
    value = int(match[2]) * _SECOND + int(fraction)
    return -value if match[1] else value


def time_text(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    seconds, rest = divmod(abs(nanoseconds), _SECOND)
    return b"%s%d" % (sign, seconds) + (b".%09d" % rest).rstrip(b"0") if rest else b"%s%d" % (sign, seconds)


def decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise Invalid(f"invalid tar header: number {text[:40]!r}")
    return int(text)


def number(field: bytes) -> int:
    """A numeric header field: octal text, or base 256 where the first bit is set (GNU, star)."""
    if field[0] & _BASE256:
        value = int.from_bytes(field, "big") & ((1 << (len(field) * 8 - 1)) - 1)
        if field[0] & _NEGATIVE:
            value -= 1 << (len(field) * 8 - 1)
        return value
    text = field.strip(b" \0")
    try:
        return int(text, 8) if text else 0
    except ValueError as error:
        raise Invalid(f"invalid tar header: number {field!r}") from error
