"""Further processes of a running container, each with streams of its own. Part of the monitor."""

import _socket as socket  # socket itself loads enum
import os

from tiffin.runtime import ahead, spawn, streams
from tiffin.runtime.birth import Birth
from tiffin.runtime.exitfile import code_of

if False:  # for the annotation alone; typing.TYPE_CHECKING would load typing
    from tiffin.runtime.monitor import Monitor

Payload = dict[str, object]
_LINGER = 0.5
_SOON, _KEPT = 0.05, 60.0  # s: from an end until a stage waits for the next, and how long it does
_NOT_AGAIN: Payload = {
    "init": False,
    "gate": None,
    "network": False,
    "ephemeral": False,
    "eager": True,
    "later": False,
    "operations": (),
    "hooks": {},
}
"""What of the container's plan is for its first process alone."""


class Execs:
    """The processes that were started in the container later, by their ids."""

    def __init__(self, monitor: "Monitor") -> None:
        self.monitor = monitor
        self._pids: dict[int, str] = {}
        self._sessions: dict[str, streams.Session] = {}
        self._births: dict[str, Birth] = {}
        self._early: dict[int, int] = {}
        self._ahead: ahead.Further | None = None
        self._written = b""  # the pages that a stage writes to
        self._more = self._soon = False  # whether another is expected; and, after an end, its stage about to be forked

    def running(self) -> dict[str, int]:
        """The pid of each."""
        return {name: pid for pid, name in self._pids.items()}

    def busy(self) -> bool:
        """Whether there are any, one is expected, or someone still reads what one said."""
        return bool(self._sessions or self._ahead or self._soon)

    def clients(self) -> bool:
        """Whether someone still reads."""
        return any(session.clients for session in self._sessions.values())

    def session(self, name: str) -> streams.Session:
        """The streams of one; KeyError."""
        return self._sessions[name]

    def _foresee(self) -> None:
        """There was one, and is likely to be another: have a stage ready for it."""
        self._soon, monitor, plan = False, self.monitor, self._plan()
        if monitor.exited is not None or not ahead.Further.fits(plan):
            return
        if self._ahead is None:
            try:
                self._ahead = ahead.Further(plan, monitor.pidfd, self._written)
            except OSError:
                return  # no memory, another processor: it is forked when it is wanted
        monitor.loop.after("ahead", _KEPT, self._drop)

    def _drop(self) -> None:
        """The stage ahead leaves, or has left, without having become anything."""
        self.monitor.loop.cancel("ahead")
        if self._ahead is not None:
            self._ahead.channel.close()
            self._ahead = None

    def _plan(self) -> Payload:
        """What all of them have in common."""
        return {**self.monitor.plan, **_NOT_AGAIN}

    def _born(self, plan: Payload, what: Payload, stdio: spawn.Stdio) -> tuple[int, socket.socket]:
        """A process and its stage's channel: of the stage ahead, or forked now. OSError."""
        waiting, self._ahead, self._soon = self._ahead, None, False
        self.monitor.loop.cancel("ahead")
        if waiting is not None:
            try:
                pid = waiting.become(what, stdio)
            except OSError:
                waiting.channel.close()
                raise
            if pid:
                return pid, waiting.channel
            waiting.channel.close()
        return spawn.further(plan, self.monitor.pidfd, stdio)

    def start(self, connection: socket.socket, serial: int, payload: Payload, attached: list[int]) -> None:
        """Start one: payload is {"exec": id, "process", "stdio", "wants": ({…}, …), "single"}, with clients' sockets.

        single: that it was does not mean that there will be others soon.
        """
        monitor, name = self.monitor, str(payload["exec"])
        stdio: Payload = payload["stdio"]  # type: ignore[assignment]
        what: Payload = {"process": payload["process"], "stdio": stdio}
        terminal = bool(stdio["terminal"])
        session = streams.Session(monitor.loop, terminal=terminal, stdin_once=True)
        theirs: spawn.Stdio = None
        if not terminal:
            theirs, ours = streams.pipes(stdin=bool(stdio["stdin"]))
            session.open_pipes(*ours)
        plan = {**self._plan(), **what}
        try:
            pid, stage = self._born(plan, what, theirs)
        except OSError:
            session.close()
            raise
        finally:
            streams.close_all(*set(theirs or ()))
        birth = Birth(monitor.loop, plan, pid, stage)
        self._more = not payload["single"]
        self._births[name], self._sessions[name], self._pids[pid] = birth, session, name
        wants: tuple[Payload, ...] = payload["wants"]  # type: ignore[assignment]

        def attach() -> None:
            for fd, want in zip(attached, wants, strict=True):
                monitor.attach(session, connection, fd, want)

        def console(master: int) -> None:
            session.open_terminal(master, None)
            attach()

        def started() -> None:
            del self._births[name]
            monitor.reply(connection, serial, True, {"pid": pid}, birth.pidfd)
            os.close(birth.pidfd)
            if pid in self._early:
                self.ended(pid, self._early.pop(pid))

        def failed(step: str, number: int, path: bytes, text: str) -> None:
            self._births.pop(name, None)
            self._pids.pop(pid, None)
            problem: Payload = {"step": step, "errno": number, "path": path, "text": text}
            monitor.reply(connection, serial, False, problem)
            os.close(birth.pidfd)
            if terminal and not session.sources:
                streams.close_all(*attached)
            session.finish("failed")
            session.close()
            self._forget(name)

        def written(pages: bytes) -> None:
            self._written = pages

        birth.on_written = written
        birth.on_console, birth.on_started, birth.on_failed = console, started, failed
        if not terminal:
            attach()

    def ended(self, pid: int, status: int) -> None:
        """A child of the monitor ended: one of these, a stage that went on as one, or an orphan of the container."""
        name = self._pids.get(pid)
        if name is None:
            if self._ahead is not None and self._ahead.pid == pid:
                self._drop()  # it was killed
            return
        if name in self._births:
            self._early[pid] = status  # its execve is not known yet
            return
        del self._pids[pid]
        session = self._sessions[name]
        session.drain()
        self.monitor.announce("exec-exit", {"exec": name, "code": code_of(status)})
        linger = _LINGER if self.monitor.connections else 0.0
        self.monitor.loop.after(("exec", name), linger, lambda: self.let_go(name))

    def let_go(self, name: str) -> None:
        """The daemon knows the exit code: clients may see the end."""
        self.monitor.loop.cancel(("exec", name))
        session = self._sessions.get(name)
        if session is not None and name not in self._pids.values():
            session.finish("exit")
            session.close()
            self._forget(name)
            self._soon = self._more
            if self._soon:
                self.monitor.loop.after("ahead", _SOON, self._foresee)

    def _forget(self, name: str) -> None:
        session = self._sessions.get(name)
        if session is None:
            return
        if session.clients:
            self.monitor.loop.after(("forget", name), 0.2, lambda: self._forget(name))
        else:
            del self._sessions[name]
