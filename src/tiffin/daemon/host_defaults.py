"""What the daemon's options put into containers whose request says nothing about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiffin.daemon.config import Config
from tiffin.errors import Invalid
from tiffin.model.container_host import HostConfig, Ulimit

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def host_defaults(config: Config) -> Callable[[HostConfig], HostConfig]:
    """A function that fills a container's host configuration up. Raises Invalid for options that can't be read."""
    shm_size = size(config.default_shm_size)
    ulimits = tuple(_ulimit(name, value) for name, value in config.default_ulimits.items())
    security = ("no-new-privileges",) if config.no_new_privileges else ()
    seccomp = _seccomp(config.seccomp_profile)

    def fill(host: HostConfig) -> HostConfig:
        given = host.security_opt or ()
        added = [option for option in security if not any(one.startswith(option) for one in given)]
        if seccomp and not host.privileged and not any(one.startswith("seccomp") for one in given):
            added.append(seccomp)
        named = {limit.name for limit in host.ulimits or ()}
        more = tuple(limit for limit in ulimits if limit.name not in named)
        return replace(
            host,
            shm_size=host.shm_size or shm_size,
            ipc_mode=host.ipc_mode or config.default_ipc_mode,
            cgroupns_mode=host.cgroupns_mode or ("" if host.privileged else config.default_cgroupns_mode),
            ulimits=(*(host.ulimits or ()), *more) if more else host.ulimits,
            security_opt=(*given, *added) if added else host.security_opt,
            dns=host.dns or config.dns or host.dns,
            dns_options=host.dns_options or config.dns_opts or host.dns_options,
            dns_search=host.dns_search or config.dns_search or host.dns_search,
        )

    return fill


def size(text: str) -> int:
    """`64M` in bytes. Raises Invalid."""
    number = text.strip().lower().removesuffix("b")
    unit = number[-1:] if number[-1:].isalpha() else ""
    try:
        return int(float(number.removesuffix(unit)) * _UNITS[unit])
    except (ValueError, KeyError) as error:
        raise Invalid(f"invalid size: {text!r}; write 64M") from error


def _ulimit(name: str, value: Any) -> Ulimit:
    """`soft[:hard]` from the command line, `{"Soft": …, "Hard": …}` from the file."""
    try:
        if isinstance(value, Mapping):
            soft, hard = int(value["Soft"]), int(value.get("Hard", value["Soft"]))
        else:
            first, _, second = str(value).partition(":")
            soft, hard = int(first), int(second or first)
    except (KeyError, ValueError) as error:
        raise Invalid(f"invalid default-ulimit {name}={value}: write nofile=1024:2048") from error
    return Ulimit(name=name, hard=hard, soft=soft)


def _seccomp(profile: str) -> str:
    """The security option that a container's request would say the same by."""
    if profile in ("", "builtin", "default"):
        return ""
    if profile == "unconfined":
        return "seccomp=unconfined"
    try:
        return f"seccomp={Path(profile).read_text()}"
    except (OSError, UnicodeError) as error:
        raise Invalid(f"cannot read the seccomp profile {profile}: {error}") from error
