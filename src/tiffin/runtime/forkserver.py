"""The forkserver: small, single-threaded; it forks a monitor for each container, and a new one when one dies.

It runs from a sealed copy of the interpreter (CVE-2019-5736), is not dumpable (CVE-2016-9962), and is child subreaper:
what a dead monitor leaves behind becomes its child, so that no exit status is lost. It listens on forkserver.sock in
the exec root; a restarted daemon connects there. Without monitors and without a daemon it leaves.

Requests (see channel.py): start {"plan": memfd, wants} + [plan, control, attachments…]; adopt, list, leave.
"""

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import _socket as socket
import gc
import marshal
import os
import sys
import time

from tiffin.linux import credentials, fds, namespaces
from tiffin.runtime import channel, compress, controls, streams, title
from tiffin.runtime import plan as plans
from tiffin.runtime.exitfile import sync_exit, write_exit
from tiffin.runtime.journal import Journal
from tiffin.runtime.loop import READ, Loop
from tiffin.runtime.monitor import Monitor

_IDLE = 15.0  # s without daemon and monitors
_MANY, _SPAN = 100, 10.0  # replacements of one monitor, in s, that are too many
Payload = dict[str, object]


class Charge:
    """One container, as the forkserver knows it."""

    def __init__(self, plan: Payload) -> None:
        self.plan = plan
        self.monitor = 0
        self.upstream: socket.socket | None = None
        self.held: dict[str, int] = {}
        self.pid = self.started_at = 0
        self.status: int | None = None
        self.exited = False
        self.left: tuple[bytes, ...] = ()  # control groups to be removed after all
        self.replaced: list[float] = []  # when
        self.foreign = False  # the monitor is the child of a forkserver that was killed

    def close(self) -> None:
        """Release everything kept."""
        if self.upstream is not None:
            self.upstream.close()
        streams.close_all(*self.held.values())


class Forkserver:
    """The one of an exec root."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.loop = Loop(self._child_ended)
        self.server = channel.listen(directory, "forkserver.sock")
        self.loop.watch(self.server.fileno(), READ, self._accept)
        self.connections: list[socket.socket] = []
        self.charges: dict[int, Charge] = {}  # by the monitor's pid
        self._idle()

    def _idle(self) -> None:
        self.loop.after("idle", _IDLE, self._leave_if_idle)

    def _leave_if_idle(self) -> None:
        if self.connections or self.charges:
            return self._idle()
        self.loop.running = False

    # -- daemon ------------------------------------------------------------------------------------------------------

    def _accept(self, _: int) -> None:
        connection = channel.accept(self.server)
        if connection is not None:
            self.connections.append(connection)
            self.loop.watch(connection.fileno(), READ, lambda _: self._request(connection))

    def _request(self, connection: socket.socket) -> None:
        try:
            (serial, verb, payload), attached = channel.receive(connection)
        except OSError:
            return self._hang_up(connection)
        if verb == "start":
            self._start(payload, attached)
        elif verb == "register":
            self._take_charge(connection, payload, attached)
        elif verb == "leave":
            # the daemon ends in good order: nobody has to wait for the idle time
            self._hang_up(connection)
            self.loop.running = bool(self.connections or self.charges)
        elif verb == "list":
            reply: Payload = {"ids": tuple(str(charge.plan["id"]) for charge in self.charges.values())}
            channel.send(connection, (serial, True, reply))

    def _hang_up(self, connection: socket.socket) -> None:
        self.connections.remove(connection)
        self.loop.forget(connection.fileno())
        connection.close()

    def _take_charge(self, connection: socket.socket, payload: Payload, attached: list[int]) -> None:
        """A monitor whose forkserver was killed; it is not our child, so the end of its connection is its end."""
        charge = Charge(payload["plan"])  # type: ignore[arg-type]
        names: tuple[str, ...] = payload["names"]  # type: ignore[assignment]
        charge.held = dict(zip(names, attached, strict=True))
        charge.pid, charge.started_at = int(payload["pid"]), int(payload["at"])  # type: ignore[call-overload]
        charge.monitor, charge.upstream, charge.foreign = fds.peer(connection)[0], connection, True
        self.connections.remove(connection)
        self.charges[charge.monitor] = charge
        self.loop.watch(connection.fileno(), READ, lambda _: self._from_monitor(charge))

    def _start(self, payload: Payload, attached: list[int]) -> None:
        """Fork a monitor. What goes wrong here closes the control socket, which the daemon sees."""
        memory, control, *clients = attached
        theirs: tuple[int, int, int] | None = None
        charge = None
        try:
            plan = plans.defaults(marshal.loads(os.pread(memory, os.fstat(memory).st_size, 0)))
            charge = Charge(plan)
            stdio: Payload = plan["stdio"]  # type: ignore[assignment]
            held = charge.held
            if not stdio["terminal"]:
                theirs, (stdin, held["stdout"], held["stderr"]) = streams.pipes(stdin=bool(stdio["stdin"]))
                if stdin >= 0:
                    held["stdin"] = stdin
            if plan["log"]:
                held["header"], held["data0"], held["data1"] = Journal.create()
                if stdio["terminal"]:
                    held["relay0"], held["relay1"] = os.pipe2(os.O_CLOEXEC)
            wants: list[dict[str, object]] = list(payload["wants"])  # type: ignore[call-overload]
            pairs = list(zip(clients, wants, strict=True))

            def begin(monitor: Monitor) -> None:
                monitor.start(socket.socket(fileno=control), pairs, theirs)

            self._fork(charge, begin, {control, *clients, *(theirs or ())})
        except OSError:
            if charge:
                charge.close()
        finally:
            streams.close_all(memory, control, *clients, *set(theirs or ()))

    def _fork(self, charge: Charge, begin: object, extra: set[int]) -> None:
        """Fork a monitor that has the charge's descriptors and no others."""
        ours, theirs = channel.pair()
        before = _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGCHLD,))
        pid = os.fork()
        if pid == 0:
            try:
                self.loop.close()
                keep = {0, 1, 2, theirs.fileno(), *charge.held.values(), *extra}
                close_others(keep)
                _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
                title.show(b"tiffin-monitor", str(charge.plan["id"]).encode())
                monitor = Monitor(charge.plan, theirs, charge.held, self.directory)
                begin(monitor)  # type: ignore[operator]
                monitor.loop.run()
                sync_exit(monitor.state)
            except BaseException as error:
                _complain(error)
                os._exit(70)
            finally:
                os._exit(0)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
        theirs.close()
        charge.monitor, charge.upstream, charge.foreign = pid, ours, False
        self.charges[pid] = charge
        self.loop.watch(ours.fileno(), READ, lambda _: self._from_monitor(charge))

    # -- monitors ----------------------------------------------------------------------------------------------------

    def _from_monitor(self, charge: Charge) -> None:
        upstream = charge.upstream
        assert upstream is not None
        try:
            (_, event, payload), attached = channel.receive(upstream)
        except OSError:
            self.loop.forget(upstream.fileno())
            if charge.foreign and charge.monitor in self.charges:
                del self.charges[charge.monitor]
                self._monitor_ended(charge)
            return
        if event == "keep":
            charge.held[str(payload["name"])] = attached.pop()
        elif event == "compress":
            self._compress(str(payload["path"]))
        elif event == "drop":
            streams.close_all(charge.held.pop(str(payload["name"]), -1))
        elif event == "started":
            charge.held["pidfd"] = attached.pop()
            charge.pid, charge.started_at = int(payload["pid"]), int(payload["at"])  # type: ignore[call-overload]
        elif event in ("exited", "done"):
            charge.exited = True
            charge.left = payload.get("left", charge.left)  # type: ignore[assignment]
        streams.close_all(*attached)

    def _compress(self, path: str) -> None:
        if os.fork() == 0:
            try:
                self.loop.close()
                close_others({2})
                compress.compress(path)
            finally:
                os._exit(0)

    def _child_ended(self, pid: int, status: int) -> None:
        charge = self.charges.pop(pid, None)
        if charge is not None:
            return self._monitor_ended(charge)
        for charge in self.charges.values():
            if charge.pid == pid:
                charge.status = status
                self._hand_down(charge)

    def _hand_down(self, charge: Charge) -> None:
        """The container was reaped here: tell its new monitor."""
        if charge.upstream is not None:
            try:
                channel.send(charge.upstream, (0, "reaped", {"status": charge.status}))
            except OSError:
                pass

    def _monitor_ended(self, charge: Charge) -> None:
        upstream = charge.upstream
        assert upstream is not None
        # What it said last is still in the socket.
        while _readable(upstream):
            self._from_monitor(charge)
        self.loop.forget(upstream.fileno())
        upstream.close()
        charge.upstream = None
        if charge.exited:
            # Only what was in use when the container ended, lest the next run of it loses its groups.
            controls.remove(charge.left)
            charge.close()
        elif not charge.pid:
            # It died before there was a container: undo what it did.
            controls.kill(charge.plan["procs"])  # type: ignore[arg-type]
            controls.remove(charge.plan["rmdir"])  # type: ignore[arg-type]
            charge.close()
        else:
            self._replace(charge)

    def _replace(self, charge: Charge) -> None:
        status = charge.status
        if status is None and "pidfd" in charge.held:
            status = self._already_ended(charge)
        now = time.monotonic()
        charge.replaced = [at for at in charge.replaced if now - at < _SPAN] + [now]
        try:
            if len(charge.replaced) > _MANY:
                raise OSError(11, "monitors of this container keep dying")
            self._fork(charge, lambda monitor: monitor.adopt(charge.pid, charge.started_at, status), set())
        except OSError:
            # No memory, no processes: the container can't be watched, so it must not run.
            try:
                namespaces.pidfd_send_signal(charge.held["pidfd"], 9)
            except OSError:
                pass
            controls.kill(charge.plan["procs"])  # type: ignore[arg-type]
            controls.remove(charge.plan["rmdir"])  # type: ignore[arg-type]
            write_exit(str(charge.plan["state"]), 137, False)
            sync_exit(str(charge.plan["state"]))
            charge.close()

    def _already_ended(self, charge: Charge) -> int | None:
        """The wait status if the container ended together with its monitor."""
        try:
            pid, status = os.waitpid(charge.pid, os.WNOHANG)
        except ChildProcessError:
            # The monitor had reaped it before it died.
            return namespaces.exit_status(charge.held["pidfd"])
        return status if pid else None


def _readable(upstream: socket.socket) -> bool:
    try:
        return bool(upstream.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False


def close_others(keep: set[int]) -> None:
    """Close every descriptor but these."""
    start = 0
    for fd in sorted(keep):
        if fd > start:
            fds.close_range(start, fd - 1, 0)
        start = fd + 1
    fds.close_range(start, 0xFFFFFFFF, 0)


def _complain(error: BaseException) -> None:
    """One line to stderr, which is the daemon's log."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else "?"
    try:
        os.write(2, f"tiffin monitor: {type(error).__name__}: {error} at {place}\n".encode())
    except OSError:
        pass


def main(directory: str, ready: int) -> None:
    """Serve; a byte on the descriptor `ready` says that the socket is there."""
    credentials.prctl(credentials.PR_SET_DUMPABLE, 0, 0, 0, 0)
    credentials.prctl(credentials.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    title.locate()
    title.show(b"tiffin-forkserver", os.fsencode(directory))
    for number in range(1, 32):
        if number not in (_signal.SIGKILL, _signal.SIGSTOP) and _signal.getsignal(number) == _signal.SIG_IGN:
            _signal.signal(number, _signal.SIG_DFL)
    for ignored in (_signal.SIGPIPE, _signal.SIGXFSZ, _signal.SIGINT, _signal.SIGHUP):
        _signal.signal(ignored, _signal.SIG_IGN)
    server = Forkserver(directory)
    os.write(ready, b"1")
    os.close(ready)
    gc.collect()
    gc.freeze()
    server.loop.run()
    sys.exit(0)
