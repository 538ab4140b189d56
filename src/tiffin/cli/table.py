"""Rows for people and programs: `table` formats in aligned columns, templates, JSON, IDs only.

Alignment follows Go's text/tabwriter (cells of at least 10 columns, 3 blanks between), as docker configures it.
"""

from __future__ import annotations

from tiffin.cli.command import Failed
from tiffin.cli.template import Template, TemplateError, parse, render
from tiffin.cli.template_values import GoError, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from tiffin.cli.command import Call


class Row(Record):
    """One line's values by field name, and functions for the fields that take arguments."""

    def __init__(
        self,
        values: dict[str, Any],
        methods: dict[str, Callable[..., Any]] | None = None,
        type_name: str = "*formatter.Context",
        unlisted: tuple[str, ...] = (),
    ) -> None:
        self.values, self._methods, self.type_name, self._unlisted = values, methods or {}, type_name, unlisted

    def names(self) -> list[str]:
        return [name for name in self.values if name not in self._unlisted]

    def field(self, name: str, arguments: list[Any]) -> Any:
        if name in self._methods:
            if len(arguments) != 1:
                raise GoError(f"wrong number of args for {name}: want 1 got {len(arguments)}")
            return self._methods[name](arguments[0])
        value = self.values[name]
        if arguments:
            raise GoError(f"wrong number of args for {name}: want 0 got {len(arguments)}")
        return value() if callable(value) else value


class _Header(Row):
    type_name = "formatter.SubHeaderContext"


def _label_header(name: str) -> str:
    return name.rpartition(".")[2].replace("-", " ").replace("_", " ")


# a header goes through the template too, but is not changed by its functions
_HEADER_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": lambda value: value,
    "title": lambda value: value,
    "lower": lambda value: value,
    "upper": lambda value: value,
    "truncate": lambda value, limit: value,
    "split": lambda value, separator: value,
    "join": lambda value, separator: value,
}


def align(text: str, least: int = 10, gap: int = 3) -> str:
    """Tab-separated cells in columns. A column is a run of lines that have a tab after that cell."""
    lines = [line.split("\t") for line in text.split("\n")]
    output: list[str] = []

    def block(start: int, end: int, widths: list[int]) -> None:
        column = len(widths)
        row = start
        while row < end:
            if column >= len(lines[row]) - 1:
                cells = lines[row]
                left = "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False))
                output.append(left + cells[-1] if len(cells) > len(widths) else left)
                row += 1
                continue
            last = row
            width = least
            while last < end and column < len(lines[last]) - 1:
                width = max(width, len(lines[last][column]) + gap)
                last += 1
            # a column of empty cells takes no room
            if all(not lines[line][column] for line in range(row, last)):
                width = 0
            block(row, last, [*widths, width])
            row = last

    block(0, len(lines), [])
    return "\n".join(output)


class Format:
    """What --format asks for. `quiet` formats and configured defaults are chosen by the caller."""

    def __init__(self, text: str, default: str, *, raw: str = "", complaint: str = "template parsing error") -> None:
        """`default` is the template of the plain table, `raw` what that word stands for, `complaint` what an error of
        execution begins with."""
        self.complaint = complaint
        text = text.strip()
        self.table = text == "table" or text.startswith(("table ", "table{"))
        if self.table:
            body = text.removeprefix("table").strip() or default
        elif text == "json":
            body = "{{json .}}"
        elif text == "raw" and raw:
            body = raw
        else:
            body = text
        self.body = body.replace("\\t", "\t").replace("\\n", "\n")


def _compile(form: Format) -> Template:
    try:
        return parse(form.body)
    except TemplateError as error:
        raise Failed(f"{form.complaint.replace('execute', 'parse')}: {error}") from error


def lines(form: Format, rows: Iterable[Row]) -> Iterable[str]:
    """Each row through the template, one at a time. Raises Failed."""
    template = _compile(form)
    for row in rows:
        try:
            yield render(template, row)
        except TemplateError as error:
            raise Failed(f"{form.complaint}: {error}") from error


def header(form: Format, headers: dict[str, str]) -> str:
    row = _Header(dict(headers), {"Label": _label_header}, "formatter.SubHeaderContext")
    try:
        return render(_compile(form), row, _HEADER_FUNCTIONS)
    except TemplateError as error:
        raise Failed(f"{form.complaint}: {error}") from error


def show(call: Call, form: Format, headers: dict[str, str], rows: Iterable[Row]) -> None:
    """Print them all."""
    if not form.table:
        for line in lines(form, rows):
            call.say(line)
        return
    # rows first: an unknown field is reported for the row, as docker does
    body = list(lines(form, rows))
    text = align("\n".join([header(form, headers), *body]))
    from tiffin.cli import terminal

    if terminal.is_terminal(terminal.STDOUT):
        from tiffin.cli.styled import print_table

        print_table(call.session, text)
    else:
        call.say(text)
