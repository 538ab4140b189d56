"""Device rules of a control group: OCI's list reduced to what it means, then v1's lines or a v2 eBPF program."""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

EINVAL = 22
ACCESS = {"r": 2, "w": 4, "m": 1}  # BPF_DEVCG_ACC_*
ANY = -1

Key = tuple[str, int, int]  # "b" or "c", major or ANY, minor or ANY

# OCI's default devices, which a container may always use (config-linux.md, "Default Devices")
DEFAULT: tuple[dict[str, Any], ...] = tuple(
    {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}
    for kind, major, minor, access in (
        ("c", ANY, ANY, "m"),
        ("b", ANY, ANY, "m"),
        *(("c", 1, minor, "rwm") for minor in (3, 8, 7, 5, 9)),
        ("c", 5, 0, "rwm"),
        ("c", 136, ANY, "rwm"),
        ("c", 5, 2, "rwm"),
        ("c", 10, 200, "rwm"),
    )
)


class Policy:
    """What a list of rules comes to: a default, and access bits by device that differ from it."""

    __slots__ = ("allow", "exceptions")

    def __init__(self) -> None:
        self.allow = False
        self.exceptions: dict[Key, int] = {}

    def apply(self, rule: Mapping[str, Any]) -> None:
        """One OCI rule, as the kernel's v1 controller takes it. Raises OSError EINVAL."""
        allow = bool(rule.get("allow"))
        kind = rule.get("type") or "a"
        access = _access(rule.get("access") or "rwm")
        if kind == "a":
            if rule.get("major", ANY) not in (ANY, None) or rule.get("minor", ANY) not in (ANY, None):
                raise OSError(EINVAL, "a device rule of type a takes no major or minor")
            self.allow = allow
            self.exceptions.clear()
            return
        # u is c in a rule; p (a FIFO) is no device and has no rule in the kernel
        if kind not in ("b", "c", "u"):
            raise OSError(EINVAL, f"invalid device type {kind!r} in a cgroup rule")
        key = ("b" if kind == "b" else "c", _number(rule.get("major")), _number(rule.get("minor")))
        bits = self.exceptions.get(key, 0)
        bits = bits | access if allow != self.allow else bits & ~access
        if bits:
            self.exceptions[key] = bits
        else:
            self.exceptions.pop(key, None)


def policy(rules: Iterable[Mapping[str, Any]]) -> Policy:
    found = Policy()
    for rule in rules:
        found.apply(rule)
    return found


def v1_writes(policy: Policy) -> list[tuple[str, str]]:
    """(file, line) in order, for a group that has no children yet."""
    first = ("devices.allow", "a") if policy.allow else ("devices.deny", "a")
    file = "devices.deny" if policy.allow else "devices.allow"
    return [first] + [(file, _line(key, bits)) for key, bits in policy.exceptions.items()]


def program(policy: Policy) -> bytes:
    """struct bpf_insn[] for BPF_PROG_TYPE_CGROUP_DEVICE: returns 1 to allow. See <linux/bpf.h>, bpf_cgroup_dev_ctx."""
    code = [
        _instruction(0x61, 2, 1, 0),  # r2 = access_type
        _instruction(0xBC, 3, 2),  # r3 = r2
        _instruction(0x54, 2, 0, 0, 0xFFFF),  # the lower half is the kind,
        _instruction(0x74, 3, 0, 0, 16),  # the upper what is wanted
        _instruction(0x61, 4, 1, 4),  # r4 = major
        _instruction(0x61, 5, 1, 8),  # r5 = minor
    ]
    for key, bits in policy.exceptions.items():
        code += _exception(key, bits, denies=policy.allow)
    code += [_instruction(0xB7, 0, 0, 0, int(policy.allow)), _instruction(0x95)]
    return b"".join(code)


def _exception(key: Key, bits: int, *, denies: bool) -> list[bytes]:
    kind, major, minor = key
    tests: list[tuple[int, int, int]] = [(0x55, 2, 1 if kind == "b" else 2)]  # skip unless equal
    if major != ANY:
        tests.append((0x55, 4, major))
    if minor != ANY:
        tests.append((0x55, 5, minor))
    body: list[bytes] = []
    # an allowed device must cover all that is wanted; a denied one refuses any part of it
    masked = bits if denies else 7 & ~bits
    if denies or masked:
        skip = 0x15 if denies else 0x55
        body = [_instruction(0xBC, 1, 3), _instruction(0x54, 1, 0, 0, masked), _instruction(skip, 1, 0, 2, 0)]
    body += [_instruction(0xB7, 0, 0, 0, int(not denies)), _instruction(0x95)]
    total = len(tests) + len(body)
    return [_instruction(code, r, 0, total - at - 1, value) for at, (code, r, value) in enumerate(tests)] + body


def _instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("=BBhi", code, target | source << 4, offset, immediate)


def _line(key: Key, bits: int) -> str:
    kind, *numbers = key
    major, minor = ("*" if number == ANY else str(number) for number in numbers)
    return f"{kind} {major}:{minor} " + "".join(letter for letter, bit in ACCESS.items() if bits & bit)


def _number(value: object) -> int:
    return ANY if value is None else int(str(value))


def _access(text: str) -> int:
    # runc passes over other letters, and configurations with "rwa" are about
    return sum(bit for letter, bit in ACCESS.items() if letter in text)
