"""Parser directives: `# syntax=…`, `# escape=…`, `# check=…` in the first lines of a Dockerfile."""

import re
from dataclasses import dataclass

from tiffin.build.dockerfile.gotext import SPACES
from tiffin.build.dockerfile.source import DockerfileError, Span

_DIRECTIVE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(.+?)[\t\n\f\r ]*", re.ASCII)
_KNOWN = ("syntax", "escape", "check")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Directive:
    name: str
    value: str
    span: Span


class DirectiveReader:
    """Reads lines until the first that is no directive; from then on there are none."""

    def __init__(self, comment: str = "#", line: int = 0):
        self.comment = comment
        self.line = line
        self.seen: set[str] = set()
        self.done = False

    def read(self, text: str) -> Directive | None:
        """DockerfileError for one given twice."""
        self.line += 1
        if self.done:
            return None
        match = _DIRECTIVE.fullmatch(text.removeprefix(self.comment).lstrip(SPACES))
        if not text.startswith(self.comment) or match is None or match[1].lower() not in _KNOWN:
            self.done = True
            return None
        name = match[1].lower()
        if name in self.seen:
            raise DockerfileError(f"only one {name} parser directive can be used")
        self.seen.add(name)
        return Directive(name, match[2], Span(self.line, self.line))


def without_bom(source: bytes) -> bytes:
    return source.removeprefix(_BOM)


def find_directive(name: str, source: bytes) -> Directive | None:
    """The directive of that name, below a `#!` line if there is one. A repeated directive ends the search."""
    return _find(name, *_below_shebang(source))


def _below_shebang(source: bytes) -> tuple[bytes, int]:
    source = without_bom(source)
    return (source.partition(b"\n")[2], 1) if source.startswith(b"#!") else (source, 0)


def _find(name: str, source: bytes, line: int) -> Directive | None:
    reader = DirectiveReader(line=line)
    for raw in source.split(b"\n"):
        try:
            found = reader.read(raw.removesuffix(b"\r").decode(errors="replace"))
        except DockerfileError:
            return None
        if reader.done:
            return None
        if found is not None and found.name == name:
            return found
    return None
