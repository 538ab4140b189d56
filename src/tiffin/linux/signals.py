"""The dispositions of signals that the C library keeps for itself. Raises OSError."""

from tiffin.linux.syscalls import INT, POINTER, SIZE, TEXT, syscall

_RESERVED = (32, 33, 34)  # SIGCANCEL and SIGSETXID of glibc; SIGTIMER, SIGCANCEL and SIGSYNCCALL of musl
_DEFAULT = bytes(32)  # struct kernel_sigaction: SIG_DFL, no flags, an empty mask

_rt_sigaction = syscall("rt_sigaction", INT, TEXT, POINTER, SIZE)


def default_reserved() -> None:
    """Set what sigaction(3) refuses to touch to its default: ignored by whoever started us, it would survive execve."""
    for number in _RESERVED:
        _rt_sigaction(number, _DEFAULT, None, 8)
