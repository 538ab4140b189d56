"""System call numbers by architecture, and the names OCI and Docker give the architectures.

The numbers are facts of the kernel's ABI (asm/unistd*.h, scripts/syscall.tbl up to 6.19), kept in syscall-numbers.tsv.
"""

from __future__ import annotations

import os

X32_BIT = 0x40000000
ARM_PRIVATE = 0x0F0000  # arm's own calls (set_tls …) start here, far above the common numbers

# architecture: AUDIT_ARCH_* of <linux/audit.h>; x32 shares x86_64's and is told apart by its bit
AUDIT = {
    "x86_64": 0xC000003E,
    "i386": 0x40000003,
    "x32": 0xC000003E,
    "aarch64": 0xC00000B7,
    "arm": 0x40000028,
}
SCMP = {
    "SCMP_ARCH_NATIVE": "",
    "SCMP_ARCH_X86_64": "x86_64",
    "SCMP_ARCH_X86": "i386",
    "SCMP_ARCH_X32": "x32",
    "SCMP_ARCH_AARCH64": "aarch64",
    "SCMP_ARCH_ARM": "arm",
}
# known to the specification; a process of theirs can't run on a machine this table serves
_FOREIGN = """
    MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X PARISC PARISC64 RISCV64 LOONGARCH64
    M68K SH SHEB
"""
FOREIGN = frozenset("SCMP_ARCH_" + name for name in _FOREIGN.split())
# Go's names, which Docker's profile uses
GO = {"x86_64": "amd64", "i386": "x86", "x32": "x32", "aarch64": "arm64", "arm": "arm"}

# i386 reaches these through one call as well; the first argument says which
_SOCKETCALL = """
    socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown setsockopt
    getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg
"""
SOCKETCALL = {name: number for number, name in enumerate(_SOCKETCALL.split(), 1)}
IPC = {"semop": 1, "semget": 2, "semctl": 3, "semtimedop": 4, "msgsnd": 11, "msgrcv": 12, "msgget": 13, "msgctl": 14}
IPC |= {"shmat": 21, "shmdt": 22, "shmget": 23, "shmctl": 24}

_tables: dict[str, dict[str, int]] = {}


def native() -> str:
    """This machine's architecture, as in AUDIT. Raises OSError ENOTSUP where there is no table."""
    machine = os.uname().machine
    name = {"amd64": "x86_64", "i686": "i386", "i586": "i386", "armv7l": "arm", "armv8l": "arm"}.get(machine, machine)
    if name not in AUDIT:
        raise OSError(95, f"no system call table for {machine}")
    return name


def table(architecture: str) -> dict[str, int]:
    """name -> number, without x32's bit."""
    if not _tables:
        path = os.path.join(os.path.dirname(__file__), "syscall-numbers.tsv")
        with open(path, encoding="ascii") as lines:
            architectures = next(lines).split()[1:]
            _tables.update((architecture, {}) for architecture in architectures)
            for line in lines:
                name, *numbers = line.split()
                for column, number in zip(architectures, numbers, strict=True):
                    if number != "-":
                        _tables[column][name] = int(number)
    return _tables[architecture]
