"""Reads the command line and daemon.json into a `Config`, and refuses what contradicts itself, in dockerd's words."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, NoReturn

from tiffin import __version__
from tiffin.daemon.config import DEFAULT_FILE, Config
from tiffin.errors import Invalid
from tiffin.registry.hosts import check_mirror

_LEVELS = ("trace", "debug", "info", "warn", "warning", "error", "fatal")
_IGNORED_KEYS = frozenset(("builder", "containerd", "containerd-namespace", "raw-logs", "$schema"))

# accepted silently they would promise something about networks or security that does not hold
_UNSUPPORTED = frozenset(
    (
        "selinux_enabled",
        "userns_remap",
        "metrics_addr",
        "storage_opts",
        "default_gateway",
        "default_gateway_v6",
        "ip_forward",
        "iptables",
        "ip6tables",
        "host_gateway_ips",
    )
)

IDLE = frozenset(
    (
        "init_path",
        "userland_proxy",
        "features",
    )
)
"""Accepted, as they tune what works otherwise; the daemon says that they have no effect."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Invalid(f"tiffind: {message}; see 'tiffind --help'")


def read(arguments: Sequence[str]) -> Config:
    """The configuration. Raises Invalid for anything that can't be what was meant; exits for --help, --version."""
    given = vars(_parser().parse_args(list(arguments)))
    path = given.get("config_file")
    from_file = _read_file(Path(path or DEFAULT_FILE), required=path is not None)
    _refuse_conflicts(given, from_file)
    merged = {**from_file, **given}
    for name in ("http-proxy", "https-proxy", "no-proxy"):
        if name in merged.get("proxies", {}):
            merged.setdefault(name.replace("-", "_"), merged["proxies"][name])
    config = Config(**merged)
    check(config)
    return config


def reread(config: Config) -> Config:
    """The configuration with the file's current values for what can change while running: debug, labels and so on."""
    from_file = _read_file(Path(config.config_file), required=False)
    names = {"debug", "labels", "live_restore", "shutdown_timeout"}
    names |= {"insecure_registries", "registry_mirrors", "mirrors"}
    kept = {item.name: getattr(config, item.name) for item in fields(Config)}
    renewed = Config(**{**kept, **{name: from_file[name] for name in names if name in from_file}})
    check(renewed)
    return renewed


def check(config: Config) -> None:
    """Raise Invalid when values can't work."""
    if config.log_level not in _LEVELS:
        raise Invalid(f"invalid log level {config.log_level!r}; choose one of {', '.join(_LEVELS)}")
    for item in fields(Config):
        if item.name in _UNSUPPORTED and getattr(config, item.name) != _default(item):
            raise Invalid(f"--{_flag(item)} is not supported by this version; leave it out")
    for host in config.hosts:
        if host.partition("://")[0] not in ("unix", "tcp", "fd") or "://" not in host:
            raise Invalid(f"invalid host {host!r}; give unix://PATH, tcp://ADDRESS:PORT or fd://")
    for pool in config.default_address_pools:
        if not isinstance(pool, dict) or "base" not in pool or not str(pool.get("size", "")).isdigit():
            raise Invalid(f"invalid default-address-pool {pool!r}; give base=172.30.0.0/16,size=24")
    if config.storage_driver not in ("", "overlay", "overlay2", "copy", "vfs", "erofs"):
        raise Invalid(f"unknown storage driver {config.storage_driver!r}; choose erofs, overlay or copy")
    _check_registries(config)
    if config.default_cgroupns_mode not in ("", "host", "private"):
        raise Invalid("default-cgroupns-mode must be host or private")
    if config.default_ipc_mode not in ("private", "shareable"):
        raise Invalid(f'invalid default ipc mode "{config.default_ipc_mode}"; choose private or shareable')
    for option in config.exec_opts:
        if option not in ("native.cgroupdriver=cgroupfs",):
            raise Invalid(f"invalid exec-opt {option!r}; the cgroup driver is always cgroupfs")


def _check_registries(config: Config) -> None:
    for url in config.registry_mirrors:
        check_mirror(url)
    for host, urls in config.mirrors.items():
        if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
            raise Invalid(f"mirrors: {host}: give a list of URLs")
        for url in urls:
            check_mirror(url, path=True)
    for name in ("max_concurrent_downloads", "max_concurrent_uploads", "max_download_attempts"):
        if getattr(config, name) < 1:
            raise Invalid(f"invalid {name.replace('_', ' ')}: {getattr(config, name)}: must be at least 1")


def without_effect(config: Config) -> list[str]:
    """The options given that change nothing."""
    return [
        _flag(item) for item in fields(Config) if item.name in IDLE and getattr(config, item.name) != _default(item)
    ]


def _flag(item: Field[Any]) -> str:
    return str(item.metadata["flag"]) or item.name.replace("_", "-")


def _key(item: Field[Any]) -> str:
    key = item.metadata["key"]
    return item.name.replace("_", "-") if key is None else str(key)


def _default(item: Field[Any]) -> Any:
    return {} if callable(item.default_factory) else item.default


def _parser() -> _Parser:
    parser = _Parser(
        prog="tiffind", description="The tiffin daemon.", argument_default=argparse.SUPPRESS, allow_abbrev=False
    )
    parser.add_argument("-v", "--version", action="version", version=f"tiffind version {__version__}")
    for item in fields(Config):
        if not item.metadata["flagged"]:
            continue
        names = [f"--{_flag(item)}"]
        if item.metadata["short"]:
            names.insert(0, f"-{item.metadata['short']}")
        parser.add_argument(*names, dest=item.name, help=item.metadata["help"], **_behaviour(item))
    return parser


def _behaviour(item: Field[Any]) -> dict[str, Any]:
    default = _default(item)
    if isinstance(default, bool):
        return {"nargs": "?", "const": True, "type": _boolean}
    if isinstance(default, int):
        return {"type": int}
    if item.name == "default_address_pools":
        return {"action": _Append, "type": _pool}
    if isinstance(default, tuple):
        return {"action": _Append}
    if item.name == "runtimes":
        return {"action": _Put, "convert": lambda value: {"path": value}}
    if item.name == "default_network_opts":
        return {"action": _Put, "convert": _option_of_driver}
    if isinstance(default, dict):
        return {"action": _Put, "convert": str}
    return {}


class _Append(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, value: Any, option: str | None = None) -> None:
        setattr(namespace, self.dest, (*getattr(namespace, self.dest, ()), value))


class _Put(argparse.Action):
    """Collects name=value."""

    def __init__(self, *args: Any, convert: Callable[[str], Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._convert = convert

    def __call__(self, parser: Any, namespace: Any, value: Any, option: str | None = None) -> None:
        name, equals, text = str(value).partition("=")
        if not equals:
            raise Invalid(f"tiffind: {option} {value}: give name=value")
        before, made = getattr(namespace, self.dest, {}), self._convert(text)
        if isinstance(made, dict):  # several of one name add up
            made = {**before.get(name, {}), **made}
        setattr(namespace, self.dest, {**before, name: made})


def _boolean(text: str) -> bool:
    if text.lower() in ("1", "t", "true"):
        return True
    if text.lower() in ("0", "f", "false"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def _option_of_driver(text: str) -> dict[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise Invalid(f"tiffind: --default-network-opt: {text!r} is not option=value after the driver")
    return {key: value}


def _pool(text: str) -> dict[str, Any]:
    pairs = dict(pair.split("=", 1) for pair in text.split(",") if "=" in pair)
    return {key: int(value) if value.isdigit() else value for key, value in pairs.items()}


def _read_file(path: Path, *, required: bool) -> dict[str, Any]:
    """Values by field. Raises Invalid for a file that is missing though named, malformed, or has unknown keys."""
    where = f"unable to configure the Docker daemon with file {path}"
    try:
        text = path.read_text()
    except FileNotFoundError:
        if required:
            raise Invalid(f"{where}: open {path}: no such file or directory") from None
        return {}
    except (OSError, UnicodeError) as error:
        raise Invalid(f"{where}: {error}") from error
    try:
        given = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise Invalid(f"{where}: {error}") from error
    if not isinstance(given, dict):
        raise Invalid(f"{where}: not a JSON object")
    known = {_key(item): item for item in fields(Config) if _key(item)}
    unknown = [key for key in given if key not in known and key not in _IGNORED_KEYS]
    if unknown:
        raise Invalid(f"{where}: the following directives don't match any configuration option: {', '.join(unknown)}")
    return {known[key].name: _typed(where, key, known[key], value) for key, value in given.items() if key in known}


def _typed(where: str, key: str, item: Field[Any], value: Any) -> Any:
    default = _default(item)
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    if type(value) is type(default):
        return value
    if item.name == "default_shm_size" and isinstance(value, int):
        return str(value)
    raise Invalid(f"{where}: {key}: {json.dumps(value)} is not a {_KINDS[type(default)]}")


_KINDS = {bool: "boolean", int: "number", str: "string", tuple: "list", dict: "object"}


def _refuse_conflicts(given: dict[str, Any], from_file: dict[str, Any]) -> None:
    """A directive may come from one place only, as dockerd rules: silently preferring one hides mistakes."""
    both = [item for item in fields(Config) if item.name in given and item.name in from_file]
    if both:
        listed = ", ".join(
            f"{_key(item)}: (from flag: {_spelled(given[item.name])}, from file: {_spelled(from_file[item.name])})"
            for item in both
        )
        raise Invalid(
            "unable to configure the Docker daemon with file: the following directives are specified both as a flag "
            f"and in the configuration file: {listed}"
        )


def _spelled(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{' '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
