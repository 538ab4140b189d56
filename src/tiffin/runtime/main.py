"""`tiffin-runtime`: containers by the OCI runtime command line, without the daemon. Takes runc's commands and flags.

It runs from a sealed copy of the interpreter: a container's process, between joining the container and its execve, is
this program, and its /proc/PID/exe must not lead to the machine's python (CVE-2019-5736).
"""

import fcntl
import os
import sys

_F_GET_SEALS, _SEALED = 1034, 0xF


def main() -> None:
    """The console script: continues in a sealed copy of the interpreter, which imports only what it needs."""
    if _is_sealed():
        raise SystemExit(_command_line(sys.argv))
    from tiffin.runtime.interpreter import executable, sealed_copy

    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = f"import sys; sys.path.insert(0, {package!r}); from tiffin.runtime.main import main; main()"
    arguments = [executable(), "-I", "-S", "-c", code, *sys.argv]
    os.execve(f"/proc/self/fd/{sealed_copy()}", arguments, os.environ)


def _is_sealed() -> bool:
    try:
        fd = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return fcntl.fcntl(fd, _F_GET_SEALS) & _SEALED == _SEALED
        finally:
            os.close(fd)
    except OSError:
        return False  # an ordinary file has no seals


def _command_line(argv: list[str]) -> int:
    from tiffin.runtime.oci_cli import run

    # -c comes first, then the program's own name
    argv = argv[1:] if argv[0] == "-c" else argv
    return run([os.environ.pop("TIFFIN_RUNTIME_NAME", argv[0]), *argv[1:]])


if __name__ == "__main__":
    main()
