"""The monitor: owns one container from its control groups to its exit file, and outlives the daemon.

It is born in the nursery, and waits there for a container to start, or, where a monitor died, to adopt. It speaks with
the daemon over the socket that came with the start, and with later ones on state/monitor.sock (requests: see `_VERBS`;
events: sandbox, started, failed, exit, exec-exit, detached). Files in the state directory: `monitor.sock`, `exit`.
"""

import _socket as socket  # socket itself loads enum
import os
import time
from collections.abc import Callable

from tiffin.linux import credentials, namespaces
from tiffin.runtime import channel, controls, doors, external, hooks, spawn, streams
from tiffin.runtime.ahead import Ahead
from tiffin.runtime.birth import Birth, hold
from tiffin.runtime.execs import Execs
from tiffin.runtime.exitfile import code_of, remove_exit, write_exit
from tiffin.runtime.external import External
from tiffin.runtime.journal import Journal
from tiffin.runtime.journald import open_log
from tiffin.runtime.loop import READ, Loop
from tiffin.runtime.plan_memory import monitor_part
from tiffin.runtime.upstream import Upstream

Payload = dict[str, object]
_PATIENCE = 1.0  # s, for the forkserver to say how a container ended that it reaps; then it counts as killed
_LINGER = 0.5  # s, for the daemon to take note of an exit before clients see the end of their streams


class Monitor:
    """One container."""

    def __init__(
        self, charge: Payload, upstream: socket.socket, held: dict[str, int], listener: socket.socket | None = None
    ) -> None:
        """held: what the forkserver keeps too: the plan, our ends of stdio, header and data of the journal."""
        credentials.prctl(credentials.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.charge, self.held = charge, held
        self.plan = plan = monitor_part(held["plan"])
        self.state: str = plan["state"]  # type: ignore[assignment]
        self.loop = Loop(self._child_ended)
        self.upstream = Upstream(self, upstream)
        self.connections: list[socket.socket] = []
        stdio: Payload = plan["stdio"]  # type: ignore[assignment]
        self.session = streams.Session(
            self.loop, terminal=bool(stdio["terminal"]), stdin_once=bool(stdio["stdin_once"])
        )
        self.session.on_input_closed = lambda: self.upstream.tell("drop", {"name": "stdin"})
        self.execs = Execs(self)
        self.doors = doors.Doors()
        self.ahead: Ahead | None = None
        self.learns = False  # whether the forkserver wants to know which pages are written to
        self.birth: Birth | External | None = None
        self.pid, self.pidfd, self.started_at = 0, -1, 0
        self.exited: Payload | None = None
        self._leaving = False
        self._starter: socket.socket | None = None
        self.server: socket.socket | None = listener or channel.listen(self.state, "monitor.sock")
        self.loop.watch(self.server.fileno(), READ, self._accept)

    # -- start -------------------------------------------------------------------------------------------------------

    def start(self, control: socket.socket, attachments: list[tuple[int, Payload]], theirs: spawn.Stdio) -> None:
        """Begin: control is the daemon's, theirs the process's ends of the pipes."""
        remove_exit(self.state)
        self._starter = control
        self.serve(control)
        self.attach_log(adopting=False)
        try:
            birth: Birth | External
            if self.plan["external"]:
                birth = External(self.loop, self.plan, theirs)
            else:
                stage = spawn.begin(self.plan, theirs, self.held["plan"], self.ahead, learns=self.learns)
                birth = Birth(self.loop, self.plan, *stage)
                birth.prepared = bool(self.plan["prepared"])
                birth.on_written = lambda pages: self.upstream.tell("written", {"stage": pages})
        except OSError as error:
            number, text = error.errno or 0, str(error.strerror)
            path = error.filename if isinstance(error.filename, bytes) else b""
            streams.close_all(*(fd for fd, _ in attachments))
            return self._failed(error.step if isinstance(error, spawn.Refused) else "start", number, path, text)
        if theirs:
            streams.close_all(*set(theirs))
            self.session.open_pipes(self.held.get("stdin", -1), self.held["stdout"], self.held["stderr"])
        for fd, want in attachments:
            self.attach(self.session, control, fd, want)
        self.birth = birth
        birth.on_sandbox = lambda made: self._forward(control, "sandbox", {"pid": birth.pid}, self.doors.keep(made))
        birth.on_console = self._console
        birth.on_ready = self._ready
        birth.on_started = self._started
        birth.on_failed = self._failed

    def adopt(self, pid: int, started_at: int, status: int | None) -> None:
        """Take over a running container whose monitor died. status: its wait status if it has ended meanwhile."""
        self.pid, self.started_at = pid, started_at
        self.attach_log(adopting=True)
        if "master" in self.held:
            self._open_terminal()
        elif "stdout" in self.held:
            self.session.open_pipes(self.held.get("stdin", -1), self.held["stdout"], self.held["stderr"])
        if status is not None:
            return self.ended(status)
        self.pidfd = self.held["pidfd"]
        self.loop.watch(self.pidfd, READ, self._gone)

    def attach_log(self, *, adopting: bool) -> None:
        """Open journal and log. adopting: go on where another monitor stopped."""
        settings: Payload | None = self.plan["log"]  # type: ignore[assignment]
        if settings and "header" in self.held:
            journal = Journal(self.held["header"], (self.held["data0"], self.held["data1"]))
            if (log := open_log(settings, journal.log_size if adopting else None)) is None:
                return
            log.on_rotated = lambda path: self.upstream.tell("compress", {"path": path})
            journal.log_size = log.size
            journal.commit()
            self.session.record(journal, log)

    def _console(self, master: int) -> None:
        self.held["master"] = master
        self.upstream.tell("keep", {"name": "master"}, (master,))
        self._open_terminal()

    def _open_terminal(self) -> None:
        relay = (self.held["relay0"], self.held["relay1"]) if "relay0" in self.held and self.session.journal else None
        self.session.open_terminal(self.held["master"], relay)

    def _ready(self) -> None:
        birth = self.birth
        assert birth is not None
        self.upstream.tell("started", {"pid": birth.pid, "at": birth.started_at}, (birth.pidfd,))

    def _started(self) -> None:
        birth = self.birth
        assert birth is not None
        self.birth = None
        self.pid, self.pidfd, self.started_at = birth.pid, birth.pidfd, birth.started_at
        self.announce("started", self.describe(), (self.pidfd,))
        try:
            hooks.run(self.plan, "poststart", b"running", self.pid)
        except OSError:
            pass  # as runc: it is logged, the container runs
        if birth.plan.get("ended") is not None:
            self.ended(birth.plan.pop("ended"))  # type: ignore[arg-type]

    def describe(self) -> Payload:
        """What a daemon that connects wants to know."""
        return {"pid": self.pid, "started_at": self.started_at, "execs": self.execs.running()}

    def _failed(self, step: str, number: int, path: bytes, text: str) -> None:
        """Nothing half done is left."""
        self.birth = None
        controls.kill(self.plan["procs"])  # type: ignore[arg-type]
        self.session.finish("failed")
        self.session.close()
        for _ in range(100):
            left = controls.remove(self.plan["rmdir"])  # type: ignore[arg-type]
            if not left:
                break
            self.loop.reap()
            time.sleep(0.002)
        self._unlink()
        self.announce("failed", {"step": step, "errno": number, "path": path, "text": text})
        self._leave()

    # -- exit --------------------------------------------------------------------------------------------------------

    def _child_ended(self, pid: int, status: int) -> None:
        if isinstance(self.birth, External) and self.birth.child_ended(pid, status):
            return
        if self.birth is not None and pid == self.birth.pid:
            self.birth.plan["ended"] = status  # what the channel holds has not been read yet
        elif pid == self.pid:
            self.ended(status)
        else:
            self.execs.ended(pid, status)

    def _gone(self, _: int) -> None:
        """An adopted container ended; its parent reaps it, and the kernel or the forkserver knows the status."""
        self.loop.forget(self.pidfd)
        self._find_status(_PATIENCE)

    def _find_status(self, patience: float) -> None:
        if self.exited is not None:
            return
        # Unreaped it is in /proc, reaped the kernel (6.15) remembers; in between only asking again helps.
        status = namespaces.zombie_status(self.pid)
        if status is None:
            status = namespaces.exit_status(self.pidfd)
        if status is not None:
            self.ended(status)
        elif patience > 0:
            self.loop.after("status", 0.01, lambda: self._find_status(patience - 0.01))
        else:
            self.ended(9, "the container's monitor and forkserver were killed, and its exit status is lost")

    def ended(self, status: int, error: str = "") -> None:
        """The container has: what is to be done about it, in this order."""
        if self.exited is not None:
            return
        controls.kill(self.plan["procs"])  # type: ignore[arg-type]
        self.session.drain()
        oom = controls.oom_killed(self.plan["oom"])  # type: ignore[arg-type]
        if self.plan["external"]:
            external.delete(self.plan)
        later = self.plan["ephemeral"] and "poststop" not in self.plan["hooks"]  # type: ignore[operator]
        left = self.plan["rmdir"] if later else controls.remove(self.plan["rmdir"])  # type: ignore[arg-type]
        self.exited = write_exit(self.state, code_of(status), oom, error)
        self.upstream.tell("exited", {"left": left})
        try:
            hooks.run(self.plan, "poststop", b"stopped", 0)
        except OSError:
            pass
        self._unlink()
        self.announce("exit", self.exited)
        if later:  # nobody starts it again: who waits for its end need not wait for its groups' end
            left = controls.remove(left)  # type: ignore[arg-type]
            self.upstream.tell("exited", {"left": left})
        if left:
            self.loop.after("rmdir", 0.05, self._remove_again)
        self.loop.after("linger", _LINGER if self.connections else 0.0, self._let_go)

    def _remove_again(self) -> None:
        if controls.remove(self.plan["rmdir"]):  # type: ignore[arg-type]
            self.loop.after("rmdir", 0.2, self._remove_again)

    def _let_go(self) -> None:
        self.loop.cancel("linger")
        self.session.finish("exit")
        self._leave()

    def _leave(self) -> None:
        """Stay until the last client has what is queued for it."""
        self._leaving = True
        if self.session.clients or self.execs.clients():
            self.loop.after("leave", 0.05, self._leave)
            return
        self._unlink()
        self.upstream.tell("done", {})
        self.loop.running = False

    def _unlink(self) -> None:
        """Take no more connections; once, as a new monitor may listen at the same path soon."""
        server, self.server = self.server, None
        if server is not None:
            self.loop.forget(server.fileno())
            server.close()
            try:
                os.unlink(os.path.join(self.state, "monitor.sock"))
            except OSError:
                pass

    # -- daemon ------------------------------------------------------------------------------------------------------

    def _accept(self, _: int) -> None:
        connection = channel.accept(self.server) if self.server else None
        if connection is None:
            return
        self.serve(connection)
        if self.exited is not None:
            self._send(connection, (0, "exit", self.exited))
        elif self.pid:
            self._send(connection, (0, "started", self.describe()), (self.pidfd,))

    def serve(self, connection: socket.socket) -> None:
        """Listen to a daemon."""
        self.connections.append(connection)
        self.loop.watch(connection.fileno(), READ, lambda _: self._request(connection))

    def _hang_up(self, connection: socket.socket) -> None:
        if connection in self.connections:
            self.connections.remove(connection)
            self.loop.forget(connection.fileno())
            connection.close()
        if self.birth is not None and connection is self._starter:
            # Who asked for it is gone; another daemon, which may be here already, waits for what becomes of it.
            self.birth.abandon()
            self._failed("start", 0, b"", "the daemon went away")

    def _send(self, connection: socket.socket, message: channel.Message, attach: tuple[int, ...] = ()) -> None:
        try:
            channel.send(connection, message, attach, socket.MSG_DONTWAIT)
        except OSError:
            self._hang_up(connection)

    def announce(self, event: str, payload: Payload, attach: tuple[int, ...] = ()) -> None:
        """Tell every daemon that is connected."""
        for connection in list(self.connections):
            self._send(connection, (0, event, payload), attach)

    def _forward(self, connection: socket.socket, event: str, payload: Payload, attached: list[int]) -> None:
        self._send(connection, (0, event, payload), tuple(attached))
        streams.close_all(*attached)

    def reply(self, connection: socket.socket, serial: int, ok: bool, payload: Payload, *attach: int) -> None:
        """Answer a request."""
        if connection in self.connections:
            self._send(connection, (serial, ok, payload), attach)

    def _request(self, connection: socket.socket) -> None:
        try:
            (serial, verb, payload), attached = channel.receive(connection)
        except OSError:
            return self._hang_up(connection)
        try:
            _VERBS[str(verb)](self, connection, serial, payload, attached)
        except (OSError, KeyError) as error:
            streams.close_all(*attached)
            number = error.errno if isinstance(error, OSError) else 0
            self.reply(connection, serial, False, {"step": verb, "errno": number or 0, "path": b"", "text": str(error)})

    def attach(self, session: streams.Session, connection: socket.socket, fd: int, want: Payload) -> None:
        """Take over a client; the daemon hears when it ends."""
        number = want.get("id", 0)

        def ended(reason: str) -> None:
            if connection in self.connections:
                self._send(connection, (0, "detached", {"id": number, "reason": reason}))

        session.attach(fd, {**want, "ended": ended})

    def _go(self, connection: socket.socket, serial: int, payload: Payload, attached: list[int]) -> None:
        if self.birth is not None:
            if payload.get("error"):
                self.birth.abandon()
                return self._failed("network", 0, b"", str(payload["error"]))
            self.birth.go()

    def _release(self, connection: socket.socket, serial: int, payload: Payload, attached: list[int]) -> None:
        if not isinstance(self.birth, Birth):
            return streams.close_all(*attached)  # it has failed, which was said
        wants: tuple[Payload, ...] = payload["wants"]  # type: ignore[assignment]
        for fd, want in zip(attached, wants, strict=True):
            self.attach(self.session, connection, fd, want)
        self.birth.release()

    def _attach(self, connection: socket.socket, serial: int, payload: Payload, attached: list[int]) -> None:
        self.attach(self.session, connection, attached.pop(), payload)
        self.reply(connection, serial, True, {})

    def _exec(self, connection: socket.socket, serial: int, payload: Payload, attached: list[int]) -> None:
        self.execs.start(connection, serial, payload, attached)

    def _resize(self, connection: socket.socket, serial: int, payload: Payload, attached: list[int]) -> None:
        session = self.execs.session(str(payload["exec"])) if payload.get("exec") else self.session
        session.resize(int(payload["rows"]), int(payload["columns"]))  # type: ignore[call-overload]
        self.reply(connection, serial, True, {})

    def _network(self, connection: socket.socket, serial: int, payload: Payload, attached: list[int]) -> None:
        with_fds = self.doors.open(self.pidfd, payload)
        self.reply(connection, serial, True, {}, *with_fds)
        streams.close_all(*with_fds)

    def _seen(self, connection: socket.socket, serial: int, payload: Payload, attached: list[int]) -> None:
        if payload.get("exec"):
            self.execs.let_go(str(payload["exec"]))
        elif self.exited is not None and not self._leaving:
            self._let_go()


_VERBS: dict[str, Callable[..., None]] = {
    "discard": lambda monitor, *_: hold(monitor.pid),
    "go": Monitor._go,
    "release": Monitor._release,
    "attach": Monitor._attach,
    "exec": Monitor._exec,
    "resize": Monitor._resize,
    "network": Monitor._network,
    "seen": Monitor._seen,
}
