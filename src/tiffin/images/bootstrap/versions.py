"""Versions as dpkg compares them: `[epoch:]upstream[-revision]` (deb-version(7))."""

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cmp_to_key, lru_cache

from tiffin.errors import Invalid

_VERSION = re.compile(
    r"(?:(?P<epoch>\d{1,9}):(?=.))?(?P<upstream>(?(epoch)[A-Za-z0-9.+~:-]+?|[A-Za-z0-9.+~-]+?))"
    r"(?:-(?P<revision>[A-Za-z0-9.+~]+))?(?<!-)",
    re.ASCII,
)
_RUN = re.compile(r"(\D*)(\d*)", re.ASCII)

Part = tuple[tuple[tuple[int, ...], int], ...]


@lru_cache(maxsize=1 << 16)
def _parsed(text: str) -> tuple[int, Part, Part]:
    match = _VERSION.fullmatch(text)
    if match is None:
        raise Invalid(f"{text!r} is no version of a package")
    return int(match["epoch"] or 0), _part(match["upstream"]), _part(match["revision"] or "")


def _part(text: str) -> Part:
    """Runs of other characters and numbers by turns, each in a form that Python compares as dpkg does."""
    return tuple((_ordered(letters), int(digits or 0)) for letters, digits in _RUN.findall(text) if letters or digits)


def _ordered(letters: str) -> tuple[int, ...]:
    # "~" before the end, the end before letters, letters before the rest; the trailing 0 is the end
    return (*(-1 if c == "~" else ord(c) if c.isalpha() else ord(c) + 256 for c in letters), 0)


def compare(a: str, b: str) -> int:
    """Below 0 where a is older than b, 0 where they are equal, above where it is newer. Raises Invalid."""
    if a == b:
        return 0
    first, second = _parsed(a), _parsed(b)
    if first[0] != second[0]:
        return first[0] - second[0]
    return _compare(first[1], second[1]) or _compare(first[2], second[2])


def _compare(a: Part, b: Part) -> int:
    end = ((0,), 0)
    for position in range(max(len(a), len(b))):
        x = a[position] if position < len(a) else end
        y = b[position] if position < len(b) else end
        if x != y:
            return -1 if x < y else 1
    return 0


newest = cmp_to_key(compare)
"""A key for max() and sorted()."""

_HOLDS: dict[str, Callable[[int], bool]] = {
    "<<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    "=": lambda order: order == 0,
    ">=": lambda order: order >= 0,
    ">>": lambda order: order > 0,
    "<": lambda order: order <= 0,  # obsolete spellings, which mean this
    ">": lambda order: order >= 0,
}


def pinned(version: str, pin: str) -> bool:
    """Whether a version is what `a=PIN` asks for: this one, or with `*` and `?` one that looks so. Raises Invalid."""
    if any(character in pin for character in "*?["):
        return fnmatchcase(version, pin)
    return compare(version, pin) == 0


def satisfies(version: str, operator: str, bound: str) -> bool:
    """Whether `version operator bound` holds; always without an operator. Raises Invalid."""
    if not operator:
        return True
    if operator not in _HOLDS:
        raise Invalid(f"{operator!r} is no relation between versions")
    return _HOLDS[operator](compare(version, bound))
