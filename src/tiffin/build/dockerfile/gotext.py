"""Text as Go sees and prints it: white space, `%q`, numbers, durations; BuildKit's messages and history need it."""

from collections.abc import Iterable, Sequence

from tiffin.errors import Invalid

# the White_Space property; str.isspace() also takes the separators 0x1c to 0x1f
SPACES = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_ESCAPES = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v",
            '"': r"\"", "\\": r"\\"}  # fmt: skip
_NEAR = 3  # a suggestion differs in fewer places than this


def quoted(text: str) -> str:
    """strconv.Quote: what `%q` prints."""
    return '"' + "".join(_quoted_character(character) for character in text) + '"'


def _quoted_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def quoted_list(items: Iterable[str]) -> str:
    """`%q` of a slice: `["a" "b"]`."""
    return "[" + " ".join(quoted(item) for item in items) + "]"


def plain_list(items: Iterable[str]) -> str:
    """`%v` of a slice: `[a b]`."""
    return "[" + " ".join(items) + "]"


def parse_bool(text: str) -> bool:
    """strconv.ParseBool; ValueError otherwise."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(text)


def parse_unsigned(text: str, base: int, bits: int = 32) -> int:
    """strconv.ParseUint without a base prefix; ValueError otherwise."""
    if not text or not all(character in "0123456789abcdef"[:base] for character in text.lower()):
        raise ValueError(text)
    value = int(text, base)
    if value >= 1 << bits:
        raise ValueError(text)
    return value


_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def parse_duration(text: str) -> int:
    """time.ParseDuration, in nanoseconds. Invalid carries Go's words."""
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    if not rest:
        raise Invalid(f"time: invalid duration {quoted(text)}")
    total = 0
    while rest:
        number = _leading(rest, "0123456789.")
        if not number.strip(".") or number.count(".") > 1:
            raise Invalid(f"time: invalid duration {quoted(text)}")
        rest = rest[len(number) :]
        unit = rest[: next((at for at, c in enumerate(rest) if c in "0123456789."), len(rest))]
        if not unit:
            raise Invalid(f"time: missing unit in duration {quoted(text)}")
        if unit not in _UNITS:
            raise Invalid(f"time: unknown unit {quoted(unit)} in duration {quoted(text)}")
        rest = rest[len(unit) :]
        whole, _, fraction = number.partition(".")
        total += int(whole or "0") * _UNITS[unit]
        total += int(fraction or "0") * _UNITS[unit] // 10 ** len(fraction)
    if total >= 1 << 63:
        raise Invalid(f"time: invalid duration {quoted(text)}")
    return -total if text.startswith("-") else total


def _leading(text: str, allowed: str) -> str:
    return text[: next((at for at, character in enumerate(text) if character not in allowed), len(text))]


def format_duration(nanoseconds: int) -> str:
    """time.Duration.String: `1m30s`, `1.5s`, `0s`."""
    if nanoseconds == 0:
        return "0s"
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    for unit, size in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if rest < size * 1000:
            return sign + _decimal(rest, size) + unit
    minutes, rest = divmod(rest, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = _decimal(rest, 10**9) + "s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return sign + (f"{hours}h{text}" if hours else text)


def _decimal(value: int, size: int) -> str:
    whole, fraction = divmod(value, size)
    digits = f"{fraction:0{len(str(size)) - 1}d}".rstrip("0") if fraction else ""
    return f"{whole}.{digits}" if digits else str(whole)


_BINARY = {"": 1, "b": 1, **{letter: 1024 ** (power + 1) for power, letter in enumerate("kmgtp")}}


def parse_bytes(text: str) -> int:
    """go-units RAMInBytes: `64m`, `1.5GiB`; ValueError otherwise."""
    number = _leading(text, "0123456789.")
    unit = text[len(number) :].removeprefix(" ").lower()
    if unit not in _BINARY:
        unit = unit.removesuffix("b").removesuffix("i")
        if len(unit) != 1 or unit not in _BINARY or unit == "b":
            raise ValueError(text)
    return int(float(number) * _BINARY[unit])


def suggestion(value: str, options: Iterable[str], *, exact_case: bool = True) -> str | None:
    """The option that `value` probably meant; None where it is one of them, or near none."""
    wanted, found, nearest = value if exact_case else value.lower(), None, _NEAR
    for option in sorted(options):
        candidate = option if exact_case else option.lower()
        if candidate == wanted:
            return None
        distance = _distance(wanted, candidate)
        if distance < nearest:
            found, nearest = candidate, distance
    if found is None or exact_case:
        return found
    return found.lower() if value == value.lower() else found.upper() if value == value.upper() else found


def with_suggestion(message: str, value: str, options: Iterable[str], *, exact_case: bool = True) -> str:
    found = suggestion(value, options, exact_case=exact_case)
    return f"{message} (did you mean {found}?)" if found else message


def _distance(one: Sequence[str], other: Sequence[str]) -> int:
    if abs(len(one) - len(other)) >= _NEAR:
        return _NEAR
    row = list(range(len(other) + 1))
    for at, left in enumerate(one, 1):
        previous, row[0] = row[0], at
        for to, right in enumerate(other, 1):
            previous, row[to] = row[to], min(row[to] + 1, row[to - 1] + 1, previous + (left != right))
    return row[-1]
