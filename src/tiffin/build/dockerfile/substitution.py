r"""The patterns of `${x#p}`, `${x%p}`, `${x/p/r}`: `*`, `?` and `\`; no bracket expressions (POSIX shell, 2.13)."""

import re
from dataclasses import dataclass


class BadPattern(ValueError):
    """The text is BuildKit's reason."""


@dataclass(frozen=True, slots=True)
class _Star:
    pass


def _tokens(pattern: str) -> list[str | _Star]:
    """Regular expressions of one character each, and stars."""
    found: list[str | _Star] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            found.append(_Star())
        elif character == "?":
            found.append(".")
        elif character == "\\":
            following = pattern[at : at + 1]
            if following in ("}", "/") and following:
                continue  # the escape belongs to ${}, not to the pattern
            if following not in ("*", "?", "\\") or not following:
                raise BadPattern(f"invalid escape '\\{following or chr(0xFFFD)}'")
            found.append(re.escape(following))
            at += 1
        else:
            found.append(re.escape(character))
    return found


def _compiled(pattern: str, *, greedy: bool) -> re.Pattern[str]:
    # earlier stars may always be as short as they can: atomic groups keep hostile patterns from backtracking
    parts: list[list[str]] = [[]]
    for token in _tokens(pattern):
        if isinstance(token, _Star):
            parts.append([])
        else:
            parts[-1].append(token)
    text = "".join(parts[0])
    for part in parts[1:-1]:
        text += f"(?>.*?{''.join(part)})"
    if len(parts) > 1:
        text += (".*" if greedy else ".*?") + "".join(parts[-1])
    return re.compile(text)


def without_prefix(value: str, pattern: str, *, longest: bool) -> str:
    """`${value#pattern}`, with `longest` `##`. BadPattern."""
    match = _compiled(pattern, greedy=longest).match(value)
    return value[match.end() :] if match else value


def without_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """`${value%pattern}`, with `longest` `%%`. BadPattern."""
    return without_prefix(value[::-1], _reversed(pattern), longest=longest)[::-1]


def _reversed(pattern: str) -> str:
    units = re.findall(r"\\.|.|\n", pattern, re.DOTALL)
    return "".join(reversed(units))


def replaced(value: str, pattern: str, replacement: str, *, every: bool) -> str:
    """`${value/pattern/replacement}`, with `every` `//`. BadPattern."""
    compiled = _compiled(pattern, greedy=True)
    out, at, search, last_end = "", 0, 0, -1
    while search <= len(value):
        match = compiled.search(value, search)
        if match is None:
            break
        # an empty match right after a match is not one (Go's rule)
        if not (match.start() == match.end() == last_end):
            out += value[at : match.start()] + replacement
            at = match.end()
            if not every:
                break
        last_end = match.end()
        search = match.end() if match.end() > match.start() else match.end() + 1
    return out + value[at:]
