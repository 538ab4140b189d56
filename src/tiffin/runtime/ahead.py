"""Stages that are there before they are wanted, with the memory they will write to.

A container's first is forked by a monitor that waits for a container itself (vigil.py), has a network namespace too,
and waits for the plan. One for a further process is forked after the end of another. While it waits it is outside of
the container, and nothing of that is looked at.

The process is not to become the container's: to move into a control group takes the kernel milliseconds, to be born in
one takes none. So with all at hand it goes on as a new process, which is the monitor's child too, in the memory that
it has.
"""

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import _socket as socket
import os
from collections.abc import Callable

from tiffin.linux import clone, credentials, fds, namespaces, pages
from tiffin.runtime import channel as messages
from tiffin.runtime import plan_memory, process, spare, spawn, title
from tiffin.runtime.stage import Plan, Stage


class _Waiting:
    """The monitor's end of one."""

    def __init__(self, live: Callable[[socket.socket, clone.Step], None]) -> None:
        """Fork it. live: what it does with its end of the channel. OSError: no memory, another processor."""
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        monitor, step = os.getpid(), clone.Step()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                # It ends with its monitor, who may be killed after it has sent the plan.
                credentials.prctl(credentials.PR_SET_PDEATHSIG, _signal.SIGKILL, 0, 0, 0)
                if os.getppid() == monitor:
                    live(theirs, step)
            finally:
                os._exit(1)
        theirs.close()


class Ahead(_Waiting):
    """A container's first stage."""

    def __init__(self, written: bytes) -> None:
        """written: the pages to have ahead of time, as linux/pages.py gave them in another stage. OSError."""
        super().__init__(lambda channel, step: _wait(channel, written, step))

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
            os.waitpid(self.pid, 0)

    def close(self) -> None:
        """Nobody wants it: it leaves."""
        self.channel.close()
        os.waitpid(self.pid, 0)


class Further(_Waiting):
    """The stage of a further process. Its monitor's loop reaps who waited, when it left or went on."""

    def __init__(self, plan: Plan, pidfd: int, written: bytes) -> None:
        """plan: as for spawn.further, but for process and stdio; one that `fits`. OSError.

        written: as for `Ahead`, of one before it; empty: it is to tell them.
        """
        super().__init__(lambda channel, step: _wait_further(channel, plan, pidfd, written, step))

    @staticmethod
    def fits(plan: Plan) -> bool:
        """Whether the processes of a container can be born like this: see spawn.further, clone.Step."""
        timed = plan["unshare"] & namespaces.CLONE_NEWTIME  # type: ignore[operator]
        return not (timed or spawn.joined(plan, namespaces.CLONE_NEWTIME) or spawn.has_user_namespace(plan))

    def become(self, what: Plan, stdio: spawn.Stdio) -> int:
        """Let it be the process: its pid, 0 when it was killed before. OSError when it can't.

        what: the rest of the plan, process and stdio.
        """
        try:
            messages.send(self.channel, (0, "further", what), stdio or ())
        except OSError:
            return 0
        try:
            message, _ = spawn.receive(self.channel)
        except spawn.Refused as refused:
            raise OSError(refused.errno, refused.strerror) from None
        return int(message[1]) if message else 0  # type: ignore[call-overload]


def _wait(channel: socket.socket, written: bytes, step: clone.Step) -> None:
    fds.close_others({0, 1, 2, channel.fileno()})
    title.show(b"tiffin-forkserver", b"stage")
    pages.make_own(written)
    netns, configured = spare.make()
    data, attached = fds.receive(channel, 16)
    if not data:
        return
    whole, *stdio = attached
    plan = plan_memory.stage_part(whole)
    stage = Stage(plan, channel, (stdio[0], stdio[1], stdio[2]) if stdio else None)

    def become() -> None:
        spawn.make_groups(plan, birthplace=True)
        spawn.enter_for_children(plan)
        pid, group = spawn.fork(plan, step.into)
        stage.say("pid", pid)
        stage.netns, stage.root.configured = spare.fitting(netns, configured, plan)
        stage.prepare(group)
        stage.run()

    spawn.telling(stage, become)


def _wait_further(channel: socket.socket, plan: Plan, pidfd: int, written: bytes, step: clone.Step) -> None:
    fds.close_others({0, 1, 2, channel.fileno(), pidfd})
    process.reset_signals()  # the monitor's
    title.show(b"tiffin-monitor", b"stage")
    pages.make_own(written)
    learns = False if written else _own_pages()
    try:
        (_, _, what), stdio = messages.receive(channel)
    except OSError:
        return  # nobody wants it
    plan |= what
    stage = Stage(plan, channel, (stdio[0], stdio[1], stdio[2]) if stdio else None)

    def become() -> None:
        namespaces.setns(pidfd, namespaces.CLONE_NEWPID)
        pid, group = spawn.fork(plan, step.into)
        stage.say("pid", pid)
        stage.learns = learns
        spawn.join(plan, stage, pidfd, group)

    spawn.telling(stage, become)


def _own_pages() -> pages.Own | bool:
    try:
        return pages.Own()
    except OSError:
        return False
