"""Why a start failed, with the exit code that docker gives such a container or exec."""

from __future__ import annotations

import errno

from tiffin.errors import Internal, Invalid, TiffinError
from tiffin.runtime.launcher import StartFailed

NOT_FOUND, NOT_EXECUTABLE, OTHER = 127, 126, 128
_REFUSED = frozenset((errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOEXEC))


class StartError(Exception):
    """A process did not start. `error` is what the client is told, `code` what the record keeps."""

    def __init__(self, error: TiffinError, code: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.code = code


def of_runtime(failure: StartFailed) -> StartError:
    """The runtime's failure: a command that can't be run is the request's fault (400), the rest is ours (500)."""
    code = code_of(failure)
    kind = Internal if code == OTHER else Invalid
    return StartError(kind(failure.message), code)


def code_of(failure: StartFailed) -> int:
    """As a shell has it: 127 for what is not there, 126 for what can't be run."""
    if failure.step not in ("exec", "chdir", "mount"):
        return OTHER
    if failure.errno in (errno.ENOENT, errno.ENOTDIR):
        return NOT_FOUND
    return NOT_EXECUTABLE if failure.errno in _REFUSED else OTHER
