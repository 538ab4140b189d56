"""The assembler's output, run by a small BPF interpreter over tables of (architecture, number, arguments)."""

import json
import struct
from importlib import resources

import pytest

from tiffin.linux import seccomp, seccomp_numbers
from tiffin.linux.capabilities import DEFAULT, NAMES
from tiffin.linux.seccomp_profile import resolve

ALLOW, KILL = seccomp.ALLOW, seccomp.KILL_PROCESS
EPERM, ENOSYS = seccomp.ERRNO | 1, seccomp.ERRNO | 38
X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
NUMBER = {name: seccomp_numbers.table(name) for name in seccomp_numbers.AUDIT}


def run(program: bytes, architecture: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *(arguments + (0,) * 6)[:6])
    instructions = list(struct.iter_unpack("=HBBI", program))
    accumulator, position = 0, 0
    while True:
        code, if_true, if_false, k = instructions[position]
        position += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, k)
            case 0x54:
                accumulator &= k
            case 0x05:
                position += k
            case 0x15:
                position += if_true if accumulator == k else if_false
            case 0x25:
                position += if_true if accumulator > k else if_false
            case 0x35:
                position += if_true if accumulator >= k else if_false
            case 0x06:
                return k
            case _:
                raise AssertionError(f"instruction {code:#x}")


def default_profile() -> dict:
    return json.loads(resources.files("tiffin.runtime").joinpath("seccomp-default.json").read_text())


def docker(capabilities=DEFAULT, kernel=(6, 1)) -> bytes:
    return seccomp.assemble(resolve(default_profile(), capabilities, kernel, "x86_64"))


def profile(*syscalls, default="SCMP_ACT_ERRNO", **more) -> bytes:
    return seccomp.assemble({"defaultAction": default, "syscalls": list(syscalls), **more})


def rule(name, action="SCMP_ACT_ALLOW", *args, **more) -> dict:
    return {"names": [name], "action": action, "args": list(args), **more}


def arg(index, op, value, second=0) -> dict:
    return {"index": index, "op": "SCMP_CMP_" + op, "value": value, "valueTwo": second}


on_x86_64 = pytest.mark.skipif(seccomp_numbers.native() != "x86_64", reason="the tables below are x86_64's")
pytestmark = on_x86_64


def test_the_default_profile_allows_and_denies_by_name():
    program, numbers = docker(), NUMBER["x86_64"]
    expected = {"read": ALLOW, "mount": EPERM, "bpf": EPERM, "keyctl": EPERM, "unshare": EPERM, "chroot": ALLOW}
    assert {name: run(program, X86_64, numbers[name]) for name in expected} == expected


def test_clone3_is_enosys_without_sys_admin_and_allowed_with_it():
    number = NUMBER["x86_64"]["clone3"]
    assert run(docker(), X86_64, number) == ENOSYS
    assert run(docker((*DEFAULT, "CAP_SYS_ADMIN")), X86_64, number) == ALLOW


def test_clone_may_not_make_namespaces_without_sys_admin():
    number = NUMBER["x86_64"]["clone"]
    assert run(docker(), X86_64, number, (0x11,)) == ALLOW
    for flag in (0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x00020000):
        assert run(docker(), X86_64, number, (flag | 0x11,)) == EPERM
    assert run(docker(NAMES), X86_64, number, (0x10000000,)) == ALLOW


def test_numbers_above_the_highest_listed_are_enosys_and_gaps_are_the_default():
    program = docker()
    highest = max(
        NUMBER["x86_64"][n] for r in default_profile()["syscalls"] for n in r["names"] if n in NUMBER["x86_64"]
    )
    assert run(program, X86_64, highest + 1) == ENOSYS
    assert run(program, X86_64, 0x3FFFFFFF) == ENOSYS
    assert run(program, X86_64, 400) == EPERM
    assert run(program, I386, 5000) == ENOSYS


def test_number_minus_one_meets_the_default():
    assert run(docker(), X86_64, 0xFFFFFFFF) == EPERM


def test_x32_has_rules_of_its_own_and_is_killed_where_not_listed():
    bit = seccomp_numbers.X32_BIT
    assert run(docker(), X86_64, bit | NUMBER["x32"]["read"]) == ALLOW
    assert run(docker(), X86_64, bit | NUMBER["x32"]["mount"]) == EPERM
    assert run(docker(), X86_64, bit | 5000) == ENOSYS
    only = profile(rule("read"), architectures=["SCMP_ARCH_X86_64"])
    assert run(only, X86_64, bit | NUMBER["x32"]["read"]) == KILL


def test_a_foreign_architecture_is_killed():
    assert run(docker(), AARCH64, NUMBER["aarch64"]["read"]) == KILL
    assert run(profile(rule("read")), I386, NUMBER["i386"]["read"]) == KILL


def test_i386_uses_its_own_numbers():
    program = docker()
    assert run(program, I386, NUMBER["i386"]["read"]) == ALLOW
    assert run(program, I386, NUMBER["i386"]["mount"]) == EPERM


def test_a_denied_socket_call_is_denied_through_i386_socketcall_as_well():
    program = profile(
        rule("connect", "SCMP_ACT_ERRNO"),
        rule("shmat", "SCMP_ACT_ERRNO"),
        default="SCMP_ACT_ALLOW",
        architectures=["SCMP_ARCH_X86"],
    )
    numbers = NUMBER["i386"]
    assert run(program, I386, numbers["socketcall"], (3,)) == EPERM
    assert run(program, I386, numbers["socketcall"], (2,)) == ALLOW
    assert run(program, I386, numbers["ipc"], (1 << 16 | 21,)) == EPERM


@pytest.mark.parametrize(
    ("op", "value", "second", "yes", "no"),
    [
        ("EQ", 5 << 32 | 7, 0, [5 << 32 | 7], [7, 5 << 32, 5 << 32 | 8]),
        ("NE", 5 << 32 | 7, 0, [7, 5 << 32, 6 << 32 | 7], [5 << 32 | 7]),
        ("GT", 5 << 32 | 7, 0, [5 << 32 | 8, 6 << 32, 2**64 - 1], [5 << 32 | 7, 4 << 32 | 9, 9]),
        ("GE", 5 << 32 | 7, 0, [5 << 32 | 7, 6 << 32], [5 << 32 | 6, 4 << 32 | 9]),
        ("LT", 5 << 32 | 7, 0, [5 << 32 | 6, 4 << 32 | 9, 0], [5 << 32 | 7, 6 << 32]),
        ("LE", 5 << 32 | 7, 0, [5 << 32 | 7, 4 << 32 | 9], [5 << 32 | 8, 6 << 32]),
        ("MASKED_EQ", 0xF0, 0x30, [0x30, 0x3F, 1 << 40 | 0x30], [0x40, 0x130 ^ 0x30]),
        ("MASKED_EQ", 1 << 40 | 1, 1 << 40, [1 << 40, 1 << 40 | 2], [1, 1 << 40 | 1, 0]),
    ],
)
def test_arguments_are_compared_in_64_bits(op, value, second, yes, no):
    program = profile(rule("read", "SCMP_ACT_ALLOW", arg(2, op, value, second)))
    assert [run(program, X86_64, 0, (0, 0, v)) for v in yes] == [ALLOW] * len(yes)
    assert [run(program, X86_64, 0, (0, 0, v)) for v in no] == [EPERM] * len(no)


def test_conditions_on_different_arguments_must_all_hold():
    program = profile(rule("read", "SCMP_ACT_ALLOW", arg(0, "EQ", 1), arg(1, "GT", 1 << 33), arg(3, "NE", 0)))
    assert run(program, X86_64, 0, (1, 1 << 34, 0, 1)) == ALLOW
    for arguments in ((2, 1 << 34, 0, 1), (1, 1 << 33, 0, 1), (1, 1 << 34, 0, 0)):
        assert run(program, X86_64, 0, arguments) == EPERM


def test_conditions_on_one_argument_are_alternatives():
    program = profile(rule("read", "SCMP_ACT_ALLOW", arg(0, "EQ", 1), arg(0, "EQ", 2)))
    assert [run(program, X86_64, 0, (v,)) for v in (0, 1, 2, 3)] == [EPERM, ALLOW, ALLOW, EPERM]


def test_an_unconditional_rule_beats_conditional_ones():
    rules = rule("read", "SCMP_ACT_ERRNO", arg(0, "EQ", 1), errnoRet=5), rule("read")
    assert run(profile(*rules, default="SCMP_ACT_KILL"), X86_64, 0, (1,)) == ALLOW


def test_every_action_and_errno():
    wanted = {
        "SCMP_ACT_KILL": 0,
        "SCMP_ACT_KILL_THREAD": 0,
        "SCMP_ACT_KILL_PROCESS": KILL,
        "SCMP_ACT_TRAP": 0x30000,
        "SCMP_ACT_ERRNO": seccomp.ERRNO | 17,
        "SCMP_ACT_TRACE": seccomp.TRACE | 17,
        "SCMP_ACT_LOG": 0x7FFC0000,
        "SCMP_ACT_ALLOW": ALLOW,
    }
    found = {name: run(profile(rule("read", name, errnoRet=17)), X86_64, 0) for name in wanted}
    assert found == wanted


@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_a_permissive_default_also_covers_new_numbers(default):
    program = profile(rule("read", "SCMP_ACT_KILL"), default=default)
    assert run(program, X86_64, 5000) == run(program, X86_64, 300)


def test_the_profile_resolves_by_kernel_version():
    number = NUMBER["x86_64"]["ptrace"]
    assert run(docker(kernel=(4, 7)), X86_64, number) == EPERM
    assert run(docker(kernel=(4, 10)), X86_64, number) == ALLOW


def test_a_filter_with_a_long_section_stays_within_the_kernels_limits():
    names = list(NUMBER["x86_64"])[::2]
    conditions = [arg(n, "EQ", 1 << 40) for n in range(3)]
    program = profile(*(rule(name, "SCMP_ACT_ALLOW", *conditions) for name in names))
    for name in names:
        assert run(program, X86_64, NUMBER["x86_64"][name], (1 << 40,) * 3) == ALLOW
        assert run(program, X86_64, NUMBER["x86_64"][name], (1 << 40, 1 << 40, 1)) == EPERM
    with pytest.raises(OSError, match="4096"):
        profile(*(rule(n, "SCMP_ACT_ALLOW", *[arg(i, "EQ", k) for i in range(6)]) for n, k in NUMBER["x86_64"].items()))


@pytest.mark.parametrize(
    "broken",
    [
        {"defaultAction": "SCMP_ACT_NONE"},
        {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_Z80"]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("read", "ALLOW")]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("read", "SCMP_ACT_KILL", arg(6, "EQ", 1))]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("read", "SCMP_ACT_KILL", arg(0, "IS", 1))]},
    ],
)
def test_a_broken_object_is_refused(broken):
    with pytest.raises(OSError):
        seccomp.assemble(broken)


def test_flags_are_bits_and_unknown_ones_are_refused():
    assert seccomp.flags({"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]}) == 3
    assert seccomp.flags({}) == 4
    with pytest.raises(OSError):
        seccomp.flags({"flags": ["SECCOMP_FILTER_FLAG_NEW_LISTENER"]})


def test_equal_objects_are_assembled_once():
    first = seccomp.assemble_cached(resolve(default_profile(), DEFAULT, (6, 1), "x86_64"))
    assert seccomp.assemble_cached(resolve(default_profile(), list(DEFAULT), (6, 1), "x86_64")) is first
