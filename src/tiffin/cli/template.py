"""Go templates, executed: `render(parse("{{.Name}}"), value)`.

What `--format` needs of text/template: pipelines, variables, if, range, with, define, break, the built-in functions and
docker's own. Values are JSON documents (dict, list, str, int, float, bool, None) and Records.
"""

from __future__ import annotations

from tiffin.cli.template_functions import FUNCTIONS, LAZY
from tiffin.cli.template_lexer import TemplateError, line_of
from tiffin.cli.template_parser import Node, Parser, Template
from tiffin.cli.template_values import MISSING, GoError, Missing, Record, Struct, Typed, show, truth, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["Template", "TemplateError", "parse", "render"]

_DEPTH = 1000


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


_NAMES = frozenset(FUNCTIONS) | frozenset(LAZY)


def parse(source: str, extra: dict[str, Callable[..., Any]] | None = None) -> Template:
    """Raises TemplateError. `extra` are further functions; give the same to render."""
    return Parser(source, _NAMES | frozenset(extra or ())).parse()


def render(template: Template, value: Any, extra: dict[str, Callable[..., Any]] | None = None) -> str:
    """The template's output for a value. Raises TemplateError."""
    return _Execution(template, {**FUNCTIONS, **(extra or {})}).run(value)


class _Execution:
    def __init__(self, template: Template, functions: dict[str, Callable[..., Any]]) -> None:
        self._template, self._functions = template, functions
        self._output: list[str] = []
        self._variables: list[tuple[str, Any]] = []
        self._depth = 0
        self._on_document = False

    def run(self, value: Any) -> str:
        self._on_document = not isinstance(value, Record)
        self._variables = [("$", value)]
        self._walk(self._template.body, value)
        return "".join(self._output)

    def _fail(self, node: Node, message: str) -> TemplateError:
        source = self._template.source
        line = line_of(source, node.position)
        column = len(source[source.rfind("\n", 0, node.position) + 1 : node.position].encode())
        return TemplateError(f'template: :{line}:{column}: executing "" at <{node.source}>: {message}')

    # -- actions

    def _walk(self, nodes: list[Node], dot: Any) -> None:
        for node in nodes:
            if node.kind == "text":
                self._output.append(node.value)
            elif node.kind == "action":
                value = self._pipe(node.parts[0], dot)
                if not node.parts[0].names:
                    self._output.append("<no value>" if isinstance(value, Missing) else show(value))
            elif node.kind in ("if", "with"):
                self._branch(node, dot)
            elif node.kind == "range":
                self._range(node, dot)
            elif node.kind == "template":
                self._call_template(node, dot)
            else:
                raise _Break if node.kind == "break" else _Continue

    def _branch(self, node: Node, dot: Any) -> None:
        kept = len(self._variables)
        value = self._pipe(node.parts[0], dot)
        if truth(value):
            self._walk(node.body, value if node.kind == "with" else dot)
        elif node.orelse is not None:
            self._walk(node.orelse, dot)
        del self._variables[kept:]

    def _pairs(self, node: Node, value: Any) -> Iterable[tuple[Any, Any]]:
        if isinstance(value, dict):
            return [(key, value[key]) for key in sorted(value)]
        if isinstance(value, list | tuple):
            return enumerate(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return [(number, number) for number in range(value)]
        if value is None or isinstance(value, Missing):
            return []
        raise self._fail(node.parts[0].parts[0].parts[0], f"range can't iterate over {show(value)}")

    def _range(self, node: Node, dot: Any) -> None:
        pipe = node.parts[0]
        kept = len(self._variables)
        value = self._pipe(pipe, dot, declare=False)
        ran = False
        for key, item in self._pairs(node, value):
            ran = True
            mark = len(self._variables)
            given = {1: [item], 2: [key, item]}.get(len(pipe.names), [])
            for name, bound in zip(pipe.names, given, strict=True):
                self._bind(name, bound, pipe.value)
            try:
                self._walk(node.body, item)
            except _Continue:
                pass
            except _Break:
                break
            finally:
                del self._variables[mark:]
        if not ran and node.orelse is not None:
            self._walk(node.orelse, dot)
        del self._variables[kept:]

    def _call_template(self, node: Node, dot: Any) -> None:
        body = self._template.defined.get(node.value)
        node.source = node.source or f'{{{{template "{node.value}"}}}}'
        if body is None:
            raise self._fail(node, f'template "{node.value}" not defined')
        if self._depth >= _DEPTH:
            raise self._fail(node, f"exceeded maximum template depth ({_DEPTH})")
        value = self._pipe(node.parts[0], dot) if node.parts else None
        kept, self._variables = self._variables, [("$", value)]
        self._depth += 1
        self._walk(body, value)
        self._depth -= 1
        self._variables = kept

    # -- pipelines

    def _bind(self, name: str, value: Any, how: str) -> None:
        if how == "=":
            for position in range(len(self._variables) - 1, -1, -1):
                if self._variables[position][0] == name:
                    self._variables[position] = (name, value)
                    return
        self._variables.append((name, value))

    def _pipe(self, pipe: Node, dot: Any, declare: bool = True) -> Any:
        final: list[Any] = []
        for command in pipe.parts:
            final = [self._command(command, dot, final)]
        if declare:
            for name in pipe.names:
                self._bind(name, final[0], pipe.value)
        return final[0]

    def _command(self, command: Node, dot: Any, final: list[Any]) -> Any:
        first, rest = command.parts[0], command.parts[1:]
        if first.kind == "ident":
            return self._function(first, command, rest, dot, final)
        if first.kind in ("field", "chain", "variable"):
            return self._operand(first, dot, [*(self._operand(part, dot) for part in rest), *final])
        if rest or final:
            raise self._fail(first, f"can't give argument to non-function {first.source or command.source}")
        if first.kind == "nil":
            raise self._fail(first, "nil is not a command")
        return self._operand(first, dot)

    def _function(self, first: Node, command: Node, rest: list[Node], dot: Any, final: list[Any]) -> Any:
        name = first.value
        if name in LAZY:
            return self._lazy(name, rest, dot, final)
        function = self._functions[name]
        arguments = [*(self._operand(part, dot) for part in rest), *final]
        first.source = command.source if len(command.parts) > 1 else name
        try:
            _check_count(name, function, len(arguments))
            return function(*arguments)
        except GoError as error:
            text = str(error) if str(error).startswith("wrong number") else f"error calling {name}: {error}"
            raise self._fail(first, text) from error
        except (TypeError, ValueError, AttributeError) as error:
            raise self._fail(first, f"error calling {name}: {error}") from error

    def _lazy(self, name: str, rest: list[Node], dot: Any, final: list[Any]) -> Any:
        value: Any = MISSING
        for part in rest:
            value = self._operand(part, dot)
            if truth(value) == (name == "or"):
                return value
        return final[0] if final else value

    def _operand(self, node: Node, dot: Any, arguments: list[Any] | None = None) -> Any:
        if node.kind == "dot":
            return dot
        if node.kind in ("bool", "number", "string"):
            return node.value
        if node.kind == "nil":
            return None
        if node.kind == "pipe":
            return self._pipe(node, dot)
        if node.kind == "ident":
            return self._function(node, node, [], dot, [])
        if node.kind == "field":
            value = dot
        elif node.kind == "variable":
            value = next(bound for name, bound in reversed(self._variables) if name == node.value)
        else:
            value = self._operand(node.parts[0], dot)
        for position, name in enumerate(node.names):
            last = position == len(node.names) - 1
            value = self._field(node, value, name, (arguments or []) if last else [])
        return value

    def _field(self, node: Node, value: Any, name: str, arguments: list[Any]) -> Any:
        if isinstance(value, Record):
            try:
                return value.field(name, arguments)
            except KeyError as error:
                raise self._fail(node, f"can't evaluate field {name} in type {value.type_name}") from error
            except GoError as error:
                raise self._fail(node, str(error)) from error
        if arguments:
            raise self._fail(node, f"{name} is not a method but has arguments")
        if isinstance(value, dict):
            if name in value:
                return value[name]
            if isinstance(value, Typed):
                return MISSING
            if isinstance(value, Struct) and name in (full := value.complete()):
                return full[name]
            raise self._fail(node, f'map has no entry for key "{name}"')
        if value is None:
            raise self._fail(node, f"nil pointer evaluating interface {{}}.{name}")
        if isinstance(value, Missing):
            raise self._fail(node, f"nil pointer evaluating interface {{}}.{name}")
        kind = "interface {}" if self._on_document else type_name(value)
        raise self._fail(node, f"can't evaluate field {name} in type {kind}")


def _check_count(name: str, function: Callable[..., Any], count: int) -> None:
    # the code object tells what inspect would, without 15 ms of import
    code = function.__code__
    least, variadic = code.co_argcount - len(function.__defaults__ or ()), bool(code.co_flags & 4)
    if count < least or (count > least and not variadic):
        words = "at least " if variadic else ""
        raise GoError(f"wrong number of args for {name}: want {words}{least} got {count}")
