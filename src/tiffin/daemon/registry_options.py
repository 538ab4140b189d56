"""What `tiffin registry serve` and `gc` are told: by flags, by TIFFIN_REGISTRY_* in the environment, by a TOML file.

The first of these that names an option decides. `tiffin.cli.registry_serve` has the same flags for its help.
"""

from __future__ import annotations

import argparse
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

from tiffin.errors import Invalid

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_LEVELS = ("debug", "info", "warning", "error")
_PREFIX = "TIFFIN_REGISTRY_"


@dataclass(frozen=True, slots=True)
class Options:
    """Seconds, bytes, paths. See docs/registries.md for what each does."""

    storage: str = ""
    listen: list[str] = field(default_factory=lambda: ["127.0.0.1:5000"])
    state: str = "/var/lib/tiffin/registry"
    s3_endpoint: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    htpasswd: str = ""
    access: str = ""
    tokens: bool = False
    token_realm: str = ""
    read_only: bool = False
    upstream: list[str] = field(default_factory=list)
    upstream_auth: str = ""
    upstream_user: str = ""
    upstream_password_file: str = ""
    upstream_password: str = ""
    upstream_insecure: bool = False
    max_blob_size: int = 0
    max_uploads: int = 10_000
    upload_expiry: float = 24 * 3600.0
    gc_interval: float = 6 * 3600.0
    gc_grace: float = 3600.0
    gc_untagged: bool = False
    metrics_listen: str = ""
    access_log: str = "-"
    log_level: str = "info"

    @property
    def in_bucket(self) -> bool:
        return self.storage.startswith("s3://")

    @property
    def directory(self) -> Path:
        """Where files of this machine lie: the storage itself, or what a bucket's storage needs besides."""
        return Path(self.state if self.in_bucket else self.storage).absolute()


_SECONDS = frozenset(("upload_expiry", "gc_interval", "gc_grace"))
_BYTES = frozenset(("max_blob_size",))
_NUMBERS = frozenset(("max_uploads",))
_LISTS = frozenset(("listen", "upstream"))
_SWITCHES = frozenset(("read_only", "upstream_insecure", "gc_untagged", "tokens"))
_SECRET = frozenset(("upstream_password",))  # on no command line


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Invalid(f"tiffin registry: {message}; see 'tiffin registry serve --help'")


def read(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[str, Options]:
    """The command (serve, gc) and its options. Raises Invalid."""
    parser = _Parser(prog="tiffin registry", add_help=False, allow_abbrev=False)
    parser.add_argument("command", choices=("serve", "gc"))
    parser.add_argument("--config", default=None)
    for item in fields(Options):
        if item.name in _SECRET:
            continue
        kind: dict[str, Any] = {"action": "append"} if item.name in _LISTS else {}
        if item.name in _SWITCHES:
            kind = {"nargs": "?", "const": "true"}
        parser.add_argument(f"--{item.name.replace('_', '-')}", dest=item.name, default=argparse.SUPPRESS, **kind)
    given = vars(parser.parse_args(list(arguments)))
    command, path = given.pop("command"), given.pop("config")
    environment = os.environ if environment is None else environment
    path = path or environment.get(f"{_PREFIX}CONFIG")
    values = {**_from_file(path), **_from_environment(environment), **given}
    made = Options(**{name: _value(name, value) for name, value in values.items()})
    _check(made)
    return command, made


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    names = {item.name: environment.get(_PREFIX + item.name.upper()) for item in fields(Options)}
    found: dict[str, Any] = {name: text for name, text in names.items() if text}
    return {name: text.split(",") if name in _LISTS else text for name, text in found.items()}


def _from_file(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise Invalid(f"cannot read the configuration {path}: {error}") from error
    known = {item.name.replace("_", "-"): item.name for item in fields(Options)}
    if unknown := sorted(set(document) - set(known)):
        raise Invalid(f"{path}: there is no option {unknown[0]!r}; the options are those of 'tiffin registry serve'")
    return {known[key]: value for key, value in document.items()}


def _value(name: str, value: Any) -> Any:
    flag = f"--{name.replace('_', '-')}"
    if name in _LISTS:
        listed = value if isinstance(value, list) else [value]
        return [str(item) for item in listed]
    if name in _SWITCHES:
        if str(value).lower() not in ("true", "false", "1", "0"):
            raise Invalid(f"{flag}={value}: true or false")
        return str(value).lower() in ("true", "1")
    if name in _SECONDS:
        return float(_scaled(flag, value, _UNITS, "a duration such as 90s, 15m, 24h, 7d"))
    if name in _BYTES | _NUMBERS:
        return _scaled(flag, value, _SIZES if name in _BYTES else {"": 1}, "a number such as 500, 20g")
    if not isinstance(value, str):
        raise Invalid(f"{flag}={value}: must be text")
    return value


def _scaled(flag: str, value: Any, units: Mapping[str, int], wanted: str) -> int:
    match = re.fullmatch(r"(\d{1,15})([a-z]?)", str(value).strip().lower())
    if match is None or match[2] not in units:
        raise Invalid(f"{flag}={value}: {wanted}")
    return int(match[1]) * units[match[2]]


def _check(options: Options) -> None:
    if not options.storage:
        raise Invalid("--storage is missing: a directory, or s3://BUCKET/PREFIX")
    if bool(options.tls_cert) != bool(options.tls_key):
        raise Invalid("--tls-cert and --tls-key belong together")
    if (options.access or options.tokens) and not options.htpasswd:
        raise Invalid("--access and --tokens are for users: give --htpasswd too")
    if options.token_realm and not options.token_realm.startswith(("http://", "https://")):
        raise Invalid(f"--token-realm={options.token_realm}: give the URL of /token as clients reach it")
    if options.log_level not in _LEVELS:
        raise Invalid(f"--log-level={options.log_level}: one of {', '.join(_LEVELS)}")
    if (options.upstream_user or options.upstream_password_file) and len(options.upstream) != 1:
        raise Invalid("--upstream-user is for one --upstream; --upstream-auth has the users of several")
    for address in [*options.listen, *filter(None, [options.metrics_listen])]:
        place(address)


def place(address: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, [IPv6]:PORT or :PORT (every address). Raises Invalid."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535 or (":" in host and not re.fullmatch(r"\[[^\]]+\]", host)):
        raise Invalid(f"cannot listen on {address!r}: give HOST:PORT")
    return host.strip("[]"), int(port)
