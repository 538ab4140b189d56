"""Seccomp filters: an OCI `linux.seccomp` object assembled into the BPF program that the kernel runs.

libseccomp's meaning, where profiles rely on it: an unconditional rule for a call beats conditional ones; several
conditions on one argument are alternatives; names that an architecture lacks are ignored; the native architecture is
always included. And runc's: where the default denies, a number above the highest that the profile names for that
architecture gives ENOSYS, so that a C library newer than the profile falls back instead of failing with EPERM.
"""

from __future__ import annotations

import marshal

from . import bpf, seccomp_numbers
from .bpf import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

KILL_PROCESS = 0x80000000
KILL_THREAD = 0x00000000
ERRNO = 0x00050000
TRACE = 0x7FF00000
ALLOW = 0x7FFF0000
ACTIONS = {
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": ALLOW,
}
OPERATORS = frozenset("SCMP_CMP_" + name for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
# a tracer that lets unknown calls pass must see them; only denial hides a new call from a C library's fallback
PERMISSIVE = frozenset(("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"))
EPERM = 1
ENOSYS = 38
EINVAL = 22
SKIPPED_BY_TRACER = 0xFFFFFFFF

Condition = tuple[int, str, int, int]  # argument, operator, value, second value
Rule = tuple[int, tuple[Condition, ...]]  # what the filter returns, and when


def assemble(seccomp: Mapping[str, Any]) -> bytes:
    """The filter as struct sock_filter[], for an OCI linux.seccomp object. Raises OSError EINVAL with the reason."""
    default_name = str(seccomp.get("defaultAction", ""))
    default = _action(default_name, seccomp.get("defaultErrnoRet"))
    unknown = default
    if default_name not in PERMISSIVE and default != ERRNO | ENOSYS:
        unknown = ERRNO | ENOSYS
    rules = seccomp.get("syscalls") or ()
    sections: dict[int, list[tuple[int, Program]]] = {}
    for architecture in _architectures(seccomp.get("architectures") or ()):
        intervals = sections.setdefault(seccomp_numbers.AUDIT[architecture], [])
        by_number = _rules_by_number(rules, architecture, default)
        base = seccomp_numbers.X32_BIT if architecture == "x32" else 0
        if architecture == "x32" and not intervals:
            intervals.append((0, [bpf.returns(KILL_PROCESS)]))
        intervals.extend(_intervals(by_number, base, default, unknown, bits=64 if base else _bits(architecture)))
    program: Program = [bpf.load(bpf.ARCHITECTURE_OFFSET)]
    for audit, intervals in sections.items():
        if audit == seccomp_numbers.AUDIT["x86_64"]:
            intervals = _close_x86_64(intervals, default)
        program += bpf.skip_unless_equal(audit, [bpf.load(bpf.NUMBER_OFFSET), *bpf.search(intervals)])
    program.append(bpf.returns(KILL_PROCESS))
    return bpf.pack(program)


_cache: dict[bytes, bytes] = {}
CACHED = 64


def assemble_cached(seccomp: Mapping[str, Any]) -> bytes:
    """As `assemble`, remembered for this process: containers mostly share a profile."""
    # version 2 has no references, so that equal objects give equal bytes
    key = marshal.dumps(dict(seccomp), 2)
    found = _cache.get(key)
    if found is None:
        found = assemble(seccomp)
        while len(_cache) >= CACHED:
            del _cache[next(iter(_cache))]
        _cache[key] = found
    return found


def flags(seccomp: Mapping[str, Any]) -> int:
    """SECCOMP_FILTER_FLAG_* bits. Without `flags` in the object speculation stays as it is, as runc 1.2 has it."""
    if seccomp.get("flags") is None:
        return FLAGS["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
    bits = 0
    for name in seccomp["flags"]:
        if name not in FLAGS:
            raise OSError(EINVAL, f"seccomp flag {name!r} is not supported")
        bits |= FLAGS[name]
    return bits


def _bits(architecture: str) -> int:
    return 32 if architecture in ("i386", "arm") else 64


def _architectures(names: Iterable[str]) -> list[str]:
    """Each once, x86_64 before x32 since they share a section."""
    native = seccomp_numbers.native()
    wanted = {native}
    for name in names:
        if name in seccomp_numbers.SCMP:
            wanted.add(seccomp_numbers.SCMP[name] or native)
        elif name not in seccomp_numbers.FOREIGN:
            raise OSError(EINVAL, f"string {name} is not a valid arch for seccomp")
    return [name for name in seccomp_numbers.AUDIT if name in wanted]


def _action(name: str, errno: object) -> int:
    if name not in ACTIONS:
        raise OSError(EINVAL, f"string {name} is not a valid action for seccomp")
    value = ACTIONS[name]
    if value not in (ERRNO, TRACE):
        return value
    if errno is None:
        return value | EPERM
    if not isinstance(errno, int) or not 0 <= errno <= 0xFFFF:
        raise OSError(EINVAL, f"seccomp errnoRet {errno!r} is out of range")
    return value | errno


def _rules_by_number(rules: Iterable[Mapping[str, Any]], architecture: str, default: int) -> dict[int, list[Rule]]:
    """number -> rules in the profile's order; a number whose rules all say the default has an empty list."""
    numbers = seccomp_numbers.table(architecture)
    found: dict[int, list[Rule]] = {}
    for rule in rules:
        action = _action(str(rule.get("action", "")), rule.get("errnoRet"))
        alternatives = _alternatives(rule.get("args") or ())
        for name in rule.get("names") or ():
            targets = [(numbers[name], alternatives)] if name in numbers else []
            if architecture == "i386" and alternatives == [()]:
                targets += _multiplexed(name, numbers)
            for number, conditions in targets:
                wanted = found.setdefault(number, [])
                if action != default:
                    wanted += [(action, condition) for condition in conditions]
    return found


def _multiplexed(name: str, numbers: Mapping[str, int]) -> list[tuple[int, list[tuple[Condition, ...]]]]:
    if name in seccomp_numbers.SOCKETCALL:
        call: Condition = (0, "SCMP_CMP_EQ", seccomp_numbers.SOCKETCALL[name], 0)
        return [(numbers["socketcall"], [(call,)])]
    if name in seccomp_numbers.IPC:
        # the upper half is a version that the kernel strips
        call = (0, "SCMP_CMP_MASKED_EQ", 0xFFFF, seccomp_numbers.IPC[name])
        return [(numbers["ipc"], [(call,)])]
    return []


def _alternatives(arguments: Iterable[Mapping[str, Any]]) -> list[tuple[Condition, ...]]:
    conditions: list[Condition] = []
    for argument in arguments:
        index, operator = argument.get("index", 0), argument.get("op", "")
        if operator not in OPERATORS:
            raise OSError(EINVAL, f"string {operator} is not a valid operator for seccomp")
        if not isinstance(index, int) or not 0 <= index <= 5:
            raise OSError(EINVAL, f"seccomp argument index {index!r} is out of range")
        conditions.append((index, operator, int(argument.get("value", 0)), int(argument.get("valueTwo", 0))))
    if len({condition[0] for condition in conditions}) < len(conditions):
        return [(condition,) for condition in conditions]
    return [tuple(conditions)]


def _intervals(
    rules: Mapping[int, list[Rule]], base: int, default: int, unknown: int, *, bits: int
) -> list[tuple[int, Program]]:
    """Programs by the number they start at, equal neighbours merged."""
    default_program, unknown_program = [bpf.returns(default)], [bpf.returns(unknown)]
    found: list[tuple[int, Program]] = []

    def push(start: int, program: Program) -> None:
        if not found or found[-1][1] != program:
            found.append((base + start, program))

    for lowest, highest in ((0, seccomp_numbers.ARM_PRIVATE), (seccomp_numbers.ARM_PRIVATE, seccomp_numbers.X32_BIT)):
        named = sorted(number for number in rules if lowest <= number < highest)
        if not named and lowest:
            continue
        following = lowest
        for number in named:
            # an unlisted number in a denying profile's range is still a known call: the default answers it
            if number > following:
                push(following, unknown_program if lowest and following == lowest else default_program)
            push(number, _leaf(rules[number], default, bits))
            following = number + 1
        push(following, unknown_program)
    return found


def _close_x86_64(intervals: list[tuple[int, Program]], default: int) -> list[tuple[int, Program]]:
    """x32 calls where the profile has no x32; and number -1, which a tracer sets to skip a call."""
    closed = list(intervals)
    if closed[-1][0] < seccomp_numbers.X32_BIT:
        closed.append((seccomp_numbers.X32_BIT, [bpf.returns(KILL_PROCESS)]))
    closed.append((SKIPPED_BY_TRACER, [bpf.returns(default)]))
    return closed


def _leaf(rules: list[Rule], default: int, bits: int) -> Program:
    for action, conditions in rules:
        if not conditions:
            return [bpf.returns(action)]
    program: Program = []
    for action, conditions in rules:
        program += [*_guarded(conditions, bits), bpf.returns(action)]
    return [*program, bpf.returns(default)]


def _guarded(conditions: tuple[Condition, ...], bits: int) -> Program:
    """Falls through when all conditions hold, else skips one instruction, the return that follows."""
    program: Program = []
    for condition in reversed(conditions):
        program = _condition(condition, bits, skip_when_false=len(program) + 1) + program
    return program


TRUE, FALSE = -1, -2  # labels: what follows this condition, and the instruction after the guarded return


def _condition(condition: Condition, bits: int, skip_when_false: int) -> Program:
    argument, operator, value, second = condition
    low_offset = bpf.ARGUMENTS_OFFSET + 8 * argument
    low, high = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
    body = _compare_low(operator, low, second & 0xFFFFFFFF, low_offset)
    if bits == 64:
        body = _compare_high(operator, high, second >> 32 & 0xFFFFFFFF, low_offset + 4) + body
    resolved: Program = []
    for position, (code, if_true, if_false, k) in enumerate(body):
        end = len(body) - position - 1
        target = {TRUE: end, FALSE: end + skip_when_false}
        resolved.append((code, target.get(if_true, if_true), target.get(if_false, if_false), k))
    return resolved


def _compare_low(operator: str, value: int, second: int, offset: int) -> Program:
    load = bpf.load(offset)
    match operator:
        case "SCMP_CMP_EQ":
            return [load, (bpf.JUMP_EQ, TRUE, FALSE, value)]
        case "SCMP_CMP_NE":
            return [load, (bpf.JUMP_EQ, FALSE, TRUE, value)]
        case "SCMP_CMP_GT":
            return [load, (bpf.JUMP_GT, TRUE, FALSE, value)]
        case "SCMP_CMP_GE":
            return [load, (bpf.JUMP_GE, TRUE, FALSE, value)]
        case "SCMP_CMP_LT":
            return [load, (bpf.JUMP_GE, FALSE, TRUE, value)]
        case "SCMP_CMP_LE":
            return [load, (bpf.JUMP_GT, FALSE, TRUE, value)]
        case _:
            return [load, (bpf.AND, 0, 0, value), (bpf.JUMP_EQ, TRUE, FALSE, second & value)]


def _compare_high(operator: str, value: int, second: int, offset: int) -> Program:
    """The upper half decides unless it is equal; then the lower half, which follows, does."""
    load = bpf.load(offset)
    match operator:
        case "SCMP_CMP_EQ":
            return [load, (bpf.JUMP_EQ, 0, FALSE, value)]
        case "SCMP_CMP_NE":
            return [load, (bpf.JUMP_EQ, 0, TRUE, value)]
        case "SCMP_CMP_GT" | "SCMP_CMP_GE":
            return [load, (bpf.JUMP_GT, TRUE, 0, value), (bpf.JUMP_EQ, 0, FALSE, value)]
        case "SCMP_CMP_LT" | "SCMP_CMP_LE":
            return [load, (bpf.JUMP_GT, FALSE, 0, value), (bpf.JUMP_EQ, 0, TRUE, value)]
        case _:
            if not value:
                return []
            return [load, (bpf.AND, 0, 0, value), (bpf.JUMP_EQ, 0, FALSE, second & value)]
