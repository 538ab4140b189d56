"""A Dockerfile's statements: lines joined at the escape, comments and blank lines left out, heredocs attached."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tiffin.build.dockerfile.directives import DirectiveReader, without_bom
from tiffin.build.dockerfile.gotext import SPACES
from tiffin.build.dockerfile.heredocs import Heredoc, heredocs_of
from tiffin.build.dockerfile.operands import BLANKS, Operands, read_operands, split_flags
from tiffin.build.dockerfile.source import NOWHERE, DockerfileError, Span

_LONGEST_LINE = 64 * 1024
_WITH_HEREDOCS = ("add", "copy", "run")


@dataclass(frozen=True, slots=True)
class Statement:
    """One instruction as it is written.

    keyword   as spelled; operands and flags as its grammar splits them, nothing expanded
    original  the joined line
    comments  the comment lines above it, without `#`
    trigger   what ONBUILD holds
    """

    keyword: str
    operands: Operands
    flags: tuple[str, ...]
    original: str
    span: Span = NOWHERE
    comments: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    trigger: "Statement | None" = None

    @property
    def name(self) -> str:
        return self.keyword.lower()

    def takes_heredocs(self) -> bool:
        inner = self.trigger or self
        return inner.name in _WITH_HEREDOCS and not inner.operands.json and "<<" in self.original


@dataclass(frozen=True, slots=True)
class Statements:
    """`empty_continuations`: the last lines of statements that blank lines run through (deprecated)."""

    items: tuple[Statement, ...]
    escape: str
    empty_continuations: tuple[int, ...] = ()


def read_statements(source: bytes) -> Statements:
    """DockerfileError with the lines it stands on."""
    return _Reader(source).read()


class _Lines:
    """Lines with their newlines. Like bufio.Scanner it ends early at a line that is too long."""

    def __init__(self, source: bytes):
        self.lines = self._split(source)
        self.number = 0
        self.too_long = False

    def _split(self, source: bytes) -> Iterator[str]:
        for line in without_bom(source).split(b"\n"):
            if len(line) >= _LONGEST_LINE:
                self.too_long = True
                return
            yield line.decode(errors="replace") + "\n"

    def next(self) -> str | None:
        line = next(self.lines, None)
        self.number += line is not None
        return line


class _Reader:
    def __init__(self, source: bytes):
        # the piece after the last newline is no line where it is empty
        self.lines = _Lines(source.removesuffix(b"\n"))
        self.directives = DirectiveReader()
        self.comments: list[str] = []
        self.empty_continuations: list[int] = []
        self.set_escape("\\")

    def set_escape(self, escape: str) -> None:
        if escape not in ("\\", "`"):
            raise DockerfileError(f"invalid escape token '{escape}' does not match ` or \\")
        self.escape = escape
        token = re.escape(escape)
        # an escaped escape does not continue the line
        self.continuation = re.compile(rf"((?:^|[^{token}])){token}[ \t]*\Z")

    def read(self) -> Statements:
        found: list[Statement] = []
        while (line := self.lines.next()) is not None:
            statement = self.statement(line)
            if statement is not None:
                found.append(statement)
        if not found:
            raise DockerfileError("file with no instructions", self.here())
        if self.lines.too_long:
            raise DockerfileError(f"dockerfile line greater than max allowed size of {_LONGEST_LINE - 1}", self.here())
        return Statements(tuple(found), self.escape, tuple(self.empty_continuations))

    def here(self) -> Span:
        return Span(self.lines.number, self.lines.number)

    def statement(self, line: str) -> Statement | None:
        stripped = line.rstrip("\r\n").lstrip(SPACES)
        if stripped.startswith("#"):
            self.comment(line)
            self.directive(stripped)
            return None
        self.directive(stripped)
        text, ended = self.without_continuation(stripped)
        if ended and not text:
            return None
        start = self.lines.number
        text = self.joined(text) if not ended else text
        try:
            statement = parse_line(text, self.escape)
            statement = replace(statement, comments=tuple(self.comments))
            if statement.takes_heredocs():
                statement = replace(statement, heredocs=self.heredocs(text))
        except DockerfileError as error:
            raise error.at(Span(start, self.lines.number)) from None
        self.comments = []
        return replace(statement, span=Span(start, self.lines.number))

    def comment(self, line: str) -> None:
        text = line[1:].strip(SPACES)
        self.comments = [*self.comments, text] if text else []

    def directive(self, text: str) -> None:
        try:
            found = self.directives.read(text)
            if found is not None:
                del self.comments[-1:]
                if found.name == "escape":
                    self.set_escape(found.value)
        except DockerfileError as error:
            raise error.at(self.here()) from None

    def without_continuation(self, text: str) -> tuple[str, bool]:
        match = self.continuation.search(text)
        return (text[: match.end(1)], False) if match else (text, True)

    def joined(self, text: str) -> str:
        blank = False
        while (line := self.lines.next()) is not None:
            line = line.rstrip("\r\n")
            bare = line.lstrip(SPACES)
            if bare.startswith("#"):
                continue
            if not bare:
                blank = True
                continue
            piece, ended = self.without_continuation(line)
            text += piece
            if ended:
                break
        if blank:
            self.empty_continuations.append(self.lines.number)
        return text

    def heredocs(self, text: str) -> tuple[Heredoc, ...]:
        return tuple(replace(heredoc, content=self.content(heredoc)) for heredoc in heredocs_of(text))

    def content(self, heredoc: Heredoc) -> str:
        content: list[str] = []
        while (line := self.lines.next()) is not None:
            bare = line.rstrip("\r\n")
            if (bare.lstrip("\t") if heredoc.chomp else bare) == heredoc.name:
                return "".join(content)
            content.append(line)
        raise DockerfileError("unterminated heredoc")


def parse_line(text: str, escape: str) -> Statement:
    """A joined line, without heredoc contents."""
    keyword, *rest = BLANKS.split(text.strip(SPACES), maxsplit=1)
    flags, operands = split_flags(rest[0], escape) if rest else ([], "")
    operands = operands.strip(SPACES)
    if keyword.lower() == "onbuild" and operands:
        trigger = parse_line(operands, escape)
        values = (trigger.keyword, *trigger.operands.values)
        return Statement(keyword, Operands(values), tuple(flags), text, trigger=trigger)
    return Statement(keyword, read_operands(keyword, operands, escape), tuple(flags), text)
