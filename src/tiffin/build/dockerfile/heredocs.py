"""Here-documents: `<<EOF`, `<<-EOF` (leading tabs go), `<<"EOF"` (nothing in it is expanded), `3<<EOF`."""

import re
from dataclasses import dataclass

from tiffin.build.dockerfile.source import DockerfileError
from tiffin.build.dockerfile.words import Lexer

_HEREDOC = re.compile(r"([0-9]*)<<(-?)[\t\n\f\r ]*([^<]*)")
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)
_PLAIN = Lexer(keep_unset=True)
_QUOTED = Lexer(raw_quotes=True, keep_unset=True)
_AS_WRITTEN = Lexer(raw_quotes=True, raw_escapes=True, keep_unset=True)


@dataclass(frozen=True, slots=True)
class Heredoc:
    """`chomp` was written `<<-`; `content` still has its tabs."""

    name: str
    expand: bool = True
    chomp: bool = False
    descriptor: int = 0
    content: str = ""

    @property
    def text(self) -> str:
        """The content as the instruction means it."""
        return _LEADING_TABS.sub("", self.content) if self.chomp else self.content


def parse_heredoc(word: str) -> Heredoc | None:
    """The heredoc that a word opens; None where it opens none. DockerfileError for open quotes."""
    match = _HEREDOC.fullmatch(word)
    if match is None or not match[3]:
        return None
    names = _PLAIN.expand(match[3], {}).words
    if len(names) != 1:
        return None
    raw = _QUOTED.expand(match[3], {}).words
    if len(raw) != 1:
        raise DockerfileError(f"internal lexing of heredoc produced inconsistent results: {match[3]}")
    # a quote that is there only when quotes are kept was a real one
    expand = _quotes(names[0]) == _quotes(raw[0])
    return Heredoc(names[0], expand, match[2] == "-", int(match[1] or "0"))


def opens_heredoc(word: str) -> Heredoc | None:
    try:
        return parse_heredoc(word)
    except DockerfileError:
        return None


def heredocs_of(line: str) -> list[Heredoc]:
    """The heredocs that a line opens, in order."""
    try:
        words = _AS_WRITTEN.expand(line, {}).words
    except DockerfileError:
        return []
    return [heredoc for word in words if (heredoc := parse_heredoc(word)) is not None]


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')
