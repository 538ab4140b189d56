r"""`.dockerignore`: which paths of a build context stay behind, by the rules of moby/patternmatcher.

`*` and `?` stop at a slash, `**` does not, `!` takes back what an earlier pattern took, the last match counts; a
pattern that matches a directory matches all that is in it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tiffin.build.dockerfile.gotext import SPACES
from tiffin.build.dockerfile.simulation import GROUP, REST, STAR, Simulation
from tiffin.build.dockerfile.source import DockerfileError
from tiffin.build.dockerfile.wildcards import BAD_PATTERN, check_pattern, clean

DEFAULT_NAME = ".dockerignore"
_MOSTGROUPS, _MOSTSTARS = 2, 3  # above them re's backtracking could take minutes


def ignore_file_names(dockerfile: str) -> tuple[str, str]:
    """Where patterns are read from: the first of these that exists. The Dockerfile's own lies beside it."""
    return f"{dockerfile}.dockerignore", DEFAULT_NAME


def read_patterns(source: bytes) -> tuple[str, ...]:
    """The patterns of an ignore file, cleaned; `/a` means `a`; lines that begin with # are comments."""
    patterns = []
    for line in source.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape").split("\n"):
        if line.startswith("#") or not line.strip(SPACES):
            continue
        line = line.strip(SPACES)
        mark = "!" if line.startswith("!") else ""
        pattern = line.removeprefix(mark).strip(SPACES)
        if pattern:
            pattern = clean(pattern)
            pattern = pattern[1:] if len(pattern) > 1 and pattern.startswith("/") else pattern
        patterns.append(mark + pattern)
    return tuple(patterns)


class Patterns:
    """DockerfileError for a pattern that can't be read."""

    def __init__(self, patterns: Sequence[str]):
        stripped = (pattern.strip(SPACES) for pattern in patterns)
        self.patterns = tuple(_pattern(clean(pattern)) for pattern in stripped if pattern)
        self.has_exceptions = any(pattern.exception for pattern in self.patterns)

    def ignores(self, path: str) -> bool:
        """Whether the path, relative and with slashes, is left out."""
        return self.step(path, None)[0]

    def step(self, path: str, parent: Sequence[bool] | None) -> tuple[bool, tuple[bool, ...]]:
        """The same for a walk: `parent` is the second value for the directory that holds the path, None if unknown."""
        ignored, results = False, []
        for index, pattern in enumerate(self.patterns):
            matched = bool(parent) and parent is not None and parent[index]
            # a pattern that could not change the answer is not asked
            if not matched and pattern.exception == ignored:
                matched = pattern.matches(path)
                if not matched and not parent:
                    matched = any(pattern.matches(above) for above in _parents(path))
            results.append(matched)
            if matched:
                ignored = not pattern.exception
        return ignored, tuple(results)

    def ignores_everything(self) -> bool:
        return any(not pattern.exception and pattern.text in ("*", "**", "**/*") for pattern in self.patterns)


def _parents(path: str) -> Iterator[str]:
    directory = clean(path.rpartition("/")[0]) if "/" in path else "."
    if path.startswith("/") and directory == ".":
        directory = "/"
    if directory == ".":
        return
    at = 0
    while (at := directory.find("/", at)) >= 0:
        yield directory[:at]
        at += 1
    yield directory


@dataclass(frozen=True, slots=True)
class _Pattern:
    """kind: exact, prefix, suffix, expression or steps; the last two read `tokens`."""

    text: str
    exception: bool
    kind: str
    expression: re.Pattern[str] | None = None
    steps: "Simulation | None" = None

    def matches(self, path: str) -> bool:
        if self.kind == "exact":
            return path == self.text
        if self.kind == "prefix":
            return path.startswith(self.text[:-2])
        if self.kind == "suffix":
            suffix = self.text[2:]
            # **/foo is foo too
            return path.endswith(suffix) or (suffix.startswith("/") and path == suffix[1:])
        if self.expression is not None:
            return self.expression.fullmatch(path) is not None
        return self.steps is not None and self.steps.match(path)


def _pattern(text: str) -> _Pattern:
    exception = text.startswith("!")
    if text == "!":
        raise DockerfileError('illegal exclusion pattern: "!"')
    text = text[1:] if exception else text
    check_pattern(text)
    kind, tokens = _tokens(text)
    if kind != "expression":
        return _Pattern(text, exception, kind)
    try:
        if tokens.count(GROUP) <= _MOSTGROUPS and tokens.count(STAR) <= _MOSTSTARS:
            return _Pattern(text, exception, kind, expression=re.compile("".join(tokens), re.ASCII))
        return _Pattern(text, exception, kind, steps=Simulation(tokens))
    except re.error:
        raise DockerfileError(BAD_PATTERN) from None


def _tokens(text: str) -> tuple[str, list[str]]:
    kind, tokens, at = "exact", list[str](), 0
    while at < len(text):
        first, character = at == 0, text[at]
        at += 1
        if character == "*" and text.startswith("*", at):
            at += 1 + text.startswith("/", at + 1)
            if at < len(text):
                tokens += [GROUP] if tokens[-1:] != [GROUP] else []
                kind = "expression"
            elif kind == "exact":
                kind = "prefix"
            else:
                tokens.append(REST)
                kind = "expression"
            kind = "suffix" if first else kind
            continue
        if character in "*?[]" or (character == "\\" and at < len(text)):
            kind = "expression"
        token, at = _token(text, at, character)
        tokens.append(token)
    return kind, tokens


def _token(text: str, at: int, character: str) -> tuple[str, int]:
    if character == "*":
        return STAR, at
    if character == "?":
        return "[^/]", at
    if character in ".+()|{}$":
        return "\\" + character, at
    if character == "\\":
        return ("\\" + text[at], at + 1) if at < len(text) else ("\\\\", at)
    if character != "[":
        return character, at
    end = at + text.startswith("^", at) + 1  # a class holds one character at least
    while end < len(text) and text[end] != "]":
        end += 2 if text[end] == "\\" else 1
    return "[" + text[at:end].replace("[", "\\[") + "]", end + 1
