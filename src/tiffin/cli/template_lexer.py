"""Go templates cut into tokens. Source: the documentation of text/template."""

from __future__ import annotations

import re


class TemplateError(Exception):
    """A template that can't be parsed or executed; the text is Go's, beginning with `template: `."""


class Token:
    """`kind`: text, open, close, space, string, char, number, field, variable, ident, or the symbol itself."""

    __slots__ = ("kind", "position", "value")

    def __init__(self, kind: str, value: str, position: int) -> None:
        self.kind, self.value, self.position = kind, value, position


_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
    |(?P<badstring>["`])
    |(?P<char>'(?:[^'\\\n]|\\.[^'\n]*)')
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9]+)?
        |\.[0-9]+(?:[eE][+-]?[0-9]+)?))
    |(?P<field>\.[^\W\d]\w*)
    |(?P<variable>\$\w*)
    |(?P<ident>[^\W\d]\w*)
    |(?P<symbol>:=|[.|(),=])""",
    re.VERBOSE,
)


def line_of(source: str, position: int) -> int:
    return source.count("\n", 0, position) + 1


def _fail(source: str, position: int, message: str) -> TemplateError:
    return TemplateError(f"template: :{line_of(source, position)}: {message}")


def tokens(source: str) -> list[Token]:
    """All tokens of a template. Raises TemplateError."""
    found: list[Token] = []
    position = 0
    trim = False
    while position <= len(source):
        start = source.find("{{", position)
        text = source[position:] if start < 0 else source[position:start]
        inside = start + 2
        left_trim = (start >= 0 and source.startswith("- ", inside)) or source[inside : inside + 2] in ("-\n", "-\t")
        if trim:
            text = text.lstrip(" \t\r\n")
        if start >= 0 and left_trim:
            text = text.rstrip(" \t\r\n")
            inside += 1
        if text:
            found.append(Token("text", text, position))
        if start < 0:
            break
        position, trim = _comment(source, start, inside)
        if position < 0:
            found.append(Token("open", "{{", start))
            position, trim = _action(source, inside, found)
    return found


def _comment(source: str, start: int, inside: int) -> tuple[int, bool]:
    rest = inside + (len(source[inside:]) - len(source[inside:].lstrip())) if source[inside - 1] == "-" else inside
    if not source.startswith("/*", rest):
        return -1, False
    end = source.find("*/", rest)
    if end < 0:
        raise _fail(source, start, "unclosed comment")
    end += 2
    if source.startswith("}}", end):
        return end + 2, False
    if source[end : end + 4] == " -}}":
        return end + 4, True
    raise _fail(source, start, "comment ends before closing delimiter")


def _action(source: str, position: int, found: list[Token]) -> tuple[int, bool]:
    depth = 0
    while True:
        if source.startswith("}}", position) or source[position : position + 4] == " -}}":
            trim = source[position] == " "
            if depth:
                raise _fail(source, position, "unclosed left paren")
            found.append(Token("close", "}}", position))
            return position + (4 if trim else 2), trim
        if position >= len(source):
            raise _fail(source, position, "unclosed action")
        match = _TOKEN.match(source, position)
        if match is None:
            character = source[position]
            if not (character.isascii() and character.isprintable()):
                text = f"unrecognized character in action: U+{ord(character):04X} '{character}'"
                raise _fail(source, position, text)
            found.append(Token(character, character, position))
            position += 1
            continue
        kind = match.lastgroup or ""
        if kind == "badstring":
            raw = source[position] == "`"
            raise _fail(source, position, f"unterminated {'raw ' if raw else ''}quoted string")
        value = match.group()
        if kind == "space" and source.startswith("-}}", match.end()):
            value = value[:-1]
            if not value:
                continue
        if kind == "symbol":
            kind = value
            depth += {"(": 1, ")": -1}.get(value, 0)
            if depth < 0:
                raise _fail(source, position, "unexpected right paren")
        found.append(Token(kind, value, position))
        position += len(value)
