import pytest

from tiffin.linux import cgroups_devices

DENY_ALL = {"allow": False, "access": "rwm"}


def rule(allow, kind, major=None, minor=None, access="rwm"):
    return {"allow": allow, "type": kind, "major": major, "minor": minor, "access": access}


def lines(*rules):
    return cgroups_devices.v1_writes(cgroups_devices.policy(rules))


def run(program: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    """An interpreter for the instructions that the device filter uses."""
    bits = sum(cgroups_devices.ACCESS[letter] for letter in access)
    context = {0: (1 if kind == "b" else 2) | bits << 16, 4: major, 8: minor}
    registers = [0] * 11
    code = [program[at : at + 8] for at in range(0, len(program), 8)]
    position = 0
    while True:
        instruction = code[position]
        position += 1
        op, target, source = instruction[0], instruction[1] & 15, instruction[1] >> 4
        offset = int.from_bytes(instruction[2:4], "little", signed=True)
        immediate = int.from_bytes(instruction[4:8], "little", signed=True)
        match op:
            case 0x61:
                registers[target] = context[offset]
            case 0xBC:
                registers[target] = registers[source]
            case 0x54:
                registers[target] &= immediate
            case 0x74:
                registers[target] >>= immediate
            case 0x55:
                position += offset if registers[target] != immediate else 0
            case 0x15:
                position += offset if registers[target] == immediate else 0
            case 0xB7:
                registers[target] = immediate
            case 0x95:
                return bool(registers[0])
            case _:
                raise AssertionError(f"instruction {op:#x}")


def test_a_container_starts_from_nothing():
    assert lines(DENY_ALL) == [("devices.deny", "a")]


def test_allowed_devices_are_v1_lines():
    assert lines(DENY_ALL, rule(True, "c", 1, 3), rule(True, "b", None, None, "m")) == [
        ("devices.deny", "a"),
        ("devices.allow", "c 1:3 rwm"),
        ("devices.allow", "b *:* m"),
    ]


def test_privileged_allows_everything_but_what_is_denied_after():
    assert lines(DENY_ALL, {"allow": True, "access": "rwm"}, rule(False, "c", 10, 200, "w")) == [
        ("devices.allow", "a"),
        ("devices.deny", "c 10:200 w"),
    ]


def test_a_later_rule_takes_back_what_an_earlier_one_gave():
    assert lines(DENY_ALL, rule(True, "c", 1, 3), rule(False, "c", 1, 3, "w")) == [
        ("devices.deny", "a"),
        ("devices.allow", "c 1:3 rm"),
    ]
    assert lines(DENY_ALL, rule(True, "c", 1, 3), rule(False, "c", 1, 3)) == [("devices.deny", "a")]


def test_rules_of_one_device_add_up():
    assert lines(DENY_ALL, rule(True, "c", 1, 3, "r"), rule(True, "c", 1, 3, "w"))[1] == ("devices.allow", "c 1:3 rw")


def test_the_program_says_what_the_lines_say():
    program = cgroups_devices.program(
        cgroups_devices.policy(
            [DENY_ALL, *cgroups_devices.DEFAULT, rule(True, "b", 8, 1, "r"), rule(True, "c", 10, None, "rw")]
        )
    )
    allowed = [("c", 1, 3, "rw"), ("c", 77, 7, "m"), ("b", 77, 7, "m"), ("b", 8, 1, "r"), ("c", 10, 5, "rw")]
    denied = [("c", 77, 7, "r"), ("b", 8, 1, "rw"), ("b", 8, 2, "r"), ("c", 8, 1, "r"), ("b", 1, 3, "r")]
    assert [run(program, *one) for one in allowed] == [True] * len(allowed)
    assert [run(program, *one) for one in denied] == [False] * len(denied)


def test_the_program_of_a_privileged_container_denies_only_what_is_named():
    program = cgroups_devices.program(
        cgroups_devices.policy([{"allow": True, "access": "rwm"}, rule(False, "c", 1, 5, "w")])
    )
    assert run(program, "b", 8, 0, "rwm")
    assert run(program, "c", 1, 5, "r")
    assert not run(program, "c", 1, 5, "rw")


@pytest.mark.parametrize("broken", [rule(True, "x", 1, 3), rule(True, "a", 1, 3)])
def test_rules_that_mean_nothing_are_refused(broken):
    with pytest.raises(OSError):
        lines(broken)
