"""eBPF programs on cgroup v2 directories: bpf(2) without a library."""

from __future__ import annotations

import ctypes
import os
import struct

from . import syscalls

PROG_LOAD, OBJ_GET, PROG_ATTACH, PROG_DETACH, PROG_GET_FD_BY_ID, PROG_QUERY = 5, 7, 8, 9, 13, 16
TYPE_CGROUP_DEVICE = 15
ATTACH_CGROUP_DEVICE = 6
ALLOW_MULTI = 2
MAX_ATTACHED = 64  # the kernel's own limit for one group

_bpf = syscalls.syscall("bpf", syscalls.INT, syscalls.POINTER, syscalls.UINT)


def _call(command: int, attribute: bytes) -> tuple[int, bytes]:
    # the kernel reads zeros beyond what it needs; 128 holds every version's union for these commands
    buffer = ctypes.create_string_buffer(attribute, 128)
    result = _bpf(command, ctypes.addressof(buffer), len(buffer))
    return result, buffer.raw


def load_device_program(code: bytes) -> int:
    """A descriptor of the verified program (struct bpf_insn[]). Raises OSError with the verifier's errno."""
    instructions = ctypes.create_string_buffer(code, len(code))
    license = ctypes.create_string_buffer(b"Apache")
    attribute = struct.pack(
        "=IIQQIIQ",
        TYPE_CGROUP_DEVICE,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(license),
        0,
        0,
        0,
    )
    return _call(PROG_LOAD, attribute)[0]


def attached(directory: int) -> list[int]:
    """Ids of the device programs on the group behind a directory's descriptor itself, not on its parents."""
    ids = (ctypes.c_uint * MAX_ATTACHED)()
    attribute = struct.pack("=IIIIQI", directory, ATTACH_CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), MAX_ATTACHED)
    _, answer = _call(PROG_QUERY, attribute)
    (count,) = struct.unpack_from("=I", answer, 24)
    return list(ids[:count])


def attach_device_filter(path: str | bytes, code: bytes) -> None:
    """Let `code` alone decide for the group at `path`: it is attached, then what was there before is detached."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        before = attached(directory)
        program = load_device_program(code)
        try:
            _call(PROG_ATTACH, struct.pack("=IIII", directory, program, ATTACH_CGROUP_DEVICE, ALLOW_MULTI))
        finally:
            os.close(program)
        for identity in before:
            old, _ = _call(PROG_GET_FD_BY_ID, struct.pack("=I", identity))
            try:
                _call(PROG_DETACH, struct.pack("=III", directory, old, ATTACH_CGROUP_DEVICE))
            finally:
                os.close(old)
    finally:
        os.close(directory)
