"""PID 1 for a container with "init": it runs the process as its child, passes signals on and reaps whatever ends.

It has entered everything the process itself will have (identity, filter, capabilities) and executes
no program of its own.
"""

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import _socket as socket
import os

from tiffin.runtime import title
from tiffin.runtime.process import Tail

_KEPT = (
    _signal.SIGFPE,
    _signal.SIGILL,
    _signal.SIGSEGV,
    _signal.SIGBUS,
    _signal.SIGABRT,
    _signal.SIGTRAP,
    _signal.SIGSYS,
)


def run(tail: Tail, channel: socket.socket) -> None:
    """Fork the process and stay as its parent; leaves with its exit code. Never returns in PID 1."""
    waited = set(_signal.valid_signals()) - set(_KEPT)
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, waited)
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        _foreground()
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
        return
    # execve happens in the child: only its copies of these may keep the monitor waiting or a pipe open.
    channel.close()
    os.closerange(3, 65536)
    title.show(b"/sbin/docker-init", b"--", *tail.argv)
    while True:
        number = _signal.sigwaitinfo(waited).si_signo
        if number == _signal.SIGCHLD:
            _reap(pid)
        elif number not in (_signal.SIGTTIN, _signal.SIGTTOU):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass


def _foreground() -> None:
    """With a terminal, the process's group is the one that may read it."""
    if os.isatty(0):
        _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGTTOU,))
        try:
            os.tcsetpgrp(0, os.getpid())
        except OSError:
            pass


def _reap(child: int) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            os._exit(1)
        if pid == 0:
            return
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
