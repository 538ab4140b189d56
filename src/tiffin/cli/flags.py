"""Flags as docker's users know them from pflag: parsing, defaults and error texts.

click was measured at 30 ms of import for a command that may take 60 in all, and has no `--rm=false`; so flags are
declared and parsed here. Source of the rules: the documentation of github.com/spf13/pflag.
"""

from __future__ import annotations

from tiffin.cli.kinds import BOOL, INT, LIST, STRING, BadValue, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class UsageError(Exception):
    """The command line can't be understood; the text is what pflag would say."""


class HelpWanted(Exception):
    """`--help` was given."""


class Flag:
    """One option. `default` None means the kind's own zero value."""

    __slots__ = ("default", "help", "hidden", "kind", "name", "short", "shown")

    def __init__(
        self,
        name: str,
        kind: Kind,
        help: str,
        *,
        short: str = "",
        default: Any = None,
        shown: str | None = None,
        hidden: bool = False,
    ) -> None:
        self.name, self.kind, self.help, self.short, self.hidden = name, kind, help, short, hidden
        self.default = kind.zero() if default is None else default
        self.shown = kind.show(self.default) if shown is None else shown

    @property
    def label(self) -> str:
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


def switch(name: str, help: str, short: str = "", default: bool = False) -> Flag:
    return Flag(name, BOOL, help, short=short, default=default)


def text(name: str, help: str, short: str = "", default: str = "") -> Flag:
    return Flag(name, STRING, help, short=short, default=default)


def number(name: str, help: str, short: str = "", default: int = 0) -> Flag:
    return Flag(name, INT, help, short=short, default=default)


def several(name: str, help: str, short: str = "") -> Flag:
    return Flag(name, LIST, help, short=short)


class Values:
    """What the flags were set to; `changed` tells whether the user did."""

    def __init__(self, flags: Iterable[Flag]) -> None:
        self._values: dict[str, Any] = {flag.name: flag.default for flag in flags}
        self._changed: set[str] = set()
        self.help_wanted = False

    def set(self, flag: Flag, raw: str) -> None:
        """Raises UsageError when the value does not fit."""
        previous = self._values[flag.name] if flag.name in self._changed else flag.kind.zero()
        try:
            self._values[flag.name] = flag.kind.parse(raw, previous)
        except BadValue as error:
            raise UsageError(f'invalid argument "{raw}" for "{flag.label}" flag: {error}') from error
        self._changed.add(flag.name)

    def put(self, name: str, value: Any) -> None:
        """Override a value from code."""
        self._values[name] = value

    def changed(self, name: str) -> bool:
        return name in self._changed

    def get(self, name: str) -> Any:
        return self._values[name]

    def has(self, name: str) -> bool:
        return name in self._values

    def on(self, name: str) -> bool:
        return bool(self._values[name])

    def text(self, name: str) -> str:
        value: str = self._values[name]
        return value

    def number(self, name: str) -> int:
        value: int = self._values[name]
        return value

    def list(self, name: str) -> list[str]:
        value: list[str] = self._values[name]
        return value

    def map(self, name: str) -> dict[str, str]:
        value: dict[str, str] = self._values[name]
        return value


def parse(flags: tuple[Flag, ...], arguments: list[str], *, interspersed: bool = True) -> tuple[Values, list[str]]:
    """Values and what remains. With `interspersed` False the first operand ends the flags.

    Raises UsageError, or HelpWanted for --help.
    """
    by_name = {flag.name: flag for flag in flags}
    by_short = {flag.short: flag for flag in flags if flag.short}
    values = Values(flags)
    operands: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            operands += rest
            break
        if len(argument) < 2 or argument[0] != "-":
            operands.append(argument)
            if not interspersed:
                operands += rest
                break
        elif argument.startswith("--"):
            _long(by_name, values, argument, rest)
        else:
            _shorts(by_short, values, argument, rest)
    # only now: an unknown flag behind --help is still a mistake
    if values.help_wanted or (values.has("help") and values.on("help")):
        raise HelpWanted
    return values, operands


def _long(by_name: dict[str, Flag], values: Values, argument: str, rest: list[str]) -> None:
    name, equals, value = argument[2:].partition("=")
    if not name or name[0] == "-":
        raise UsageError(f"bad flag syntax: {argument}")
    flag = by_name.get(name)
    if flag is None:
        if name == "help":
            values.help_wanted = True
            return
        raise UsageError(f"unknown flag: --{name}")
    if not equals:
        if flag.kind.lone is not None:
            value = flag.kind.lone
        elif rest:
            value = rest.pop(0)
        else:
            raise UsageError(f"flag needs an argument: {argument}")
    values.set(flag, value)


def _shorts(by_short: dict[str, Flag], values: Values, argument: str, rest: list[str]) -> None:
    letters = argument[1:]
    while letters:
        letter, tail = letters[0], letters[1:]
        flag = by_short.get(letter)
        if flag is None:
            if letter == "h":
                values.help_wanted = True
                return
            raise UsageError(f"unknown shorthand flag: '{letter}' in -{letters}")
        if len(tail) > 1 and tail[0] == "=":
            values.set(flag, tail[1:])
            return
        if flag.kind.lone is not None:
            values.set(flag, flag.kind.lone)
            letters = tail
            continue
        if tail:
            values.set(flag, tail)
        elif rest:
            values.set(flag, rest.pop(0))
        else:
            raise UsageError(f"flag needs an argument: '{letter}' in -{letters}")
        return
