"""Classic BPF as seccomp runs it: instructions, conditional jumps to labels, a packed program.

An instruction is ``(code, jump_true, jump_false, k)``; see struct sock_filter in <linux/filter.h>. Jumps count the
instructions that follow. The program reads struct seccomp_data (seccomp(2)).
"""

from __future__ import annotations

import struct

Instruction = tuple[int, int, int, int]
Program = list[Instruction]

LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
JUMP = 0x05  # BPF_JMP | BPF_JA
JUMP_EQ = 0x15
JUMP_GT = 0x25
JUMP_GE = 0x35
RETURN = 0x06

MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
MAX_CONDITIONAL_JUMP = 255  # jt and jf are one byte

NUMBER_OFFSET = 0
ARCHITECTURE_OFFSET = 4
ARGUMENTS_OFFSET = 16


def load(offset: int) -> Instruction:
    return (LOAD, 0, 0, offset)


def returns(value: int) -> Instruction:
    return (RETURN, 0, 0, value)


def skip_unless_equal(value: int, body: Program) -> Program:
    """Runs `body` if the accumulator equals `value`, else what follows it."""
    if len(body) <= MAX_CONDITIONAL_JUMP:
        return [(JUMP_EQ, 0, len(body), value), *body]
    return [(JUMP_EQ, 1, 0, value), (JUMP, 0, 0, len(body)), *body]


def split_at(value: int, below: Program, above: Program) -> Program:
    """Runs `above` if the accumulator is at least `value`, else `below`. Both must return."""
    if len(below) <= MAX_CONDITIONAL_JUMP:
        return [(JUMP_GE, len(below), 0, value), *below, *above]
    return [(JUMP_GE, 0, 1, value), (JUMP, 0, 0, len(below)), *below, *above]


def search(intervals: list[tuple[int, Program]]) -> Program:
    """A balanced tree over the accumulator: a program runs from its start to the next one's; the first starts at 0."""
    if len(intervals) == 1:
        return intervals[0][1]
    middle = len(intervals) // 2
    return split_at(intervals[middle][0], search(intervals[:middle]), search(intervals[middle:]))


def pack(program: Program) -> bytes:
    """The program as struct sock_filter[]. Raises OSError E2BIG if the kernel would refuse its length."""
    if len(program) > MAX_INSTRUCTIONS:
        raise OSError(7, f"seccomp filter of {len(program)} instructions; the kernel takes {MAX_INSTRUCTIONS}")
    one = struct.Struct("=HBBI").pack
    return b"".join([one(*instruction) for instruction in program])
