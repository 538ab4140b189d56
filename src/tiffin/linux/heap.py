"""glibc's malloc, tuned (mallopt(3), malloc_trim(3)); another C library is left as it is."""

from tiffin.linux.syscalls import libc

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENAS = -1, -3, -8  # malloc.h


def tune(*options: tuple[int, int]) -> None:
    """Options with their values: bytes, or a number of arenas."""
    mallopt = getattr(libc, "mallopt", None)
    if mallopt is not None:
        for option, value in options:
            mallopt(option, value)


def trim() -> None:
    """Give free pages back to the kernel."""
    malloc_trim = getattr(libc, "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
