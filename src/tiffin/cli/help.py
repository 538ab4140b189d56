"""How help is laid out: usage line, what the command does, its aliases, its flags in two columns."""

from __future__ import annotations

import os
import sys

from tiffin.cli import registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.command import Command
    from tiffin.cli.flags import Flag

PROGRAM = "tiffin"
_SLOP = 5  # a last word may stick out this far rather than stand alone


def width() -> int:
    """Columns of the terminal, 80 where there is none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _cut(line: str, room: int) -> tuple[str, str]:
    if room + _SLOP > len(line):
        return line, ""
    head = line[:room]
    space = max(head.rfind(" "), head.rfind("\t"), head.rfind("\n"))
    if space <= 0:
        return line, ""
    newline = head.rfind("\n")
    if 0 < newline < space:
        space = newline
    return line[:space], line[space + 1 :]


def wrap(text: str, indent: int, columns: int) -> str:
    """`text` in lines that fit, all but the first indented; as a block below when the column is too narrow."""
    pieces = []
    room = columns - indent
    if room < 24:
        indent, room = 16, columns - 16
        pieces.append("")
    if room < 24:
        return text.replace("\n", "\n" + " " * indent)
    while text:
        piece, text = _cut(text, room - _SLOP)
        pieces.append(piece.replace("\n", "\n" + " " * indent))
    return ("\n" + " " * indent).join(pieces)


def flag_lines(flags: tuple[Flag, ...], columns: int) -> str:
    """The flags in two columns, sorted by name."""
    rows = []
    for flag in sorted((flag for flag in flags if not flag.hidden), key=lambda flag: flag.name):
        left = f"  -{flag.short}, --{flag.name}" if flag.short else f"      --{flag.name}"
        if flag.kind.name:
            left += f" {flag.kind.name}"
        rows.append((left, flag.help + (f" (default {flag.shown})" if flag.shown else "")))
    longest = max((len(left) for left, _ in rows), default=0)
    return "\n".join(f"{left:<{longest}}   {wrap(right, longest + 3, columns - 1)}".rstrip() for left, right in rows)


def usage_line(path: str, command: Command) -> str:
    """`tiffin run [OPTIONS] IMAGE …`."""
    options = "[OPTIONS]" if any(not flag.hidden for flag in command.flags) else ""
    first = " ".join(part for part in (PROGRAM, path, options, command.operands) if part)
    return f"{first}\n\t{PROGRAM} {path} [OPTIONS] {command.second_usage}" if command.second_usage else first


def of_command(path: str, command: Command) -> str:
    parts = [f"Usage:  {usage_line(path, command)}"]
    parts.append(command.details or registry.summary(command.path))
    aliases = registry.aliases(command.path)
    if len(aliases) > 1:
        parts.append("Aliases:\n  " + ", ".join(f"{PROGRAM} {alias}" for alias in aliases))
    if any(not flag.hidden for flag in command.flags):
        parts.append("Options:\n" + flag_lines(command.flags, width()))
    return "\n\n".join(parts)


def _columns(rows: list[tuple[str, str]]) -> str:
    longest = max(11, *(len(name) for name, _ in rows)) if rows else 11
    return "\n".join(f"  {name:<{longest}} {text}" for name, text in rows)


def of_group(group: str) -> str:
    rows = registry.members(group)
    return (
        f"Usage:  {PROGRAM} {group} COMMAND\n\n{registry.GROUPS[group]}\n\nCommands:\n{_columns(rows)}\n\n"
        f"Run '{PROGRAM} {group} COMMAND --help' for more information on a command."
    )


def of_program(flags: tuple[Flag, ...]) -> str:
    common = [(name, registry.summary(name)) for name in registry.COMMON]
    groups = [(name, text) for name, text in sorted(registry.GROUPS.items()) if name not in registry.QUIET_GROUPS]
    others = [
        (name, registry.summary(name))
        for name in sorted(registry.top_level())
        if name not in registry.COMMON and name not in registry.GROUPS
    ]
    return (
        f"Usage:  {PROGRAM} [OPTIONS] COMMAND\n\nContainers, carried in one hand\n\n"
        f"Common Commands:\n{_columns(common)}\n\nManagement Commands:\n{_columns(groups)}\n\n"
        f"Commands:\n{_columns(others)}\n\nGlobal Options:\n{flag_lines(flags, width())}\n\n"
        f"Run '{PROGRAM} COMMAND --help' for more information on a command."
    )
