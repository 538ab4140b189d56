"""The kinds of values a flag can take: how they are read, and how help shows their defaults.

Error texts are those of Go's strconv and time packages, which docker's users see.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class BadValue(Exception):
    """The value does not fit the kind; the text is the reason."""


class Kind:
    """`parse(raw, previous)` gives the new value; `lone` is the value of a flag given without one (switches)."""

    def __init__(
        self,
        name: str,
        parse: Callable[[str, Any], Any],
        zero: Callable[[], Any],
        *,
        lone: str | None = None,
        always_shown: str = "",
    ) -> None:
        self.name, self.parse, self.zero, self.lone, self.always_shown = name, parse, zero, lone, always_shown

    def show(self, default: Any) -> str:
        """The default as help shows it; empty for none."""
        if self.always_shown:
            return self.always_shown
        if not default:
            return ""
        if default is True:
            return "true"
        return f'"{default}"' if isinstance(default, str) else str(default)


def parse_bool(raw: str, _previous: Any = None) -> bool:
    if raw in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if raw in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise BadValue(f'strconv.ParseBool: parsing "{raw}": invalid syntax')


def _integer(raw: str, function: str, low: int, high: int) -> int:
    digits = raw[1:] if raw[:1] in "+-" and low < 0 else raw
    try:
        # Go reads 0x, 0o, 0b and a leading 0 as octal
        octal = digits[:1] == "0" and digits.isdigit() and len(digits) > 1
        value = int(digits, 8 if octal else 0) if digits[:1].isdigit() else int("x")
    except ValueError as error:
        raise BadValue(f'{function}: parsing "{raw}": invalid syntax') from error
    if raw[:1] == "-":
        value = -value
    if not low <= value <= high:
        raise BadValue(f'{function}: parsing "{raw}": value out of range')
    return value


def parse_int(raw: str, _previous: Any = None) -> int:
    return _integer(raw, "strconv.ParseInt", -(1 << 63), (1 << 63) - 1)


def parse_uint16(raw: str, _previous: Any = None) -> int:
    return _integer(raw, "strconv.ParseUint", 0, (1 << 16) - 1)


def parse_uint64(raw: str, _previous: Any = None) -> int:
    return _integer(raw, "strconv.ParseUint", 0, (1 << 64) - 1)


_SUFFIXES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


def ram_bytes(raw: str) -> int:
    """`512m`, `1.5GiB`: bytes, in powers of 1024. Raises BadValue."""
    cut = len(raw)
    while cut and not (raw[cut - 1].isdigit() or raw[cut - 1] == "."):
        cut -= 1
    figure, suffix = raw[:cut].rstrip(" "), raw[cut:].strip().lower()
    if suffix not in ("", "b"):
        suffix = suffix.removesuffix("ib") if suffix.endswith("ib") else suffix.removesuffix("b")
    try:
        amount = float(figure)
    except ValueError as error:
        raise BadValue(f"invalid size: '{raw}'") from error
    if suffix not in _SUFFIXES or amount < 0 or "_" in figure:
        raise BadValue(f"invalid size: '{raw}'")
    return int(amount * _SUFFIXES[suffix])


def parse_bytes(raw: str, _previous: Any = None) -> int:
    return ram_bytes(raw)


def parse_bytes_or_unlimited(raw: str, _previous: Any = None) -> int:
    return -1 if raw == "-1" else ram_bytes(raw)


def parse_cpus(raw: str, _previous: Any = None) -> int:
    """CPUs as nanocpus, exactly: `1.5`, `3/2`."""
    figure, slash, divisor = raw.partition("/")
    try:
        if slash:
            from fractions import Fraction

            exact = Fraction(int(figure), int(divisor)) * 1_000_000_000
            nano, whole = int(exact), exact.denominator == 1
        else:
            from decimal import Decimal

            scaled = Decimal(figure) * 1_000_000_000
            nano, whole = int(scaled), scaled == int(scaled)
    except (ArithmeticError, ValueError) as error:
        raise BadValue(f"failed to parse {raw} as a rational number") from error
    if not whole:
        raise BadValue("value is too precise")
    return nano


_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


def duration(raw: str) -> int:
    """Go's durations (`1h2m3.5s`) in nanoseconds. Raises BadValue."""
    rest, sign = (raw[1:], raw[0]) if raw[:1] in ("+", "-") else (raw, "")
    if rest == "0":
        return 0
    total = 0
    bad = BadValue(f'time: invalid duration "{raw}"')
    if not rest:
        raise bad
    while rest:
        cut = 0
        while cut < len(rest) and (rest[cut].isdigit() or rest[cut] == "."):
            cut += 1
        end = cut
        while end < len(rest) and not (rest[end].isdigit() or rest[end] == "."):
            end += 1
        figure, unit, rest = rest[:cut], rest[cut:end], rest[end:]
        whole, _, part = figure.partition(".")
        if not (whole or part) or "." in part:
            raise bad
        if not unit:
            raise BadValue(f'time: missing unit in duration "{raw}"')
        if unit not in _UNITS:
            raise BadValue(f'time: unknown unit "{unit}" in duration "{raw}"')
        total += int(whole or 0) * _UNITS[unit] + int(part or 0) * _UNITS[unit] // 10 ** len(part)
    return -total if sign == "-" else total


def parse_duration(raw: str, _previous: Any = None) -> int:
    return duration(raw)


def append(raw: str, previous: list[str]) -> list[str]:
    return [*previous, raw]


def append_commas(raw: str, previous: list[str]) -> list[str]:
    return [*previous, *(split_csv(raw) if raw else [])]


def checked(check: Callable[[str], str]) -> Callable[[str, list[str]], list[str]]:
    """A list whose items pass through `check`, which may change or refuse them."""
    return lambda raw, previous: [*previous, check(raw)]


def put(raw: str, previous: dict[str, str]) -> dict[str, str]:
    key, _, value = raw.partition("=")
    return {**previous, key: value}


def put_strict(raw: str, previous: dict[str, str]) -> dict[str, str]:
    """Several `key=value`, separated by commas."""
    result = dict(previous)
    for item in split_csv(raw):
        key, equals, value = item.partition("=")
        if not equals:
            raise BadValue(f"{item} must be formatted as key=value")
        result[key] = value
    return result


def split_csv(raw: str) -> list[str]:
    """One line of comma-separated fields, quoted with `"` where they hold commas (RFC 4180). Raises BadValue."""
    if '"' not in raw:
        return raw.split(",")
    import csv

    try:
        return next(iter(csv.reader([raw], strict=True)), [])
    except csv.Error as error:
        raise BadValue(f"parse error on line 1: {error}") from error


def parse_filter(raw: str, previous: dict[str, list[str]]) -> dict[str, list[str]]:
    """`name=value`, gathered as the API's filters."""
    if not raw:
        return previous
    name, equals, value = raw.partition("=")
    if not equals:
        raise BadValue("bad format of filter (expected name=value)")
    name, value = name.strip().lower(), value.strip()
    result = {key: list(values) for key, values in previous.items()}
    result.setdefault(name, []).append(value)
    return result


def _keep(raw: str, _previous: Any) -> str:
    return raw


BOOL = Kind("", parse_bool, bool, lone="true")
STRING = Kind("string", _keep, str)
INT = Kind("int", parse_int, int)
UINT = Kind("uint", parse_uint64, int)
UINT16 = Kind("uint16", parse_uint16, int, always_shown="0")
BYTES = Kind("bytes", parse_bytes, int)
SWAP_BYTES = Kind("bytes", parse_bytes_or_unlimited, int)
CPUS = Kind("decimal", parse_cpus, int)
DURATION = Kind("duration", parse_duration, int, always_shown="0s")
LIST = Kind("list", append, list)
STRINGS = Kind("strings", append_commas, list)
MAP = Kind("map", put, dict, always_shown="map[]")
PAIRS = Kind("stringToString", put_strict, dict, always_shown="[]")
FILTER = Kind("filter", parse_filter, dict)
