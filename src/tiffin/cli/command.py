"""What a command is: its flags, its operands, and the function that does it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tiffin.cli.flags import Flag, Values
    from tiffin.cli.session import Session
    from tiffin.client.engine import Engine


class Failed(Exception):
    """The command ends with `code` and `message` on standard error (empty: nothing is printed)."""

    def __init__(self, message: str = "", code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class Command:
    """`run` returns the exit status. `least`, `most`: how many operands (most None: any number)."""

    def __init__(
        self,
        path: str,
        run: Callable[[Call], int | None],
        operands: str = "",
        flags: tuple[Flag, ...] = (),
        *,
        least: int = 0,
        most: int | None = 0,
        interspersed: bool = True,
        second_usage: str = "",
        details: str = "",
        raw: bool = False,
    ) -> None:
        self.path, self.run, self.operands, self.flags = path, run, operands, flags
        self.least, self.most, self.interspersed = least, most, interspersed
        self.second_usage, self.details = second_usage, details
        # the arguments are not read as flags
        self.raw = raw

    def refuse(self, count: int) -> str:
        """Why `count` operands can't be, or nothing."""
        least, most = self.least, self.most
        if count >= least and (most is None or count <= most):
            return ""
        if most == 0:
            return "accepts no arguments"
        if most is None:
            return f"requires at least {least} argument{'s' if least != 1 else ''}"
        if least == most:
            return f"requires {most} argument{'s' if most != 1 else ''}"
        if least == 0:
            return f"requires at most {most} argument{'s' if most != 1 else ''}"
        return f"requires at least {least} and at most {most} argument{'s' if most != 1 else ''}"


class Call:
    """One invocation: the operands, the flags' values, and the session to talk through."""

    def __init__(self, typed: str, command: Command, values: Values, operands: list[str], session: Session) -> None:
        self.typed, self.command, self.values, self.operands, self.session = typed, command, values, operands, session

    @property
    def engine(self) -> Engine:
        return self.session.engine

    def say(self, text: Any) -> None:
        """A line on standard output."""
        self.session.out(f"{text}\n")

    def warn(self, text: Any) -> None:
        """A line on standard error."""
        self.session.err(f"{text}\n")

    def each(self, operands: list[str], act: Callable[[str], Any]) -> int:
        """`act` on every operand, print it when that worked, go on when it didn't; 1 when any failed."""
        from tiffin.errors import TiffinError

        failures = []
        for operand in operands:
            try:
                result = act(operand)
            except TiffinError as error:
                failures.append(str(error))
                continue
            self.say(operand if result is None else result)
        if failures:
            raise Failed("\n".join(failures))
        return 0
