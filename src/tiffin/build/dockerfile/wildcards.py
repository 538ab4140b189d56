r"""Go's filepath.Match: `*`, `?`, `[a-z]`, `[^a]`, `\x`; none but a class crosses a slash. COPY's sources use it."""

import re
from collections.abc import Callable
from functools import lru_cache

from tiffin.build.dockerfile.simulation import MOST_STARS, STAR, Simulation
from tiffin.build.dockerfile.source import DockerfileError

BAD_PATTERN = "syntax error in pattern"


def clean(path: str) -> str:
    """Go's path.Clean: the shortest path that means the same; "." for nothing."""
    rooted = path.startswith("/")
    parts: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            parts.append(part)
        elif parts and parts[-1] != "..":
            parts.pop()
        elif not rooted:
            parts.append(part)
    return ("/" if rooted else "") + "/".join(parts) or ("/" if rooted else ".")


def join(*parts: str) -> str:
    """Go's path.Join."""
    given = [part for part in parts if part]
    return clean("/".join(given)) if given else ""


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> tuple[str, ...]:
    """One regular expression a character; "*" stands for a star. DockerfileError for a bad pattern."""
    tokens: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            if tokens[-1:] != ["*"]:
                tokens.append("*")
        elif character == "?":
            tokens.append("[^/]")
        elif character == "[":
            token, at = _class(pattern, at)
            tokens.append(token)
        elif character == "\\":
            if at == len(pattern):
                raise DockerfileError(BAD_PATTERN)
            tokens.append(re.escape(pattern[at]))
            at += 1
        else:
            tokens.append(re.escape(character))
    return tuple(tokens)


def _class(pattern: str, at: int) -> tuple[str, int]:
    negated = pattern.startswith("^", at)
    at += negated
    ranges, count = "", 0
    while not (count and pattern.startswith("]", at)):
        low, at = _class_character(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _class_character(pattern, at + 1)
        if low <= high:
            ranges += f"{re.escape(low)}-{re.escape(high)}"
        count += 1
    if not ranges:
        return (r"[\s\S]" if negated else "(?!)"), at + 1
    return f"[{'^' if negated else ''}{ranges}]", at + 1


def _class_character(pattern: str, at: int) -> tuple[str, int]:
    if pattern.startswith("\\", at):
        at += 1
    elif pattern[at : at + 1] in ("-", "]"):
        raise DockerfileError(BAD_PATTERN)
    if at + 1 >= len(pattern):  # the class must still be closed
        raise DockerfileError(BAD_PATTERN)
    return pattern[at], at + 1


def check_pattern(pattern: str) -> None:
    """DockerfileError (`syntax error in pattern`) where the pattern can't be read."""
    _compiled(pattern)


def match(pattern: str, name: str) -> bool:
    """Whether the whole of `name` matches. DockerfileError for a bad pattern."""
    return bool(_expression(pattern)(name))


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> Callable[[str], object]:
    tokens = [STAR if token == "*" else token for token in _compiled(pattern)]
    if tokens.count(STAR) > MOST_STARS:
        return Simulation(tokens).match
    return re.compile("".join(tokens), re.DOTALL).fullmatch


def has_wildcards(path: str) -> bool:
    return _first_wildcard(path) is not None


def _first_wildcard(path: str) -> int | None:
    at = 0
    while at < len(path):
        if path[at] in "*?[":
            return at
        at += 2 if path[at] == "\\" else 1
    return None


def split_wildcards(path: str) -> tuple[str, str]:
    """The leading components without wildcards, and the pattern below them, "" without one."""
    parts = path.split("/")
    for index, part in enumerate(parts):
        if has_wildcards(part):
            return "/".join(parts[:index]) or ("/" if index else ""), "/".join(parts[index:])
    return path, ""
