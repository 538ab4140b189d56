"""The command line of an OCI runtime: flags as Go's urfave/cli reads them, so that callers of runc need no change.

`-name`, `--name`, `--name=value`, `--name value`; a boolean takes only `=value`. Where a command's own arguments may
look like flags (exec, ps), flags end at the first argument.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


class Usage(Exception):
    """The command line can't be understood; the text is printed with the command's help."""


@dataclass(frozen=True, slots=True)
class Flag:
    """kind: bool, str, int or list. names: the long one first."""

    names: tuple[str, ...]
    kind: type
    help: str
    default: object = None

    @property
    def key(self) -> str:
        return self.names[0].replace("-", "_")


@dataclass(frozen=True, slots=True)
class Command:
    """at_least, at_most: number of arguments. stops: flags end at the first argument."""

    name: str
    summary: str
    arguments: str
    flags: tuple[Flag, ...] = ()
    at_least: int = 1
    at_most: int | None = 1
    stops: bool = False


@dataclass(slots=True)
class Parsed:
    values: dict[str, object] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)
    help: bool = False

    def text(self, key: str) -> str:
        return str(self.values[key])

    def on(self, key: str) -> bool:
        return bool(self.values[key])

    def number(self, key: str) -> int:
        return int(str(self.values[key]))

    def several(self, key: str) -> list[str]:
        return list(self.values[key])  # type: ignore[call-overload, no-any-return]


def flag(names: str, kind: type, help: str, default: object = None) -> Flag:
    """names: "bundle, b"."""
    if default is None:
        default = {bool: False, str: "", int: 0, list: ()}[kind]
    return Flag(tuple(name.strip() for name in names.split(",")), kind, help, default)


def parse(argv: Sequence[str], flags: Sequence[Flag], *, stops: bool) -> Parsed:
    """Raises Usage for a flag that is not among `flags` or a value of the wrong kind."""
    known = {name: one for one in flags for name in one.names}
    found = Parsed({one.key: one.default for one in flags})
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            found.arguments += rest
            break
        if not word.startswith("-") or word == "-":
            found.arguments.append(word)
            if stops:
                found.arguments += rest
                break
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if name in ("h", "help"):
            found.help = True
            continue
        one = known.get(name)
        if one is None:
            raise Usage(f"flag provided but not defined: -{name}")
        if one.kind is bool:
            found.values[one.key] = _boolean(name, value) if equals else True
            continue
        if not equals:
            if not rest:
                raise Usage(f"flag needs an argument: -{name}")
            value = rest.pop(0)
        if one.kind is list:
            found.values[one.key] = (*found.several(one.key), value)
        else:
            found.values[one.key] = _integer(name, value) if one.kind is int else value
    return found


def _boolean(name: str, value: str) -> bool:
    if value.lower() in ("1", "t", "true"):
        return True
    if value.lower() in ("0", "f", "false"):
        return False
    raise Usage(f'invalid boolean value "{value}" for -{name}: parse error')


def _integer(name: str, value: str) -> int:
    try:
        return int(value, 0)
    except ValueError:
        raise Usage(f'invalid value "{value}" for flag -{name}: parse error') from None


def check_arguments(program: str, command: Command, arguments: Sequence[str]) -> None:
    """Raises Usage with runc's words."""
    count = len(arguments)
    if command.at_least == command.at_most:
        if count != command.at_least:
            raise Usage(f'{program}: "{command.name}" requires exactly {command.at_least} argument(s)')
    elif count < command.at_least:
        raise Usage(f'{program}: "{command.name}" requires a minimum of {command.at_least} argument(s)')
    elif command.at_most is not None and count > command.at_most:
        raise Usage(f'{program}: "{command.name}" requires a maximum of {command.at_most} argument(s)')


def command_help(program: str, command: Command) -> str:
    lines = ["NAME:", f"   {program} {command.name} - {command.summary}", "", "USAGE:"]
    options = "[command options] " if command.flags else ""
    lines += [f"   {program} {command.name} {options}{command.arguments}".rstrip()]
    if command.flags:
        lines += ["", "OPTIONS:", *_flags_help(command.flags)]
    return "\n".join(lines) + "\n"


def program_help(program: str, version: str, commands: Sequence[Command], flags: Sequence[Flag]) -> str:
    width = max(len(command.name) for command in commands)
    listing = [f"   {command.name.ljust(width)}  {command.summary}" for command in commands]
    return "\n".join(
        [
            "NAME:",
            f"   {program} - Open Container Initiative runtime",
            "",
            "USAGE:",
            f"   {program} [global options] command [command options] [arguments...]",
            "",
            "VERSION:",
            *("   " + line for line in version.splitlines()),
            "",
            "COMMANDS:",
            *listing,
            "",
            "GLOBAL OPTIONS:",
            *_flags_help(flags),
            "",
        ]
    )


def _flags_help(flags: Sequence[Flag]) -> list[str]:
    spelled = []
    for one in flags:
        names = ", ".join(("--" if len(name) > 1 else "-") + name for name in one.names)
        spelled.append((names + ("" if one.kind is bool else " value"), one.help))
    width = max(len(names) for names, _ in spelled)
    return [f"   {names.ljust(width)}  {text}" for names, text in spelled]
