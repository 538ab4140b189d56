"""Statements to instructions: how many operands, which flags, what they mean. The messages are BuildKit's."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from tiffin.build.dockerfile import instructions as made
from tiffin.build.dockerfile.flags import BOOL, STRING, STRINGS, Flags, parse_flags
from tiffin.build.dockerfile.gotext import SPACES, parse_duration, quoted, with_suggestion
from tiffin.build.dockerfile.heredocs import opens_heredoc
from tiffin.build.dockerfile.mounts import mount_source, parse_device
from tiffin.build.dockerfile.operands import KEYWORDS
from tiffin.build.dockerfile.source import DockerfileError
from tiffin.build.dockerfile.statements import Statement
from tiffin.errors import Invalid

_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*", re.ASCII)
_ONBUILD = re.compile(r"[\t\n\f\r ]*ONBUILD[\t\n\f\r ]*", re.IGNORECASE | re.ASCII)
_NETWORKS = ("default", "none", "host")
_SECURITY = ("insecure", "sandbox")
_MILLISECOND = 10**6


def parse_instruction(statement: Statement) -> made.Instruction:
    """DockerfileError with the statement's lines."""
    try:
        parser = _PARSERS.get(statement.name)
        if parser is None:
            message = f"unknown instruction: {statement.keyword}"
            raise DockerfileError(with_suggestion(message, statement.keyword, KEYWORDS, exact_case=False))
        return parser(statement)
    except DockerfileError as error:
        raise error.at(statement.span) from None


def _common(statement: Statement) -> dict[str, Any]:
    return {
        "keyword": statement.keyword,
        "source": statement.original.strip(SPACES),
        "span": statement.span,
        "comments": statement.comments,
    }


def _flags(statement: Statement, known: Mapping[str, str] | None = None) -> Flags:
    return parse_flags(statement.flags, known or {})


def _values(statement: Statement) -> tuple[str, ...]:
    return statement.operands.values


def _at_least_one(statement: Statement, keyword: str) -> tuple[str, ...]:
    if not _values(statement):
        raise DockerfileError(f"{keyword} requires at least one argument")
    return _values(statement)


def _exactly_one(statement: Statement, keyword: str) -> str:
    if len(_values(statement)) != 1:
        raise DockerfileError(f"{keyword} requires exactly one argument")
    return _values(statement)[0]


def _pairs(statement: Statement, keyword: str) -> tuple[made.Pair, ...]:
    _flags(statement)
    values = _at_least_one(statement, keyword)
    if not all(values[::3]):
        raise DockerfileError(f"{keyword} names can not be blank")
    triples = zip(values[::3], values[1::3], values[2::3], strict=True)
    return tuple(made.Pair(name, value, legacy=not equals) for name, value, equals in triples)


def _env(statement: Statement) -> made.Instruction:
    return made.Env(pairs=_pairs(statement, "ENV"), **_common(statement))


def _label(statement: Statement) -> made.Instruction:
    return made.Label(pairs=_pairs(statement, "LABEL"), **_common(statement))


def _maintainer(statement: Statement) -> made.Instruction:
    name = _exactly_one(statement, "MAINTAINER")
    _flags(statement)
    return made.Maintainer(name=name, **_common(statement))


_TRANSFER_FLAGS = {"chown": STRING, "chmod": STRING, "link": BOOL, "exclude": STRINGS}
_COPY_FLAGS = {**_TRANSFER_FLAGS, "from": STRING, "parents": BOOL}
_ADD_FLAGS = {**_TRANSFER_FLAGS, "keep-git-dir": BOOL, "checksum": STRING, "unpack": BOOL}


def _transfer(statement: Statement, keyword: str, known: Mapping[str, str]) -> tuple[Flags, dict[str, Any]]:
    values = _values(statement)
    if len(values) < 2:
        raise DockerfileError(
            f"{keyword} requires at least two arguments, but only one was provided. Destination could not be determined"
        )
    flags = _flags(statement, known)
    *written, destination = values
    if opens_heredoc(destination) is not None:
        raise DockerfileError(f"{keyword} cannot accept a heredoc as a destination")
    contents = {heredoc.name: heredoc.text for heredoc in statement.heredocs}
    sources, files = [], []
    for source in written:
        heredoc = opens_heredoc(source)
        if heredoc is None:
            sources.append(source)
        else:
            files.append(made.InlineFile(heredoc.name, contents.get(heredoc.name, ""), heredoc.expand))
    return flags, {
        "sources": tuple(sources),
        "files": tuple(files),
        "destination": destination,
        "chown": flags.text("chown"),
        "chmod": flags.text("chmod"),
        "link": bool(flags.given("link")),
        "exclude": flags.every("exclude"),
        **_common(statement),
    }


def _copy(statement: Statement) -> made.Instruction:
    flags, fields = _transfer(statement, "COPY", _COPY_FLAGS)
    return made.Copy(source_stage=flags.text("from"), parents=bool(flags.given("parents")), **fields)


def _add(statement: Statement) -> made.Instruction:
    flags, fields = _transfer(statement, "ADD", _ADD_FLAGS)
    return made.Add(
        checksum=flags.text("checksum"),
        keep_git_dir=flags.given("keep-git-dir"),
        unpack=flags.given("unpack"),
        **fields,
    )


def _from(statement: Statement) -> made.Instruction:
    values = _values(statement)
    name = ""
    if len(values) == 3 and values[1].lower() == "as":
        name = values[2].lower()
        if not _STAGE_NAME.fullmatch(name):
            raise DockerfileError(
                f"invalid name for build stage: {quoted(values[2])}, name can't start with a number or contain symbols"
            )
    elif len(values) != 1:
        raise DockerfileError("FROM requires either one or three arguments")
    flags = _flags(statement, {"platform": STRING})
    return made.Stage(
        base=values[0],
        name=name,
        platform=flags.text("platform"),
        description=_description(statement, name),
        **_common(statement),
    )


def _description(statement: Statement, name: str) -> str:
    for comment in statement.comments:
        if name and comment.startswith(f"{name} "):
            return comment.removeprefix(f"{name} ")
    return ""


def _onbuild(statement: Statement) -> made.Instruction:
    keyword = _at_least_one(statement, "ONBUILD")[0].strip(SPACES).upper()
    _flags(statement)
    if keyword == "ONBUILD":
        raise DockerfileError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if keyword in ("MAINTAINER", "FROM"):
        raise DockerfileError(f"{keyword} isn't allowed as an ONBUILD trigger")
    expression = _ONBUILD.sub("", statement.original, count=1)
    for heredoc in statement.heredocs:
        expression += f"\n{heredoc.content}{heredoc.name}"
    return made.Onbuild(expression=expression, **_common(statement))


def _workdir(statement: Statement) -> made.Instruction:
    path = _exactly_one(statement, "WORKDIR")
    _flags(statement)
    return made.Workdir(path=path, **_common(statement))


def _command(statement: Statement, values: tuple[str, ...]) -> made.CommandLine:
    if not statement.operands.json and values:
        values = (" ".join(values),)
    return made.CommandLine(values, not statement.operands.json, statement.heredocs)


_RUN_FLAGS = {"mount": STRINGS, "network": STRING, "security": STRING, "device": STRINGS}


def _run(statement: Statement) -> made.Instruction:
    flags = _flags(statement, _RUN_FLAGS)
    devices = tuple(parse_device(text) for text in flags.every("device"))
    sources = tuple(mount_source(text) for text in flags.every("mount"))
    network, security = flags.text("network", "default"), flags.text("security", "sandbox")
    if network not in _NETWORKS:
        raise DockerfileError(f"invalid network mode {quoted(network)}")
    if security not in _SECURITY:
        raise DockerfileError(f"security {quoted(security)} is not valid")
    return made.Run(
        command=_command(statement, _values(statement)),
        mounts=flags.every("mount"),
        mount_sources=sources,
        network=network,
        security=security,
        devices=devices,
        **_common(statement),
    )


def _cmd(statement: Statement) -> made.Instruction:
    _flags(statement)
    return made.Cmd(command=_command(statement, _values(statement)), **_common(statement))


def _entrypoint(statement: Statement) -> made.Instruction:
    _flags(statement)
    return made.Entrypoint(command=_command(statement, _values(statement)), **_common(statement))


_HEALTH_TIMES = ("interval", "timeout", "start-period", "start-interval")
_HEALTH_FLAGS = dict.fromkeys((*_HEALTH_TIMES, "retries"), STRING)


def _healthcheck(statement: Statement) -> made.Instruction:
    kind, *rest = _at_least_one(statement, "HEALTHCHECK")
    kind = kind.upper()
    if kind == "NONE":
        if rest:
            raise DockerfileError("HEALTHCHECK NONE takes no arguments")
        return made.Healthcheck(test=("NONE",), **_common(statement))
    flags = _flags(statement, _HEALTH_FLAGS)
    if kind != "CMD":
        raise DockerfileError(f"Unknown type {quoted(kind)} in HEALTHCHECK (try CMD)")
    command = _command(statement, tuple(rest))
    if not command.arguments:
        raise DockerfileError("Missing command after HEALTHCHECK CMD")
    times: dict[str, Any] = {name.replace("-", "_"): _interval(name, flags.text(name)) for name in _HEALTH_TIMES}
    return made.Healthcheck(
        test=("CMD-SHELL" if command.shell else "CMD", *command.arguments),
        retries=_retries(flags.text("retries")),
        **times,
        **_common(statement),
    )


def _interval(name: str, text: str) -> int:
    if not text:
        return 0
    try:
        value = parse_duration(text)
    except Invalid as error:
        raise DockerfileError(str(error)) from None
    if value and value < _MILLISECOND:
        raise DockerfileError(f"Interval {quoted(name)} cannot be less than 1ms")
    return value


def _retries(text: str) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise DockerfileError(f"strconv.ParseInt: parsing {quoted(text)}: invalid syntax")
    value = int(text)
    if not -(1 << 31) <= value < 1 << 31:
        raise DockerfileError(f"strconv.ParseInt: parsing {quoted(text)}: value out of range")
    if value < 0:
        raise DockerfileError(f"--retries cannot be negative ({value})")
    return value


def _expose(statement: Statement) -> made.Instruction:
    ports = _at_least_one(statement, "EXPOSE")
    _flags(statement)
    return made.Expose(ports=tuple(sorted(ports)), **_common(statement))


def _user(statement: Statement) -> made.Instruction:
    user = _exactly_one(statement, "USER")
    _flags(statement)
    return made.User(user=user, **_common(statement))


def _volume(statement: Statement) -> made.Instruction:
    values = _at_least_one(statement, "VOLUME")
    _flags(statement)
    paths = tuple(value.strip(SPACES) for value in values)
    if not all(paths):
        raise DockerfileError("VOLUME specified can not be an empty string")
    return made.Volume(paths=paths, **_common(statement))


def _stopsignal(statement: Statement) -> made.Instruction:
    return made.StopSignal(signal=_exactly_one(statement, "STOPSIGNAL"), **_common(statement))


def _arg(statement: Statement) -> made.Instruction:
    definitions = []
    for word in _at_least_one(statement, "ARG"):
        name, equals, value = word.partition("=")
        if equals and not name:
            raise DockerfileError("ARG names can not be blank")
        definitions.append(made.ArgDefinition(name, value if equals else None, _description(statement, name)))
    return made.Arg(definitions=tuple(definitions), **_common(statement))


def _shell(statement: Statement) -> made.Instruction:
    _flags(statement)
    values = _at_least_one(statement, "SHELL")
    if not statement.operands.json:
        raise DockerfileError("SHELL requires the arguments to be in JSON form")
    return made.Shell(shell=values, **_common(statement))


_PARSERS: Mapping[str, Callable[[Statement], made.Instruction]] = {
    "add": _add,
    "arg": _arg,
    "cmd": _cmd,
    "copy": _copy,
    "entrypoint": _entrypoint,
    "env": _env,
    "expose": _expose,
    "from": _from,
    "healthcheck": _healthcheck,
    "label": _label,
    "maintainer": _maintainer,
    "onbuild": _onbuild,
    "run": _run,
    "shell": _shell,
    "stopsignal": _stopsignal,
    "user": _user,
    "volume": _volume,
    "workdir": _workdir,
}
