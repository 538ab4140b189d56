"""Shell words: quotes, escapes and variables, as BuildKit's dockerfile frontend reads them (its package shell).

$x ${x}                 the value, or nothing
${x:-w} ${x-w}          w if x is unset (with the colon: or empty)
${x:+w} ${x+w}          w if x is set (with the colon: and not empty)
${x:?w} ${x?w}          the error w if x is unset (or empty)
${x#p} ${x##p} ${x%p} ${x%%p}   without the shortest, longest prefix or suffix
${x/p/r} ${x//p/r}      the first, every match of p replaced
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tiffin.build.dockerfile.gotext import SPACES, quoted
from tiffin.build.dockerfile.source import DockerfileError
from tiffin.build.dockerfile.substitution import BadPattern, replaced, without_prefix, without_suffix

_SPECIAL = "@*#?-$!0"
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Expansion:
    """`text` as one word; `words` split at unquoted space; names of variables used, and of those that were not set."""

    text: str
    words: tuple[str, ...]
    matched: frozenset[str]
    unmatched: frozenset[str]


@dataclass(frozen=True, slots=True)
class Lexer:
    """How to read words. raw_quotes and raw_escapes keep what they would remove; skip_quotes reads quotes as text;
    keep_unset leaves variables that are not set as they are written."""

    escape: str = "\\"
    raw_quotes: bool = False
    raw_escapes: bool = False
    skip_quotes: bool = False
    keep_unset: bool = False

    def expand(self, text: str, env: Mapping[str, str]) -> Expansion:
        """DockerfileError carries BuildKit's words (`failed to process "…": …`)."""
        reader = _Reader(self, text, env)
        try:
            word, words = reader.until(None, self.raw_escapes)
        except DockerfileError as error:
            raise error.prefixed(f"failed to process {quoted(text)}: ") from None
        return Expansion(word, tuple(words), frozenset(reader.matched), frozenset(reader.unmatched))

    def word(self, text: str, env: Mapping[str, str]) -> str:
        return self.expand(text, env).text


class _Words:
    def __init__(self) -> None:
        self.done: list[str] = []
        self.current = ""
        self.inside = False

    def add(self, text: str) -> None:
        for character in text:
            if character not in SPACES:
                self.add_raw(character)
            elif self.inside and self.current:
                self.done.append(self.current)
                self.current, self.inside = "", False

    def add_raw(self, text: str) -> None:
        self.current += text
        self.inside = True

    def finish(self) -> list[str]:
        return [*self.done, self.current] if self.current else self.done


class _Reader:
    def __init__(self, lexer: Lexer, text: str, env: Mapping[str, str]):
        self.lexer = lexer
        self.text = text
        self.env = env
        self.at = 0
        self.depth = 0
        self.raw_escapes = lexer.raw_escapes
        self.matched: set[str] = set()
        self.unmatched: set[str] = set()

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def next(self) -> str:
        character = self.peek()
        self.at += len(character)
        return character

    def until(self, stop: str | None, raw_escapes: bool) -> tuple[str, list[str]]:
        """The word up to `stop` (None: the end), which is consumed."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise DockerfileError(f"syntax error: substitutions nested deeper than {_DEEPEST}")
        saved, self.raw_escapes = self.raw_escapes, raw_escapes
        out, words = "", _Words()
        while character := self.peek():
            if character == stop:
                self.next()
                self.depth, self.raw_escapes = self.depth - 1, saved
                return out, words.finish()
            if character in ("$", "<") or (character in ("'", '"') and not self.lexer.skip_quotes):
                piece = self.special(character)
                out += piece
                (words.add if character == "$" else words.add_raw)(piece)
                continue
            self.next()
            if character != self.lexer.escape:
                words.add(character)
                out += character
                continue
            if self.raw_escapes:
                words.add_raw(character)
                out += character
            escaped = self.next()
            words.add_raw(escaped)
            out += escaped
        if stop is not None:
            raise DockerfileError(f"unexpected end of statement while looking for matching {stop}")
        self.depth, self.raw_escapes = self.depth - 1, saved
        return out, words.finish()

    def special(self, character: str) -> str:
        if character == "'":
            return self.single_quoted()
        if character == '"':
            return self.double_quoted()
        return self.variable() if character == "$" else self.less_than()

    def single_quoted(self) -> str:
        self.next()
        end = self.text.find("'", self.at)
        if end < 0:
            self.at = len(self.text)
            raise DockerfileError("unexpected end of statement while looking for matching single-quote")
        inside, self.at = self.text[self.at : end], end + 1
        return f"'{inside}'" if self.lexer.raw_quotes else inside

    def double_quoted(self) -> str:
        out = self.next() if self.lexer.raw_quotes else self.next()[:0]
        while character := self.peek():
            if character == "$":
                out += self.variable()
                continue
            self.next()
            if character == '"':
                return out + character if self.lexer.raw_quotes else out
            if character == self.lexer.escape:
                if self.raw_escapes:
                    out += character
                if not self.peek():
                    continue
                # only these can be escaped; before anything else the escape stays
                if self.peek() in ('"', "$", self.lexer.escape):
                    character = self.next()
            out += character
        raise DockerfileError("unexpected end of statement while looking for matching double-quote")

    def less_than(self) -> str:
        self.next()
        if self.peek() != "<":
            return "<"
        self.next()
        start = self.at
        while self.peek() and self.peek() in "\t\r ":  # there may be space between << and the heredoc's word
            self.next()
        return "<<" + self.text[start : self.at]

    def name(self) -> str:
        start, first = self.at, self.peek()
        if first.isdecimal():
            while self.peek().isdecimal():
                self.next()
        elif first and first in _SPECIAL:
            self.next()
        else:
            while (character := self.peek()) and (character.isalpha() or character.isdecimal() or character == "_"):
                self.next()
        return self.text[start : self.at]

    def value(self, name: str) -> str | None:
        found = self.env.get(name)
        (self.unmatched if found is None else self.matched).add(name)
        return found

    def variable(self) -> str:
        self.next()
        if self.peek() != "{":
            name = self.name()
            if not name:
                return "$"
            value = self.value(name)
            return f"${name}" if value is None and self.lexer.keep_unset else value or ""
        self.next()
        if not self.peek():
            raise DockerfileError("syntax error: missing '}'")
        if self.peek() in "{}:":
            raise DockerfileError("syntax error: bad substitution")
        name, operator = self.name(), self.next()
        if operator == "}":
            value = self.value(name)
            return f"${{{name}}}" if value is None and self.lexer.keep_unset else value or ""
        if operator == "/":
            return self.replacement(name)
        colon = operator == ":"
        if colon:
            operator = self.next()
        if colon or (operator and operator in "+-?#%"):
            return self.modified(name, operator, colon)
        raise DockerfileError(f"unsupported modifier ({operator or chr(0xFFFD)}) in substitution")

    def operand(self, stop: str, raw_escapes: bool, missing: str) -> str:
        try:
            return self.until(stop, raw_escapes)[0]
        except DockerfileError:
            if not self.peek():
                raise DockerfileError(f"syntax error: missing {missing}") from None
            raise

    def modified(self, name: str, operator: str, colon: bool) -> str:
        written = (":" if colon else "") + (operator or chr(0xFFFD))
        pattern = operator in ("#", "%")
        if colon and pattern:
            raise DockerfileError(f"unsupported modifier ({written}) in substitution")
        word = self.operand("}", pattern, "'}'")
        value = self.value(name)
        if value is None and self.lexer.keep_unset:
            return f"${{{name}{written}{word}}}"
        missing = value is None or (colon and value == "")
        if operator == "-":
            return word if missing else value or ""
        if operator == "+":
            return "" if missing else word
        if operator == "?":
            if missing:
                reason = "is not allowed to be unset" if value is None else "is not allowed to be empty"
                raise DockerfileError(f"{name}: {word or reason}")
            return value or ""
        if not pattern:
            raise DockerfileError(f"unsupported modifier ({written}) in substitution")
        longest = word.startswith(operator)
        cut = without_prefix if operator == "#" else without_suffix
        try:
            return cut(value or "", word[1:] if longest else word, longest=longest)
        except BadPattern as error:
            raise DockerfileError(f"invalid pattern ({word}) in substitution: {error}") from None

    def replacement(self, name: str) -> str:
        every = self.peek() == "/"
        if every:
            self.next()
        pattern = self.operand("/", True, "'/' in ${}")
        replacement = self.operand("}", True, "'}'")
        value = self.value(name)
        if value is None and self.lexer.keep_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        try:
            return replaced(value or "", pattern, replacement, every=every)
        except BadPattern as error:
            raise DockerfileError(f"invalid pattern ({pattern}) in substitution: {error}") from None
