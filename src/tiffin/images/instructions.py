"""Dockerfile instructions that change a configuration: `commit --change`, `import --change`.

CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD SHELL STOPSIGNAL USER VOLUME WORKDIR. Others are Invalid.
"""

import json
import posixpath
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tiffin.errors import Invalid

Run = dict[str, Any]

_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_SHELL = ["/bin/sh", "-c"]


def changed(run: Mapping[str, Any], changes: Iterable[str]) -> Run:
    """The `config` object after the instructions; several may stand in one text, one a line."""
    changes = list(changes)
    if changes and not any(text.strip() for text in changes):
        raise Invalid("file with no instructions")
    result: Run = json.loads(json.dumps(dict(run)))
    command = False  # whether CMD was among them
    for line in (line.strip() for text in changes for line in text.splitlines()):
        if not line or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        instruction = _INSTRUCTIONS.get(word.upper())
        if instruction is None:
            raise Invalid(f"{word.upper()} is not a valid change command")
        if not rest.strip():
            raise Invalid(f"{word.upper()} requires at least one argument")
        instruction(result, rest.strip())
        command = command or word.upper() == "CMD"
        if word.upper() == "ENTRYPOINT" and not command:
            result["Cmd"] = None  # the image's was meant for its own entrypoint
    return result


def _json_list(text: str) -> list[str] | None:
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


def _command(run: Run, text: str) -> list[str]:
    words = _json_list(text)
    return [*(run.get("Shell") or _SHELL), text] if words is None else words


def _words(text: str, what: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise Invalid(f"{what}: {error}") from error


def _pairs(text: str, what: str) -> list[tuple[str, str]]:
    """`k=v k2="v 2"`, or the old form `k v …`."""
    words = _words(text, what)
    if "=" not in words[0]:
        key, _, value = text.partition(" ")
        if not value:
            raise Invalid(f"{what} must have two arguments")
        return [(key, value.strip())]
    pairs = [word.partition("=") for word in words]
    if any(not key or not equals for key, equals, _ in pairs):
        raise Invalid(f"Syntax error - can't find = in {text!r}. Must be of the form: name=value")
    return [(key, value) for key, _, value in pairs]


def _cmd(run: Run, text: str) -> None:
    run["Cmd"] = _command(run, text)


def _entrypoint(run: Run, text: str) -> None:
    run["Entrypoint"] = _command(run, text) or None


def _env(run: Run, text: str) -> None:
    env: list[str] = list(run.get("Env") or [])
    for key, value in _pairs(text, "ENV"):
        at = next((index for index, item in enumerate(env) if item.partition("=")[0] == key), None)
        if at is None:
            env.append(f"{key}={value}")
        else:
            env[at] = f"{key}={value}"
    run["Env"] = env


def _expose(run: Run, text: str) -> None:
    ports: dict[str, Any] = dict(run.get("ExposedPorts") or {})
    for word in text.split():
        match = _PORT.fullmatch(word.lower())
        first = int(match[1]) if match else -1
        last = int(match[2] or first) if match else -1
        if match is None or not 0 <= first <= last <= 65535:
            raise Invalid(f"Invalid containerPort: {word}")
        for port in range(first, last + 1):
            ports[f"{port}/{match[3] or 'tcp'}"] = {}
    run["ExposedPorts"] = ports


def _label(run: Run, text: str) -> None:
    run["Labels"] = {**(run.get("Labels") or {}), **dict(_pairs(text, "LABEL"))}


def _onbuild(run: Run, text: str) -> None:
    word = text.split()[0].upper()
    if word in ("ONBUILD", "FROM", "MAINTAINER"):
        raise Invalid(f"{word} isn't allowed as an ONBUILD trigger")
    run["OnBuild"] = [*(run.get("OnBuild") or []), text]


def _user(run: Run, text: str) -> None:
    run["User"] = text


def _volume(run: Run, text: str) -> None:
    paths = _json_list(text)
    run["Volumes"] = {**(run.get("Volumes") or {}), **{path: {} for path in (text.split() if paths is None else paths)}}


def _workdir(run: Run, text: str) -> None:
    words = _words(text, "WORKDIR")
    run["WorkingDir"] = posixpath.normpath(posixpath.join("/", run.get("WorkingDir") or "/", words[0]))


def _stopsignal(run: Run, text: str) -> None:
    run["StopSignal"] = text


def _shell(run: Run, text: str) -> None:
    words = _json_list(text)
    if not words:
        raise Invalid("SHELL requires the arguments to be in JSON form")
    run["Shell"] = words


def duration(text: str) -> int:
    """Nanoseconds from `1m30s`, as Go writes durations."""
    if text != "0" and "".join(f"{number}{unit}" for number, unit in _DURATION.findall(text)) != text:
        raise Invalid(f"{text!r}: not a duration such as 30s")
    return int(sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text)))


def _healthcheck(run: Run, text: str) -> None:
    check: dict[str, Any] = {}
    names = {
        "interval": "Interval",
        "timeout": "Timeout",
        "start-period": "StartPeriod",
        "start-interval": "StartInterval",
    }
    while text.startswith("--"):
        flag, _, text = text.partition(" ")
        key, _, value = flag[2:].partition("=")
        if key == "retries" and value.isdigit():
            check["Retries"] = int(value)
        elif key in names:
            check[names[key]] = duration(value)
        else:
            raise Invalid(f"Unknown flag: {key}")
        text = text.strip()
    word, _, rest = text.partition(" ")
    if word.upper() == "NONE" and not rest:
        check["Test"] = ["NONE"]
    elif word.upper() == "CMD" and rest:
        words = _json_list(rest.strip())
        check["Test"] = ["CMD-SHELL", rest.strip()] if words is None else ["CMD", *words]
    else:
        raise Invalid(f"Unknown type {word.upper()!r} in HEALTHCHECK (try CMD)")
    run["Healthcheck"] = check


_INSTRUCTIONS: dict[str, Callable[[Run, str], None]] = {
    "CMD": _cmd, "ENTRYPOINT": _entrypoint, "ENV": _env, "EXPOSE": _expose, "HEALTHCHECK": _healthcheck,
    "LABEL": _label, "ONBUILD": _onbuild, "SHELL": _shell, "STOPSIGNAL": _stopsignal, "USER": _user,
    "VOLUME": _volume, "WORKDIR": _workdir,
}  # fmt: skip
