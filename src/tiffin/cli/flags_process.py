"""Flags of run and create that say what runs: command, user, environment, streams, labels, health, restarts."""

from __future__ import annotations

import os

from tiffin.cli import flags
from tiffin.cli.flags import Flag, Values
from tiffin.cli.kinds import BOOL, DURATION, BadValue, Kind, checked, put
from tiffin.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _stream(raw: str) -> str:
    name = raw.lower()
    if name not in ("stdin", "stdout", "stderr"):
        raise BadValue("valid streams are STDIN, STDOUT and STDERR")
    return name


def environment_item(raw: str) -> str:
    """`NAME=value`, or NAME alone: its value here, if it has one."""
    name, equals, _ = raw.partition("=")
    if not name:
        raise BadValue(f"invalid environment variable: {raw}")
    return raw if equals or name not in os.environ else f"{name}={os.environ[name]}"


def label(raw: str) -> str:
    key = raw.partition("=")[0].lstrip(" \t")
    if not key:
        raise BadValue(f"invalid label '{raw}': empty name")
    if " " in key or "\t" in key:
        raise BadValue(f"label '{key}' contains whitespaces")
    return raw


ATTACH = Kind("list", checked(_stream), list)
ENVIRONMENT = Kind("list", checked(environment_item), list)
LABELS = Kind("list", checked(label), list)
ANNOTATIONS = Kind("map", put, dict, always_shown="map[]")

EXEC_ENVIRONMENT = (
    Flag("env", ENVIRONMENT, "Set environment variables", short="e"),
    flags.several("env-file", "Read environment variables from a file"),
)

FLAGS = (
    Flag("annotation", ANNOTATIONS, "Add an annotation for the OCI runtime"),
    Flag("attach", ATTACH, "Attach to STDIN, STDOUT or STDERR", short="a"),
    flags.text("cidfile", "Write the container ID to the file"),
    flags.text("domainname", "Container NIS domain name"),
    flags.text("entrypoint", "Run this instead of the image's ENTRYPOINT"),
    *EXEC_ENVIRONMENT,
    flags.text("health-cmd", "Command that checks the container's health"),
    Flag("health-interval", DURATION, "Time between two checks (ms|s|m|h)"),
    flags.number("health-retries", "Failures in a row that make it unhealthy"),
    Flag("health-start-interval", DURATION, "Time between two checks during the start period (ms|s|m|h)"),
    Flag("health-start-period", DURATION, "Time to start up before failures count (ms|s|m|h)"),
    Flag("health-timeout", DURATION, "Longest time for one check (ms|s|m|h)"),
    Flag("help", BOOL, "Print usage"),
    flags.text("hostname", "Container host name", "h"),
    flags.switch("init", "Run an init that forwards signals and reaps processes"),
    flags.switch("interactive", "Keep STDIN open even if not attached", "i"),
    Flag("label", LABELS, "Set a label on the container", short="l"),
    flags.several("label-file", "Read labels from a file, one a line"),
    flags.text("log-driver", "Logging driver for the container"),
    flags.several("log-opt", "Log driver options"),
    flags.text("name", "Assign a name to the container"),
    flags.switch("no-healthcheck", "Disable the image's HEALTHCHECK"),
    flags.text("restart", "Restart policy to apply when the container exits", default="no"),
    flags.switch("rm", "Remove the container and its anonymous volumes when it exits"),
    flags.text("runtime", "OCI runtime to use for this container"),
    flags.text("stop-signal", "Signal that stops the container"),
    flags.number("stop-timeout", "Seconds between that signal and SIGKILL"),
    flags.switch("tty", "Allocate a pseudo-TTY", "t"),
    flags.text("user", "Username or UID (format: <name|uid>[:<group|gid>])", "u"),
    flags.text("workdir", "Working directory inside the container", "w"),
)


def read_pairs(paths: list[str], default: Callable[[str], str | None] | None = None) -> list[str]:
    """`key=value` lines of files, comments and blank lines left out. `default` gives the value of a key without one.

    Raises Invalid.
    """
    pairs = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                lines = file.read().removeprefix(b"\xef\xbb\xbf").split(b"\n")
        except IsADirectoryError as error:
            raise Invalid(f"invalid env file ({path}): read {path}: is a directory") from error
        except OSError as error:
            raise Invalid(f"open {path}: {os.strerror(error.errno or 0).lower()}") from error
        for number, raw in enumerate(lines, 1):
            try:
                line = raw.removesuffix(b"\r").decode().lstrip()
            except UnicodeDecodeError as error:
                told = " ".join(str(byte) for byte in raw)
                raise Invalid(f"invalid env file ({path}): invalid utf8 bytes at line {number}: [{told}]") from error
            if not line or line.startswith("#"):
                continue
            key, equals, _ = line.partition("=")
            if not key:
                raise Invalid(f"invalid env file ({path}): no variable name on line '{line}'")
            if " " in key or "\t" in key:
                raise Invalid(f"invalid env file ({path}): variable '{key}' contains whitespaces")
            if equals:
                pairs.append(line)
            elif default is not None and (value := default(key)) is not None:
                pairs.append(f"{key}={value}")
    return pairs


def as_map(pairs: list[str]) -> dict[str, str]:
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def restart_policy(text: str) -> dict[str, Any]:
    """`on-failure:3` as the API's RestartPolicy. Raises Invalid."""
    if not text:
        return {}
    name, colon, count = text.partition(":")
    if colon and not name:
        raise Invalid("invalid restart policy format: no policy provided before colon")
    if not count:
        return {"Name": name, "MaximumRetryCount": 0}
    try:
        return {"Name": name, "MaximumRetryCount": int(count)}
    except ValueError as error:
        raise Invalid("invalid restart policy format: maximum retry count must be an integer") from error


_HEALTH = {
    "health-interval": "Interval",
    "health-timeout": "Timeout",
    "health-retries": "Retries",
    "health-start-period": "StartPeriod",
    "health-start-interval": "StartInterval",
}


def health(values: Values) -> dict[str, Any] | None:
    """The API's HealthConfig, durations in nanoseconds. Raises Invalid."""
    command = values.text("health-cmd")
    asked = bool(command) or any(values.get(name) for name in _HEALTH)
    if values.on("no-healthcheck"):
        if asked:
            raise Invalid("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if not asked:
        return None
    config: dict[str, Any] = {"Test": ["CMD-SHELL", command]} if command else {}
    for name, key in _HEALTH.items():
        if values.get(name) < 0:
            raise Invalid(f"--{name} cannot be negative")
        config[key] = values.get(name)
    return config


def streams(values: Values) -> tuple[bool, bool, bool]:
    """Which of stdin, stdout, stderr to attach."""
    chosen = values.list("attach")
    stdin = values.on("interactive") or "stdin" in chosen
    return stdin, not chosen or "stdout" in chosen, not chosen or "stderr" in chosen


def logging(values: Values) -> dict[str, Any]:
    driver, options = values.text("log-driver"), values.list("log-opt")
    if driver == "none" and options:
        raise Invalid(f"invalid logging opts for driver {driver}")
    return {"Type": driver, "Config": as_map(options)}


def entrypoint(values: Values) -> list[str] | None:
    given = values.text("entrypoint")
    if given:
        return [given]
    return [""] if values.changed("entrypoint") else None


def fill(values: Values, image: str, command: list[str], config: dict[str, Any], host: dict[str, Any]) -> None:
    """Put these flags' part into the bodies of `Config` and `HostConfig`."""
    stdin, stdout, stderr = streams(values)
    config.update(
        Image=image,
        Cmd=command or None,
        Entrypoint=entrypoint(values),
        Hostname=values.text("hostname"),
        Domainname=values.text("domainname"),
        User=values.text("user"),
        WorkingDir=values.text("workdir"),
        Tty=values.on("tty"),
        OpenStdin=values.on("interactive"),
        StdinOnce=values.on("interactive") and stdin,
        AttachStdin=stdin,
        AttachStdout=stdout,
        AttachStderr=stderr,
        Env=read_pairs(values.list("env-file"), os.environ.get) + values.list("env"),
        Labels=as_map(read_pairs(values.list("label-file")) + values.list("label")),
    )
    if values.text("stop-signal"):
        config["StopSignal"] = values.text("stop-signal")
    if values.changed("stop-timeout"):
        config["StopTimeout"] = values.number("stop-timeout")
    if (check := health(values)) is not None:
        config["Healthcheck"] = check
    policy = restart_policy(values.text("restart"))
    if values.on("rm") and policy.get("Name") not in (None, "", "no"):
        raise Invalid("conflicting options: cannot specify both --restart and --rm")
    host.update(
        AutoRemove=values.on("rm"),
        ContainerIDFile=values.text("cidfile"),
        LogConfig=logging(values),
        RestartPolicy=policy,
        Annotations=values.map("annotation"),
    )
    if values.text("runtime"):
        host["Runtime"] = values.text("runtime")
    if values.changed("init"):
        host["Init"] = values.on("init")
