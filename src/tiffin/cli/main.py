"""The command line's entry: global flags, finding the command, exit statuses. Modules are imported when needed."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from tiffin.cli.command import Command
    from tiffin.cli.flags import Flag
    from tiffin.cli.session import Session

PROGRAM = "tiffin"


def global_flags() -> tuple[Flag, ...]:
    """The options before the command."""
    from tiffin.cli.flags import several, switch, text

    return (
        text("config", "Where the client keeps its configuration"),
        text("context", 'Context to use (instead of DOCKER_HOST and of what "tiffin context use" chose)', "c"),
        switch("debug", "Show tracebacks of failures", "D"),
        several("host", "Daemon to connect to", "H"),
        text("log-level", "How much to tell (debug, info, warn, error, fatal)", "l", "info"),
        switch("tls", "Use TLS; implied by --tlsverify"),
        text("tlscacert", "Trust certificates signed by this CA only"),
        text("tlscert", "Path of the client's certificate"),
        text("tlskey", "Path of the client's key"),
        switch("tlsverify", "Use TLS and verify the daemon"),
        switch("version", "Print version information and quit", "v"),
    )


def load(path: str) -> Command:
    """The command of that path, from its module."""
    from importlib import import_module

    from tiffin.cli.registry import COMMANDS

    module: Any = import_module(f"tiffin.cli.{COMMANDS[path][0]}")
    command: Command = module.COMMANDS[path]
    return command


def _fail(message: str, code: int) -> int:
    if message:
        sys.stdout.flush()
        sys.stderr.write(f"{message}\n")
    return code


def _unknown(words: list[str]) -> int:
    from tiffin.cli import help, registry

    if words[0] not in registry.GROUPS:
        return _fail(
            f"{PROGRAM}: unknown command: {PROGRAM} {words[0]}\n\nRun '{PROGRAM} --help' for more information", 1
        )
    group, rest = words[0], [word for word in words[1:] if not word.startswith("-")]
    flags = [word for word in words[1:] if word.startswith("-")]
    if flags and not rest and flags[0] not in ("--help", "-h"):
        return _fail(
            f"unknown flag: {flags[0]}\n\nUsage:  {PROGRAM} {group} COMMAND\n\n"
            f"Run '{PROGRAM} {group} --help' for more information",
            125,
        )
    if rest and not flags:
        return _fail(
            f"{PROGRAM}: unknown command: {PROGRAM} {group} {rest[0]}\n\nUsage:  {PROGRAM} {group}\n\n"
            f"Run '{PROGRAM} {group} --help' for more information",
            1,
        )
    # asked for it goes to standard output, as an answer to half a command to standard error
    print(help.of_group(group), file=sys.stdout if flags else sys.stderr)
    return 0


_LEVELS = ("panic", "fatal", "error", "warn", "warning", "info", "debug", "trace")


def dispatch(arguments: list[str]) -> int:
    """Run one command line; the exit status."""
    from tiffin.cli import flags, registry
    from tiffin.cli.session import Session

    try:
        options, words = flags.parse(global_flags(), arguments, interspersed=False)
    except flags.HelpWanted:
        return _program_help()
    except flags.UsageError as error:
        usage = f"Usage:  {PROGRAM} [OPTIONS] COMMAND [ARG...]\n\nRun '{PROGRAM} --help' for more information"
        return _fail(f"{error}\n\n{usage}", 125)
    if options.text("log-level") not in _LEVELS:
        return _fail(f"Unable to parse logging level: {options.text('log-level')}", 1)
    if options.on("version"):
        return print_version()
    if not words or words == ["help"]:
        return _program_help()
    asked_help = words[0] == "help"
    if asked_help:
        words = words[1:]
    found = registry.find(words)
    if found is None and asked_help and words[0] not in registry.GROUPS:
        return _fail(f"unknown help topic: {words[0]}", 1)
    if found is None:
        return _unknown(words)
    path, typed, count = found
    rest = ["--help"] if asked_help else words[count:]
    return _invoke(load(path), typed, rest, Session(options))


def _program_help() -> int:
    from tiffin.cli import help

    print(help.of_program(global_flags()))
    return 0


def _invoke(command: Command, typed: str, arguments: list[str], session: Session) -> int:
    from tiffin.cli import flags
    from tiffin.cli.command import Call

    def usage() -> str:
        from tiffin.cli import help

        return f"Usage:  {help.usage_line(typed, command)}"

    try:
        given = ["--", *arguments] if command.raw and "--help" not in arguments else arguments
        values, operands = flags.parse(command.flags, given, interspersed=command.interspersed)
    except flags.HelpWanted:
        from tiffin.cli import help

        print(help.of_command(typed, command))
        return 0
    except flags.UsageError as error:
        return _fail(f"{error}\n\n{usage()}\n\nRun '{PROGRAM} {typed} --help' for more information", 125)
    if reason := command.refuse(len(operands)):
        see = "See" if command.most is None else "Run"
        hint = f"{see} '{PROGRAM} {typed} --help' for more information"
        return _fail(f"{PROGRAM}: '{PROGRAM} {typed}' {reason}\n\n{usage()}\n\n{hint}", 1)
    return command.run(Call(typed, command, values, operands, session)) or 0


def guarded(arguments: list[str]) -> int:
    """dispatch, with every expected failure turned into its message and status."""
    from tiffin.cli.command import Failed
    from tiffin.errors import TiffinError

    try:
        return dispatch(arguments)
    except Failed as failure:
        return _fail(str(failure), failure.code)
    except TiffinError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # whoever read our output has gone: end as a program killed by SIGPIPE does
        return 141
    except OSError as error:
        if "-D" in arguments or "--debug" in arguments:
            raise
        return _fail(f"{PROGRAM}: {error}", 1)


def print_version() -> int:
    from tiffin import __version__

    print(f"{PROGRAM} version {__version__}")
    return 0


def main() -> NoReturn:
    """The console script."""
    import os

    arguments = sys.argv[1:]
    code = print_version() if arguments in (["--version"], ["-v"]) else guarded(arguments)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or 141
    # threads may still wait for input, and the interpreter's own farewell takes milliseconds
    os._exit(code)


if __name__ == "__main__":
    main()
