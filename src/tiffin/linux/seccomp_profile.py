"""Docker's seccomp profile format resolved to an OCI `linux.seccomp` object.

A profile is OCI's object with `archMap` for the architectures, and rules that hold only with or without capabilities,
on some architectures, or from a kernel version on (`includes`, `excludes`).
See https://docs.docker.com/engine/security/seccomp.
"""

from __future__ import annotations

import os

from . import seccomp_numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

EINVAL = 22
COPIED = ("defaultAction", "defaultErrnoRet", "flags", "listenerPath", "listenerMetadata")


def resolve(
    profile: Mapping[str, Any],
    capabilities: Collection[str],
    kernel: tuple[int, int] | None = None,
    architecture: str | None = None,
) -> dict[str, Any]:
    """The rules that hold for a process whose bounding set is `capabilities` ("CAP_…" names).

    `kernel` is (version, patchlevel), `architecture` as in seccomp_numbers.AUDIT; both default to this machine's.
    A plain OCI object passes unchanged. Raises OSError EINVAL where the profile contradicts itself.
    """
    kernel = kernel or running_kernel()
    architecture = architecture or seccomp_numbers.native()
    if profile.get("architectures") and profile.get("archMap"):
        raise OSError(
            EINVAL,
            "use either 'architectures' or 'archMap': both are specified in the seccomp profile, at most one may be",
        )
    found: dict[str, Any] = {name: profile[name] for name in COPIED if profile.get(name) is not None}
    architectures = _architectures(profile, architecture)
    if architectures:
        found["architectures"] = architectures
    found["syscalls"] = [
        _rule(rule) for rule in profile.get("syscalls") or () if _holds(rule, capabilities, kernel, architecture)
    ]
    return found


def running_kernel() -> tuple[int, int]:
    version, patchlevel = os.uname().release.split(".")[:2]
    digits = "".join(character for character in patchlevel if character.isdigit())
    return int(version), int(digits or 0)


def _architectures(profile: Mapping[str, Any], architecture: str) -> list[str]:
    for entry in profile.get("archMap") or ():
        if seccomp_numbers.SCMP.get(entry.get("architecture", "")) == architecture:
            return [entry["architecture"], *(entry.get("subArchitectures") or ())]
    return list(profile.get("architectures") or ())


def _holds(rule: Mapping[str, Any], capabilities: Collection[str], kernel: tuple[int, int], architecture: str) -> bool:
    go_name = seccomp_numbers.GO[architecture]
    excludes, includes = rule.get("excludes") or {}, rule.get("includes") or {}
    if go_name in (excludes.get("arches") or ()):
        return False
    if any(name in capabilities for name in excludes.get("caps") or ()):
        return False
    if excludes.get("minKernel") and kernel >= _version(excludes["minKernel"]):
        return False
    if includes.get("arches") and go_name not in includes["arches"]:
        return False
    if not all(name in capabilities for name in includes.get("caps") or ()):
        return False
    return not (includes.get("minKernel") and kernel < _version(includes["minKernel"]))


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    names = list(rule.get("names") or ())
    if rule.get("name"):
        if names:
            raise OSError(
                EINVAL, "use either 'name' or 'names': both are specified in the seccomp profile, at most one may be"
            )
        names = [rule["name"]]
    found: dict[str, Any] = {"names": names, "action": rule.get("action", "")}
    if rule.get("errnoRet") is not None:
        found["errnoRet"] = rule["errnoRet"]
    if rule.get("args"):
        found["args"] = [dict(argument) for argument in rule["args"]]
    return found


def _version(text: str) -> tuple[int, int]:
    numbers = text.split(".")
    if len(numbers) != 2 or not all(number.isdigit() for number in numbers):
        raise OSError(EINVAL, f"invalid kernel version {text!r} in the seccomp profile: expected VERSION.PATCHLEVEL")
    return int(numbers[0]), int(numbers[1])
