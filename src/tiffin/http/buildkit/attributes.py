"""What a client says about a build: the frontend's attributes, as dockerfile.v0 reads them.

Source: moby/buildkit frontend/dockerui (config.go, attr.go) and docker buildx's build/opt.go.
"""

from __future__ import annotations

import csv
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from tiffin.build.dockerfile.gotext import parse_bool
from tiffin.build.options import BuildOptions
from tiffin.build.solve.request import CachePlace
from tiffin.build.steps import RunSettings
from tiffin.errors import Invalid
from tiffin.model.container_host import HostConfig
from tiffin.model.platform import Platform, parse_platform

_NETWORKS = {"": "default", "sandbox": "default", "default": "default", "host": "host", "none": "none"}
_PULL = {"": False, "default": False, "local": False, "pull": True}
_RESOURCES = ("memory", "memswap", "cpushares", "cpuperiod", "cpuquota")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """context        a URL, "" for the directory that the client offers as `context_name`
    subdirectory   of a remote context
    sessions       directories that another session offers, by name
    request        `frontend.lint`, `frontend.outline`, `frontend.targets`; "" for a build
    cache_from     caches to import from
    attestations   `provenance`, `sbom` and what was said about each
    platforms      all that are asked for; `options` are the first one's
    """

    options: BuildOptions
    host: HostConfig
    filename: str = "Dockerfile"
    dockerfile_name: str = "dockerfile"
    context_name: str = "context"
    local_dockerfile: bool = False
    context: str = ""
    subdirectory: str = ""
    sessions: Mapping[str, str] = field(default_factory=dict)
    shared_keys: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    pull: bool = False
    request: str = ""
    cache_from: tuple[CachePlace, ...] = ()
    explain: bool = False
    attestations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    platforms: tuple[Platform, ...] = ()


def read_attributes(given: Mapping[str, str]) -> Attributes:
    """Raises Invalid for what can't be understood, Unsupported for what this builder does not do."""
    arguments = _under(given, "build-arg:")
    host, settings = _limits(given)
    platforms = _platforms(given)
    options = BuildOptions(
        target=given.get("target", ""),
        build_args=arguments,
        labels=_under(given, "label:"),
        platform=platforms[0] if platforms else None,
        multi_platform=_flag(given, "multi-platform") or len(platforms) > 1,
        contexts=_under(given, "context:"),
        no_cache=_no_cache(given),
        network=_choice(given, "force-network-mode", _NETWORKS, "invalid netmode"),
        hostname=given.get("hostname", ""),
        settings=settings,
    )
    return Attributes(
        options=options,
        host=host,
        filename=given.get("filename") or "Dockerfile",
        dockerfile_name=given.get("dockerfilekey") or "dockerfile",
        context_name="context",
        local_dockerfile="dockerfilekey" in given,
        context=given.get(given.get("contextkey", "context"), ""),
        subdirectory=given.get("contextsubdir", ""),
        sessions=_under(given, "local-sessionid:"),
        shared_keys=_under(given, "sharedkey:localdir:"),
        metadata=_under(given, "input-metadata:"),
        pull=_choice(given, "image-resolve-mode", _PULL, "invalid image-resolve-mode:"),
        request=given.get("requestid", ""),
        cache_from=_cache_from(given),
        explain=_flag(given, "explain"),
        attestations={name: _pairs(text) for name, text in _under(given, "attest:").items()},
        platforms=platforms,
    )


def _under(given: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name[len(prefix) :]: value for name, value in given.items() if name.startswith(prefix)}


def _choice(given: Mapping[str, str], name: str, choices: Mapping[str, T], words: str) -> T:
    text = given.get(name, "")
    if text not in choices:
        raise Invalid(f"{words} {text}")
    return choices[text]


def _flag(given: Mapping[str, str], name: str) -> bool:
    text = given.get(name, "")
    try:
        return parse_bool(text) if text else False
    except ValueError:
        raise Invalid(f"invalid boolean value for {name}: {text}") from None


def _platforms(given: Mapping[str, str]) -> tuple[Platform, ...]:
    texts = (text.strip() for text in given.get("platform", "").split(","))
    return tuple(dict.fromkeys(parse_platform(text) for text in texts if text))


def _no_cache(given: Mapping[str, str]) -> tuple[str, ...] | None:
    if "no-cache" not in given:
        return None
    return tuple(name for name in given["no-cache"].split(",") if name)


def _number(given: Mapping[str, str], name: str) -> int:
    text = given.get(name, "")
    try:
        return int(text) if text else 0
    except ValueError:
        raise Invalid(f"invalid {name} value: {text}: give a number") from None


def _limits(given: Mapping[str, str]) -> tuple[HostConfig, RunSettings]:
    hosts = tuple(_host(text) for text in _fields(given.get("add-hosts", "")))
    ulimits = tuple(_fields(given.get("ulimit", "")))
    shm_size, parent = _number(given, "shm-size"), given.get("cgroup-parent", "")
    memory, swap, shares, period, quota = (_number(given, name) for name in _RESOURCES)
    for text in ulimits:
        _check_ulimit(text)
    host = HostConfig(
        memory=memory,
        memory_swap=swap,
        cpu_shares=shares,
        cpu_period=period,
        cpu_quota=quota,
        cpuset_cpus=given.get("cpusetcpus", ""),
        cpuset_mems=given.get("cpusetmems", ""),
    )
    return host, RunSettings(hosts=hosts, shm_size=shm_size, ulimits=ulimits, cgroup_parent=parent)


def _host(text: str) -> tuple[str, str]:
    name, equals, address = text.lower().partition("=")
    if not equals:
        raise Invalid(f"failed to parse additional hosts: invalid key-value pair {text}")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise Invalid(f"failed to parse additional hosts: failed to parse IP {address}") from None
    return name, address


def _check_ulimit(text: str) -> None:
    name, _, value = text.partition("=")
    soft, colon, hard = value.partition(":")
    numbers = [soft, hard] if colon else [soft]
    if not name or not all(number.removeprefix("-").isdecimal() for number in numbers):
        raise Invalid(f"failed to parse ulimit: invalid ulimit argument: {text}")


def _fields(text: str) -> list[str]:
    """One line of comma-separated values."""
    return next(csv.reader([text]), []) if text else []


def _pairs(text: str) -> dict[str, str]:
    parts = (part.partition("=") for part in _fields(text))
    return {name: value for name, _, value in parts}


def _cache_from(given: Mapping[str, str]) -> tuple[CachePlace, ...]:
    found = [CachePlace("registry", {"ref": name}) for name in given.get("cache-from", "").split(",") if name]
    text = given.get("cache-imports", "")
    if not text:
        return tuple(found)
    try:
        for entry in json.loads(text):
            # Go's encoding/json writes the fields' names as they are, or in lower case by their tags
            kind = str(entry.get("Type") or entry.get("type") or "")
            attributes = entry.get("Attrs") or entry.get("attrs") or {}
            found.append(CachePlace(kind, {str(name): str(value) for name, value in attributes.items()}))
    except (ValueError, AttributeError, TypeError) as error:
        raise Invalid(f"failed to unmarshal cache-imports ({text!r}): {error}") from error
    return tuple(found)
