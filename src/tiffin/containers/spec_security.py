"""Capabilities, seccomp, labels and no-new-privileges of a specification, from docker's options."""

import json
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from typing import Any

from tiffin.errors import Invalid
from tiffin.linux import capabilities, seccomp_profile
from tiffin.model.container_host import HostConfig


def capabilities_of(host: HostConfig) -> list[str]:
    """The bounding set, in the kernel's order."""
    return _tweaked(host.cap_add or (), host.cap_drop or (), host.privileged)


@lru_cache(64)
def _own() -> int:
    return capabilities.own()


def _tweaked(add: tuple[str, ...], drop: tuple[str, ...], privileged: bool) -> list[str]:
    return list(_tweaked_cached(add, drop, privileged))


@lru_cache(64)
def _tweaked_cached(add: tuple[str, ...], drop: tuple[str, ...], privileged: bool) -> tuple[str, ...]:
    return tuple(
        capabilities.tweak(
            [name.removeprefix("CAP_") for name in add],
            [name.removeprefix("CAP_") for name in drop],
            privileged=privileged,
            available=_own(),
        )
    )


def capability_sets(bounding: list[str], uid: int) -> dict[str, list[str]]:
    """Nothing inheritable, nothing ambient; a user other than root has only the bounding set (CVE-2022-24769)."""
    held = bounding if uid == 0 else []
    return {"bounding": bounding, "permitted": held, "effective": held, "inheritable": [], "ambient": []}


def options(host: HostConfig) -> Iterator[tuple[str, str]]:
    """`--security-opt` as pairs; `=` separates, older clients write `:`."""
    for text in host.security_opt or ():
        separator = "=" if "=" in text else ":"
        key, _, value = text.partition(separator)
        yield key, value


def no_new_privileges(host: HostConfig) -> bool:
    return any(key == "no-new-privileges" and value in ("", "true") for key, value in options(host))


def _option(host: HostConfig, wanted: str) -> str | None:
    found = None
    for key, value in options(host):
        if key == wanted:
            found = value
    return found


def seccomp(host: HostConfig, bounding: list[str]) -> dict[str, Any] | None:
    """The profile resolved for these capabilities; None for no filter. Raises Invalid for a profile that can't be read.

    The CLI sends a profile's text inline. A privileged container has a filter only when it names one.
    """
    profile = _option(host, "seccomp")
    if profile == "unconfined" or (profile is None and host.privileged):
        return None
    return _resolved(profile if profile not in (None, "builtin", "default") else None, tuple(bounding))


@lru_cache(64)
def _resolved(profile: str | None, bounding: tuple[str, ...]) -> dict[str, Any]:
    if profile is None:
        document = default_profile()
    else:
        try:
            document = json.loads(profile)
        except (ValueError, RecursionError) as error:
            raise Invalid(f"Decoding seccomp profile failed: {error}") from error
        if not isinstance(document, dict):
            raise Invalid("Decoding seccomp profile failed: it is not a JSON object")
    try:
        return seccomp_profile.resolve(document, bounding)
    except OSError as error:
        raise Invalid(f"seccomp profile: {error.strerror}") from error
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise Invalid(f"Decoding seccomp profile failed: {error}") from error


@lru_cache(1)
def default_profile() -> dict[str, Any]:
    """Docker's default profile, shipped with the package."""
    text = (resources.files("tiffin.runtime") / "seccomp-default.json").read_bytes()
    profile: dict[str, Any] = json.loads(text)
    return profile


@lru_cache(1)
def apparmor_enabled() -> bool:
    try:
        with open("/sys/module/apparmor/parameters/enabled", encoding="ascii") as file:
            return file.read().startswith("Y")
    except OSError:
        return False


def apparmor(host: HostConfig) -> str | None:
    """A profile that the user names; the kernel must have it loaded."""
    profile = _option(host, "apparmor")
    return profile if profile and profile != "unconfined" and apparmor_enabled() else None


def process_label(host: HostConfig) -> str | None:
    return None if not selinux_enabled() else _label(host, "system_u", "system_r", "container_t")


def mount_label(host: HostConfig) -> str | None:
    return None if not selinux_enabled() else _label(host, "system_u", "object_r", "container_file_t")


def _label(host: HostConfig, user: str, role: str, kind: str) -> str | None:
    parts = {"user": user, "role": role, "type": kind, "level": "s0"}
    for key, value in options(host):
        if key == "label":
            if value == "disable":
                return None
            name, _, setting = value.partition(":")
            if name in parts:
                parts[name] = setting
    return ":".join(parts.values())


@lru_cache(1)
def selinux_enabled() -> bool:
    try:
        with open("/sys/fs/selinux/enforce", encoding="ascii") as file:
            return bool(file.read())
    except OSError:
        return False
