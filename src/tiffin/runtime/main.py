"""`tiffin-runtime`: containers by the OCI runtime command line, without the daemon. Takes runc's commands and flags.

What enters a container runs from a sealed copy of the interpreter: between joining and its execve, a container's
process is this program, and its /proc/PID/exe must not lead to the machine's python.
"""

import os
import sys

from tiffin.runtime.sealed import executable, is_sealed, sealed_copy

ENTERING = frozenset(("create", "run", "exec"))
NAME = "TIFFIN_RUNTIME_NAME"  # what help and version call the program


def main() -> None:
    """The console script: continues in a sealed copy of the interpreter where a container is to be entered."""
    # an option's value may read "run" too: then one copy more is made than needed
    if ENTERING.isdisjoint(sys.argv) or is_sealed():
        raise SystemExit(_command_line(sys.argv))
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = f"import sys; sys.path.insert(0, {package!r}); from tiffin.runtime.main import main; main()"
    arguments = [executable(), "-I", "-S", "-c", code, *sys.argv]
    os.execve(f"/proc/self/fd/{sealed_copy()}", arguments, os.environ)


def _command_line(argv: list[str]) -> int:
    from tiffin.runtime.oci_cli import run

    # -c comes first, then the program's own name
    argv = argv[1:] if argv[0] == "-c" else argv
    return run([os.environ.pop(NAME, argv[0]), *argv[1:]])


if __name__ == "__main__":
    main()
