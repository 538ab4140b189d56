"""Instructions that change an image's configuration, or what later steps of the stage run with."""

import re
import signal
from collections.abc import Callable, Mapping
from typing import Any

from tiffin.build.application import Application
from tiffin.build.dockerfile import instructions as made
from tiffin.build.dockerfile import rules
from tiffin.build.dockerfile.gotext import format_duration, plain_list, quoted, quoted_list
from tiffin.build.dockerfile.source import DockerfileError
from tiffin.build.dockerfile.words import Expansion
from tiffin.build.paths import absolute
from tiffin.build.ports import parse_port
from tiffin.build.scopes import NOT_IN_ENVIRONMENT, with_variable
from tiffin.build.stage_state import shown_command
from tiffin.build.steps import MakeDirectory

_WORD_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE | re.ASCII
)
_WORD_HARMLESS = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE | re.ASCII)
_DEFAULT_SHELL = ("/bin/sh", "-c")
_REALTIME = re.compile(r"RTMIN(?:\+(?:[1-9]|1[0-5]))?|RTMAX(?:-(?:[1-9]|1[0-4]))?", re.ASCII)


def apply_env(on: Application, instruction: made.Env) -> None:
    pairs = on.expander.pairs(instruction.pairs)
    for pair in pairs:
        _check_pair(on, instruction, pair)
        _check_secret(on, "ENV", pair.name)
        on.state.env = with_variable(on.state.env, pair.name, pair.value)
        on.state.image = on.state.image.with_env(pair.name, pair.value)
    on.record("ENV " + " ".join(map(str, pairs)))


def apply_label(on: Application, instruction: made.Label) -> None:
    pairs = on.expander.pairs(instruction.pairs)
    for pair in pairs:
        _check_pair(on, instruction, pair)
    labels = dict(on.state.image.run.get("Labels") or {}) | {pair.name: pair.value for pair in pairs}
    on.state.image = on.state.image.with_run(Labels=labels)
    on.record("LABEL " + " ".join(map(str, pairs)))


def _check_pair(on: Application, instruction: made.Instruction, pair: made.Pair) -> None:
    if pair.legacy:
        name = instruction.keyword
        on.report(
            rules.LEGACY_KEY_VALUE_FORMAT,
            f'"{name} key=value" should be used instead of legacy "{name} key value" format',
        )


def _check_secret(on: Application, keyword: str, name: str) -> None:
    if _WORD_SECRET.search(name) and not _WORD_HARMLESS.search(name):
        message = f"Do not use ARG or ENV instructions for sensitive data ({keyword} {quoted(name)})"
        on.report(rules.SECRETS_USED_IN_ARG_OR_ENV, message)


def apply_arg(on: Application, instruction: made.Arg) -> None:
    """A build argument, else the default, else the value that the name has above the first FROM."""
    shown = []
    for definition in instruction.definitions:
        _check_secret(on, "ARG", definition.name)
        value = on.options.build_args.get(definition.name)
        if value is None and definition.default is not None:
            value = on.expander.word(definition.default)
        elif value is None:
            value = on.variables.get(definition.name)
        if value is not None and definition.name not in NOT_IN_ENVIRONMENT:
            on.state.env = with_variable(on.state.env, definition.name, value)
        on.state.arguments.append(made.ArgDefinition(definition.name, value))
        shown.append(definition.name if value is None else f"{definition.name}={value}")
    on.record("ARG " + " ".join(shown))


def apply_maintainer(on: Application, instruction: made.Maintainer) -> None:
    on.state.image = on.state.image.with_author(instruction.name)
    on.record(f"MAINTAINER {instruction.name}")


def apply_workdir(on: Application, instruction: made.Workdir) -> None:
    path = on.expander.word(instruction.path)
    if not on.state.workdir_set and not path.startswith("/"):
        message = f"Relative workdir {quoted(path)} can have unexpected results if the base image changes"
        on.report(rules.WORKDIR_RELATIVE_PATH, message)
    on.state.workdir_set = True
    directory = enter(on, path)
    if directory != "/":
        text = shown_command(on.lexer, instruction.source, on.state.env)
        on.state.output = on.drawing.add(
            MakeDirectory(
                inputs=(on.state.output,),
                path=directory,
                mode=0o755,
                owner=on.state.image.text("User"),
                created=on.epoch,
                label=on.label(text),
                span=instruction.span,
            )
        )
    on.record(f"WORKDIR {directory}", empty=directory == "/")


def enter(on: Application, path: str) -> str:
    directory = absolute(on.state.image.text("WorkingDir"), path)
    on.state.image = on.state.image.with_run(WorkingDir=directory)
    on.state.directory = directory
    return directory


def apply_user(on: Application, instruction: made.User) -> None:
    user = on.expander.word(instruction.user)
    on.state.user = user
    on.state.image = on.state.image.with_run(User=user)
    on.record(f"USER {user}")


def apply_onbuild(on: Application, instruction: made.Onbuild) -> None:
    triggers = (*on.state.image.texts("OnBuild"), instruction.expression)
    on.state.image = on.state.image.with_run(OnBuild=triggers)


def with_shell(on: Application, arguments: tuple[str, ...]) -> tuple[str, ...]:
    return (*(on.state.image.texts("Shell") or _DEFAULT_SHELL), " ".join(arguments))


def _command(on: Application, instruction: made.Cmd | made.Entrypoint) -> tuple[str, ...]:
    _check_once(on, instruction)
    if not instruction.command.shell:
        return instruction.command.arguments
    if not on.state.image.texts("Shell"):
        name = instruction.keyword
        message = f"JSON arguments recommended for {name} to prevent unintended behavior related to OS signals"
        on.report(rules.JSON_ARGS_RECOMMENDED, message)
    return with_shell(on, instruction.command.arguments)


def _check_once(on: Application, instruction: made.Instruction) -> None:
    kind, name = instruction.keyword.lower(), instruction.keyword
    if kind in on.state.last:
        # the earlier one is in vain
        message = (
            f"Multiple {name} instructions should not be used in the same stage because only the last one will be used"
        )
        on.report(rules.MULTIPLE_INSTRUCTIONS_DISALLOWED, message, on.state.last[kind])
    on.state.last[kind] = instruction.span


def apply_cmd(on: Application, instruction: made.Cmd) -> None:
    arguments = _command(on, instruction)
    on.state.image = on.state.image.with_run(Cmd=arguments, ArgsEscaped=True)
    on.record(f"CMD {quoted_list(arguments)}")


def apply_entrypoint(on: Application, instruction: made.Entrypoint) -> None:
    arguments = _command(on, instruction)
    on.state.image = on.state.image.with_run(Entrypoint=arguments)
    if "cmd" not in on.state.last:
        # the base's CMD was meant for the base's ENTRYPOINT
        on.state.image = on.state.image.with_run(Cmd=None)
    on.record(f"ENTRYPOINT {quoted_list(arguments)}")


def apply_healthcheck(on: Application, instruction: made.Healthcheck) -> None:
    _check_once(on, instruction)
    times = {
        "Interval": instruction.interval,
        "Timeout": instruction.timeout,
        "StartPeriod": instruction.start_period,
        "StartInterval": instruction.start_interval,
    }
    document: dict[str, Any] = {
        "Test": list(instruction.test),
        **{name: value for name, value in times.items() if value},
    }
    if instruction.retries:
        document["Retries"] = instruction.retries
    on.state.image = on.state.image.with_run(Healthcheck=document)
    shown = " ".join(f"{name}:{format_duration(value)}" for name, value in times.items())
    on.record(f"HEALTHCHECK {{Test:{plain_list(instruction.test)} {shown} Retries:{instruction.retries}}}")


def apply_expose(on: Application, instruction: made.Expose) -> None:
    expansions: list[Expansion] = [on.lexer.expand(port, on.state.env) for port in instruction.ports]
    words = [word for expansion in expansions for word in expansion.words]
    ports = [port for word in words for port in parse_port(word, on.report)]
    on.state.image = on.state.image.with_names("ExposedPorts", ports)
    on.record(f"EXPOSE {plain_list(ports)}")


def apply_volume(on: Application, instruction: made.Volume) -> None:
    paths = on.expander.words(instruction.paths)
    if not all(paths):
        raise DockerfileError("VOLUME specified can not be an empty string")
    on.state.image = on.state.image.with_names("Volumes", paths)
    on.record(f"VOLUME {plain_list(paths)}")


def apply_stopsignal(on: Application, instruction: made.StopSignal) -> None:
    name = on.expander.word(instruction.signal)
    if not _is_signal(name):
        raise DockerfileError(f"invalid signal: {name}")
    on.state.image = on.state.image.with_run(StopSignal=name)
    on.record(f"STOPSIGNAL {name}")


def _is_signal(text: str) -> bool:
    if text.lstrip("+-").isdecimal():
        return int(text) != 0
    bare = text.upper().removeprefix("SIG")
    return bare in ("STKFLT", "UNUSED") or f"SIG{bare}" in signal.Signals.__members__ or bool(_REALTIME.fullmatch(bare))


def apply_shell(on: Application, instruction: made.Shell) -> None:
    on.state.image = on.state.image.with_run(Shell=instruction.shell)
    on.record(f"SHELL {plain_list(instruction.shell)}")


APPLIED: Mapping[type[made.Instruction], Callable[[Application, Any], None]] = {
    made.Env: apply_env,
    made.Label: apply_label,
    made.Arg: apply_arg,
    made.Maintainer: apply_maintainer,
    made.Workdir: apply_workdir,
    made.User: apply_user,
    made.Onbuild: apply_onbuild,
    made.Cmd: apply_cmd,
    made.Entrypoint: apply_entrypoint,
    made.Healthcheck: apply_healthcheck,
    made.Expose: apply_expose,
    made.Volume: apply_volume,
    made.StopSignal: apply_stopsignal,
    made.Shell: apply_shell,
}
