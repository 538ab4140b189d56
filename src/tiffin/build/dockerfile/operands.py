"""How an instruction's operands are written: words, key=value pairs, a JSON array or a plain line; and its --flags."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from tiffin.build.dockerfile.gotext import SPACES, quoted
from tiffin.build.dockerfile.source import DockerfileError

BLANKS = re.compile(r"[\t\v\f\r ]+")


@dataclass(frozen=True, slots=True)
class Operands:
    """`values`: for ENV and LABEL three to a pair, name, value and "=" ("" in the old form). json: it was an array."""

    values: tuple[str, ...] = ()
    json: bool = False


class _NotArray(Exception):
    """It does not read as a JSON array: it is a plain line."""


def split_words(text: str, escape: str) -> list[str]:
    """Words separated by unquoted space; quotes and escapes are kept, expansion removes them."""
    words: list[str] = []
    current, started, quote, at = "", False, "", 0
    while at < len(text):
        character = text[at]
        at += 1
        if not quote and character in SPACES:
            if current or started:
                words.append(current)
            current, started = "", False
            continue
        if quote:
            quote = "" if character == quote else quote
            escapes = character == escape and quote != "'"
        else:
            if character in ("'", '"'):
                quote, started = character, True
            escapes = character == escape
        if escapes:
            if at == len(text):
                break  # an escape at the very end is dropped
            current += character
            character = text[at]
            at += 1
        current += character
    if current or started:
        words.append(current)
    return words


def split_flags(text: str, escape: str) -> tuple[list[str], str]:
    """The leading `--flag` words, without their quotes, and what follows them. `--` ends the flags."""
    flags: list[str] = []
    at = 0
    while True:
        while at < len(text) and text[at] in SPACES:
            at += 1
        if not text.startswith("--", at):
            return flags, text[at:]
        word, at, was_quoted = _flag(text, at, escape)
        if word == "--":
            return flags, text[at:]
        if word or was_quoted:
            flags.append(word)


def _flag(text: str, at: int, escape: str) -> tuple[str, int, bool]:
    word, quote, was_quoted = "", "", False
    while at < len(text):
        character = text[at]
        if not quote and character in SPACES:
            break
        at += 1
        if quote and character == quote:
            quote = ""
            continue
        if not quote and character in ("'", '"'):
            quote, was_quoted = character, True
            continue
        if character == escape:
            if at == len(text):
                break
            character = text[at]
            at += 1
        word += character
    return word, at, was_quoted


def parse_json(text: str) -> tuple[str, ...]:
    """The strings of a JSON array; _NotArray where it is none; DockerfileError where it holds something else."""
    text = text.lstrip(SPACES)
    if not text.startswith("["):
        raise _NotArray
    try:
        items = json.loads(text, parse_constant=_refuse, parse_float=_number)
    except (ValueError, RecursionError):
        raise _NotArray from None
    if not all(isinstance(item, str) for item in items):
        raise DockerfileError("when using JSON array syntax, arrays must be comprised of strings only")
    # half a surrogate pair is no character: Go replaces it
    return tuple(item.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for item in items)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _number(text: str) -> float:
    if float(text) in (float("inf"), float("-inf")):
        raise ValueError(text)
    return float(text)


def _ignored(text: str, escape: str) -> Operands:
    return Operands(("",))  # the instruction is unknown: that is the error, not its operands


def _line(text: str, escape: str) -> Operands:
    return Operands((text,) if text else ())


def _blank_separated(text: str, escape: str) -> Operands:
    return Operands(tuple(BLANKS.split(text)) if text else ())


def _line_or_json(text: str, escape: str) -> Operands:
    if not text:
        return Operands()
    try:
        return Operands(parse_json(text), json=True)
    except _NotArray:
        return Operands((text,))


def _list_or_json(text: str, escape: str) -> Operands:
    try:
        return Operands(parse_json(text), json=True)
    except _NotArray:
        return _blank_separated(text, escape)


def _words(text: str, escape: str) -> Operands:
    return Operands(tuple(split_words(text, escape)))


def _health(text: str, escape: str) -> Operands:
    kind, *rest = re.split(f"[{SPACES}]+", text, maxsplit=1)
    if not kind:
        return Operands()
    command = _line_or_json(rest[0] if rest else "", escape)
    return Operands((kind, *command.values), command.json)


def _pairs(keyword: str) -> Callable[[str, str], Operands]:
    def read(text: str, escape: str) -> Operands:
        words = split_words(text, escape)
        if words and "=" not in words[0]:
            name, *rest = BLANKS.split(text, maxsplit=1)
            if not rest:
                raise DockerfileError(f"{keyword} must have two arguments")
            return Operands((name, rest[0], ""))
        values: list[str] = []
        for word in words:
            name, equals, value = word.partition("=")
            if not equals:
                shown = quoted(word)
                raise DockerfileError(f"Syntax error - can't find = in {shown}. Must be of the form: name=value")
            values += (name, value, "=")
        return Operands(tuple(values))

    return read


READERS: dict[str, Callable[[str, str], Operands]] = {
    "add": _list_or_json,
    "arg": _words,
    "cmd": _line_or_json,
    "copy": _list_or_json,
    "entrypoint": _line_or_json,
    "env": _pairs("ENV"),
    "expose": _blank_separated,
    "from": _blank_separated,
    "healthcheck": _health,
    "label": _pairs("LABEL"),
    "maintainer": _line,
    "onbuild": _line,
    "run": _line_or_json,
    "shell": _line_or_json,
    "stopsignal": _line,
    "user": _line,
    "volume": _list_or_json,
    "workdir": _line,
}
KEYWORDS = tuple(sorted(keyword.upper() for keyword in READERS))


def read_operands(keyword: str, text: str, escape: str) -> Operands:
    return READERS.get(keyword.lower(), _ignored)(text, escape)
