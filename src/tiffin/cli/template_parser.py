"""Go templates as trees. Source: the documentation of text/template; error texts are its parser's."""

from __future__ import annotations

from tiffin.cli.template_lexer import TemplateError, Token, line_of, tokens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Any


class Node:
    """`kind` says what the other members mean; `source` is its text for error messages."""

    __slots__ = ("body", "kind", "names", "orelse", "parts", "position", "source", "value")

    def __init__(self, kind: str, position: int, *, value: Any = None, names: list[str] | None = None) -> None:
        self.kind, self.position, self.value = kind, position, value
        self.names: list[str] = names or []
        self.parts: list[Node] = []
        self.body: list[Node] = []
        self.orelse: list[Node] | None = None
        self.source = ""


class Template:
    def __init__(self, source: str, body: list[Node], defined: dict[str, list[Node]]) -> None:
        self.source, self.body, self.defined = source, body, defined


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "'": "'", "\\": "\\", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def unquote(literal: str) -> str:
    """A Go string or character literal's value. Raises ValueError."""
    if literal[0] == "`":
        return literal[1:-1].replace("\r", "")
    text, result, index = literal[1:-1], [], 0
    while index < len(text):
        character = text[index]
        index += 1
        if character != "\\":
            result.append(character)
            continue
        escape = text[index]
        index += 1
        if escape in _ESCAPES:
            result.append(_ESCAPES[escape])
        elif escape in "xuU":
            digits = {"x": 2, "u": 4, "U": 8}[escape]
            result.append(chr(int(text[index : index + digits], 16)))
            index += digits
        elif escape in "01234567":
            result.append(chr(int(text[index - 1 : index + 2], 8)))
            index += 2
        else:
            raise ValueError(f"invalid syntax: {literal}")
    return "".join(result)


def parse_number(text: str) -> int | float:
    """Raises ValueError."""
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits.isdigit():
        return int(text, 8)
    try:
        return int(text, 0)
    except ValueError:
        return float(text)


class Parser:
    """Recursive descent over the tokens. `functions` are the names that may be called."""

    def __init__(self, source: str, functions: Container[str]) -> None:
        self._source, self._functions = source, functions
        self._tokens = tokens(source)
        self._at = 0
        self._variables = ["$"]
        self._loops = 0
        self.defined: dict[str, list[Node]] = {}

    # -- tokens

    def _peek(self, skip_space: bool = True) -> Token:
        at = self._at
        while skip_space and at < len(self._tokens) and self._tokens[at].kind == "space":
            at += 1
        return self._tokens[at] if at < len(self._tokens) else Token("EOF", "", len(self._source))

    def _next(self, skip_space: bool = True) -> Token:
        while skip_space and self._at < len(self._tokens) and self._tokens[self._at].kind == "space":
            self._at += 1
        token = self._peek(False)
        self._at += 1
        return token

    def _fail(self, message: str, token: Token | None = None) -> TemplateError:
        position = (token or self._peek()).position
        return TemplateError(f"template: :{line_of(self._source, position)}: {message}")

    def _unexpected(self, token: Token, where: str) -> TemplateError:
        if token.kind == "EOF":
            return self._fail("unexpected EOF", token)
        name = f"<{token.value}>" if token.value in ("if", "range", "end", "else", "with") else f'"{token.value}"'
        return self._fail(f"unexpected {name} in {where}", token)

    # -- lists of actions

    def parse(self) -> Template:
        body, end = self._list(())
        return Template(self._source, body, self.defined) if end == "EOF" else self._stray(end)

    def _stray(self, end: str) -> Template:
        raise self._fail(f"unexpected {{{{{end}}}}}", self._tokens[min(self._at, len(self._tokens)) - 1])

    def _list(self, until: tuple[str, ...]) -> tuple[list[Node], str]:
        """Nodes up to `end` or `else` (whose token is consumed), or the end of the template."""
        nodes: list[Node] = []
        while True:
            token = self._next(False)
            if token.kind == "EOF":
                if until:
                    raise self._fail("unexpected EOF", token)
                return nodes, "EOF"
            if token.kind == "text":
                nodes.append(Node("text", token.position, value=token.value))
                continue
            word = self._peek()
            if word.kind == "ident" and word.value in ("end", "else"):
                self._next()
                if word.value not in until:
                    self._stray(word.value)
                if word.value == "end":
                    self._close("end")
                return nodes, word.value
            node = self._statement(word)
            if node is not None:
                nodes.append(node)

    def _close(self, where: str) -> None:
        token = self._next()
        if token.kind != "close":
            raise self._unexpected(token, where)

    def _statement(self, word: Token) -> Node | None:
        if word.kind == "ident":
            if word.value in ("if", "range", "with"):
                self._next()
                return self._control(word)
            if word.value in ("define", "block", "template"):
                self._next()
                return self._named(word)
            if word.value in ("break", "continue"):
                self._next()
                if not self._loops:
                    raise self._fail(f"{{{{{word.value}}}}} outside {{{{range}}}}", word)
                self._close(word.value)
                return Node(word.value, word.position)
        node = Node("action", word.position)
        node.parts = [self._pipeline("command", "close")]
        return node

    def _control(self, word: Token) -> Node:
        kept = len(self._variables)
        node = Node(word.value, word.position)
        node.parts = [self._pipeline(word.value, "close")]
        self._loops += word.value == "range"
        node.body, end = self._list(("end", "else"))
        self._loops -= word.value == "range"
        if end == "else":
            following = self._peek()
            if following.kind == "ident" and following.value == word.value and word.value in ("if", "with"):
                self._next()
                node.orelse = [self._control(following)]
            else:
                self._close("else")
                node.orelse, _ = self._list(("end",))
        del self._variables[kept:]
        return node

    def _named(self, word: Token) -> Node | None:
        token = self._next()
        if token.kind != "string":
            raise self._unexpected(token, f"{word.value} clause")
        name = unquote(token.value)
        node = Node("template", token.position, value=name)
        if word.value == "define":
            self._close("define clause")
            self.defined[name], _ = self._list(("end",))
            return None
        if self._peek().kind == "close" and word.value == "template":
            self._next()
            return node
        node.parts = [self._pipeline(word.value, "close")]
        if word.value == "block":
            self.defined[name], _ = self._list(("end",))
        return node

    # -- pipelines

    def _pipeline(self, context: str, end: str) -> Node:
        """`[$a[, $b] :=] command { | command }` up to `end`."""
        pipe = Node("pipe", self._peek().position, value="")
        self._declarations(pipe, context)
        while True:
            token = self._peek()
            if token.kind == end:
                self._next()
                break
            if token.kind in ("EOF", "close", ")"):
                raise self._unexpected(token, "command" if context == "command" else context)
            pipe.parts.append(self._command(end))
        if not pipe.parts:
            raise self._fail(f"missing value for {context}")
        for later in pipe.parts[1:]:
            if later.parts[0].kind in ("bool", "dot", "nil", "number", "string"):
                raise self._fail(f"non executable command in pipeline stage {pipe.parts.index(later) + 1}")
        self._variables += pipe.names if pipe.value == ":=" else []
        return pipe

    def _declarations(self, pipe: Node, context: str) -> None:
        start = self._at
        names = []
        while self._peek().kind == "variable":
            names.append(self._next().value)
            token = self._peek()
            if token.kind in (":=", "="):
                self._next()
                pipe.names, pipe.value = names, token.kind
                for name in names if token.kind == "=" else []:
                    self._check_variable(name)
                return
            if token.kind == "," and context == "range" and len(names) < 2:
                self._next()
                continue
            break
        self._at = start

    def _check_variable(self, name: str) -> None:
        if name not in self._variables:
            raise self._fail(f'undefined variable "{name}"')

    def _command(self, end: str) -> Node:
        command = Node("command", self._peek().position)
        start = command.position
        while True:
            token = self._peek()
            if token.kind in (end, "|", "close", "EOF", ")"):
                break
            command.parts.append(self._operand("operand" if command.parts else "command"))
            gap = self._peek(False)
            if gap.kind not in ("space", end, "|", ")", "close"):
                raise self._unexpected(gap, "operand")
        command.source = self._source[start : self._peek().position].rstrip()
        if not command.parts:
            raise self._fail("empty command") if self._peek().kind != end else self._fail("missing value for command")
        if self._peek().kind == "|":
            self._next()
            if self._peek().kind == end:
                raise self._fail("missing value for command" if end == "close" else "empty command")
        return command

    def _operand(self, where: str) -> Node:
        start = self._peek()
        node = self._term(where)
        follow = self._peek(False)
        if follow.kind == "field":
            if node.kind in ("bool", "string", "number", "nil", "dot"):
                raise self._fail(f"unexpected . after term {self._quote(start.value)}", follow)
            position = follow.position
            names = []
            while self._peek(False).kind == "field":
                names.append(self._next(False).value[1:])
            if node.kind in ("field", "variable"):
                node.names += names
                node.position = position
            else:
                chain = Node("chain", position, names=names)
                chain.parts = [node]
                node = chain
        node.source = (
            self._source[start.position : self._tokens[self._at - 1].position] + self._tokens[self._at - 1].value
        )
        return node

    def _quote(self, text: str) -> str:
        return text if text.startswith('"') else f'"{text}"'

    def _term(self, where: str) -> Node:
        token = self._next()
        position = token.position
        if token.kind == "ident":
            if token.value in ("true", "false"):
                return Node("bool", position, value=token.value == "true")
            if token.value == "nil":
                return Node("nil", position)
            if token.value not in self._functions:
                raise self._fail(f'function "{token.value}" not defined', token)
            return Node("ident", position, value=token.value)
        if token.kind == ".":
            return Node("dot", position)
        if token.kind == "field":
            return Node("field", position, names=[token.value[1:]])
        if token.kind == "variable":
            self._check_variable(token.value)
            return Node("variable", position, value=token.value)
        if token.kind == "string":
            return Node("string", position, value=unquote(token.value))
        if token.kind == "char":
            return Node("number", position, value=ord(unquote(token.value)))
        if token.kind == "number":
            try:
                return Node("number", position, value=parse_number(token.value))
            except ValueError as error:
                raise self._fail(f'bad number syntax: "{token.value}"', token) from error
        if token.kind == "(":
            return self._pipeline("parenthesized pipeline", ")")
        raise self._unexpected(token, where)
