"""Where something stands in a Dockerfile, and errors that show it."""

from collections.abc import Sequence
from dataclasses import dataclass

from tiffin.errors import Invalid


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Lines of the source, counted from 1, both ends included."""

    start: int
    end: int

    def __contains__(self, line: object) -> bool:
        return isinstance(line, int) and self.start <= line <= max(self.start, self.end)


NOWHERE = Span(0, 0)


class DockerfileError(Invalid):
    """A Dockerfile that can't be built. The text is BuildKit's message; `spans` say where, innermost first."""

    def __init__(self, message: str, *spans: Span):
        super().__init__(message)
        self.message = message
        self.spans = spans

    def at(self, span: Span) -> "DockerfileError":
        """The same error, placed at `span` where it has no place yet."""
        return self if self.spans else DockerfileError(self.message, span)

    def prefixed(self, prefix: str) -> "DockerfileError":
        return DockerfileError(prefix + self.message, *self.spans)


_RULE = "--------------------\n"


def excerpt(source: bytes, spans: Sequence[Span], filename: str = "Dockerfile") -> str:
    """The lines of `spans` marked with >>>, and those around them, as docker build prints them; or nothing."""
    lines = source.decode(errors="replace").split("\n")
    if not spans:
        return ""
    start, end = min(span.start for span in spans), max(max(span.start, span.end) for span in spans)
    if not 1 <= start <= len(lines):
        return ""
    end = min(end, len(lines))
    first, last, shown, wanted = start, end, 0, 4 if start == end else 2
    while shown < wanted:
        if first > 1:
            first, shown = first - 1, shown + 1
        if last != len(lines):
            last, shown = last + 1, shown + 1
        shown += 1
    text = f"{filename}:{start}\n{_RULE}"
    for number in range(first, last + 1):
        mark = ">>>" if any(number in span for span in spans) else "   "
        text += f" {number:3d} | {mark} {lines[number - 1]}\n"
    return text + _RULE
