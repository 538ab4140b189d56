"""A stage that is there before its container: with the memory it will write to, and with a network namespace.

It is forked by a monitor that waits for a container itself (vigil.py), and waits for the plan. The process is not to
become the container's: to move into a control group takes the kernel milliseconds, to be born in one takes none. So
with the plan at hand it goes on as a new process, which is the monitor's child too, in the memory that it has.
"""

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import _socket as socket
import os

from tiffin.linux import clone, credentials, fds, pages
from tiffin.runtime import plan_memory, spare, spawn, title
from tiffin.runtime.stage import Stage


class Ahead:
    """The monitor's end."""

    def __init__(self, written: bytes) -> None:
        """Fork it. written: the pages to have ahead of time, as linux/pages.py gave them in another stage. OSError."""
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        monitor, step = os.getpid(), clone.Step()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _wait(theirs, written, monitor, step)
            finally:
                os._exit(1)
        theirs.close()

    def take(self, stdio: spawn.Stdio, whole: int) -> bool:
        """Give it the plan, see spawn.first. False when it was killed."""
        try:
            fds.send(self.channel, b"p", (whole, *(stdio or ())))
        except OSError:
            return False
        return True

    def born(self) -> int:
        """The pid of the container's first process. Refused or OSError when there is none."""
        try:
            return spawn.stayed(self.channel)
        finally:
            os.waitpid(self._pid, 0)

    def close(self) -> None:
        """Nobody wants it: it leaves."""
        self.channel.close()
        os.waitpid(self._pid, 0)


def _wait(channel: socket.socket, written: bytes, monitor: int, step: clone.Step) -> None:
    """The process. It ends with its monitor, who may be killed after it has sent the plan."""
    credentials.prctl(credentials.PR_SET_PDEATHSIG, _signal.SIGKILL, 0, 0, 0)
    if os.getppid() != monitor:
        return
    fds.close_others({0, 1, 2, channel.fileno()})
    title.show(b"tiffin-forkserver", b"stage")
    pages.make_own(written)
    network = spare.network()
    data, attached = fds.receive(channel, 16)
    if not data:
        return
    whole, *stdio = attached
    plan = plan_memory.stage_part(whole)
    stage = Stage(plan, channel, (stdio[0], stdio[1], stdio[2]) if stdio else None)
    try:
        spawn.make_groups(plan, birthplace=True)
        spawn.enter_for_children(plan)
        pid, group = spawn.fork(plan, step.into)
        stage.say("pid", pid)
        stage.spare = network if spare.serves(plan) else None
        stage.prepare(group)
        stage.run()
    except OSError as error:
        stage.step = error.step if isinstance(error, spawn.Refused) else stage.step
        stage.fail(error)
    except BaseException as error:  # a mistake of ours: it must not end without a word
        stage.fail(OSError(0, f"{type(error).__name__}: {error}"))
