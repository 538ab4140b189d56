"""The forkserver: small, single-threaded; it has a monitor for each container, and another one when one dies.

It runs from a sealed copy of the interpreter (CVE-2019-5736), is not dumpable (CVE-2016-9962), and is child subreaper:
what a dead monitor leaves behind becomes its child, so that no exit status is lost. It listens on forkserver.sock in
the exec root; a restarted daemon connects there. Without monitors and without a daemon it leaves. Monitors are born in
the nursery, which is forked first of all. Plans are not read here: they pass as descriptors.

Requests (see channel.py): start {"charge", wants} + [plan, control, attachments…]; register, list, leave.
"""

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import _socket as socket
import os
import sys
import time

from tiffin.linux import credentials, fds, namespaces
from tiffin.runtime import channel, compress, controls, rest, streams, title, vigil
from tiffin.runtime.exitfile import sync_exit, write_exit
from tiffin.runtime.journal import Journal
from tiffin.runtime.loop import READ, Loop
from tiffin.runtime.nursery import Gone, Nursery

_IDLE = 15.0  # s without daemon and monitors
_SPARE = 60.0  # s without a start, after which no monitors are kept in reserve
_FULL = 0.1  # s until the next attempt, when there is no descriptor for a connection
_PAUSE = 0.01  # s without a start, before new ones are made that are some work to make
_MANY, _SPAN = 100, 10.0  # replacements of one monitor, in s, that are too many
Payload = dict[str, object]


class Charge:
    """One container, as the forkserver knows it."""

    def __init__(self, about: Payload) -> None:
        """about: the charge, see plan_memory.sealed."""
        self.about = about
        self.monitor = 0
        self.upstream: socket.socket | None = None
        self.held: dict[str, int] = {}
        self.pid = self.started_at = 0
        self.status: int | None = None
        self.exited = False
        self.left: tuple[bytes, ...] = ()  # control groups to be removed after all
        self.replaced: list[float] = []  # when
        self.foreign = False  # the monitor is the child of a forkserver that was killed
        self.warm = False  # the kind of monitor, see nursery.py

    def close(self) -> None:
        """Release everything kept."""
        if self.upstream is not None:
            self.upstream.close()
        streams.close_all(*self.held.values())


class Forkserver:
    """The one of an exec root."""

    def __init__(self, directory: str, nursery: Nursery) -> None:
        self.directory = directory
        self.nursery = nursery
        self.loop = Loop(self._child_ended)
        self.loop.watch(nursery.socket.fileno(), READ, lambda _: nursery.heard())
        self.server = channel.listen(directory, "forkserver.sock")
        self.connections: list[socket.socket] = []
        self.charges: dict[int, Charge] = {}  # by the monitor's pid
        self.leaving = False  # the last daemon that was here ended in good order
        self._listen()
        self._idle()

    def _listen(self) -> None:
        self.loop.watch(self.server.fileno(), READ, self._accept)

    def _idle(self) -> None:
        self.loop.after("idle", _IDLE, self._leave_if_idle)

    def _leave_if_asked(self) -> None:
        if self.leaving and not self.connections and not self.charges:
            self.loop.running = False

    def _leave_if_idle(self) -> None:
        if self.connections or self.charges:
            return self._idle()
        self.loop.running = False

    # -- daemon ------------------------------------------------------------------------------------------------------

    def _accept(self, _: int) -> None:
        try:
            connection = channel.accept(self.server)
        except OSError:
            self.loop.forget(self.server.fileno())
            return self.loop.after("listen", _FULL, self._listen)
        if connection is not None:
            self.leaving = False
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
            self.leaving = True
            self._leave_if_asked()
        elif verb == "list":
            reply: Payload = {"ids": tuple(str(charge.about["id"]) for charge in self.charges.values())}
            try:
                channel.send(connection, (serial, True, reply))
            except OSError:
                self._hang_up(connection)  # who asked did not wait

    def _hang_up(self, connection: socket.socket) -> None:
        self.connections.remove(connection)
        self.loop.forget(connection.fileno())
        connection.close()

    def _take_charge(self, connection: socket.socket, payload: Payload, attached: list[int]) -> None:
        """A monitor whose forkserver was killed; it is not our child, so the end of its connection is its end."""
        charge = Charge(payload["charge"])  # type: ignore[arg-type]
        names: tuple[str, ...] = payload["names"]  # type: ignore[assignment]
        charge.held = dict(zip(names, attached, strict=True))
        charge.pid, charge.started_at = int(payload["pid"]), int(payload["at"])  # type: ignore[call-overload]
        charge.monitor, charge.upstream, charge.foreign = fds.peer(connection)[0], connection, True
        self.connections.remove(connection)
        self.charges[charge.monitor] = charge
        self.loop.watch(connection.fileno(), READ, lambda _: self._from_monitor(charge))

    def _start(self, payload: Payload, attached: list[int]) -> None:
        """Give a monitor its charge. What goes wrong here closes the control socket, which the daemon sees."""
        memory, control, *clients = attached
        about: Payload = payload["charge"]  # type: ignore[assignment]
        charge = Charge({**about, "directory": self.directory})
        held, theirs = charge.held, tuple[int, ...]()
        held["plan"] = memory
        try:
            if not about["terminal"]:
                theirs, (stdin, held["stdout"], held["stderr"]) = streams.pipes(stdin=bool(about["stdin"]))
                if stdin >= 0:
                    held["stdin"] = stdin
            if about["log"]:
                held["header"], held["data0"], held["data1"] = Journal.create()
                if about["terminal"]:
                    held["relay0"], held["relay1"] = os.pipe2(os.O_CLOEXEC)
            task: Payload = {"wants": payload["wants"], "stdio": len(theirs)}
            self._entrust(charge, "start", task, (control, *theirs, *clients))
        except Gone:
            # Before the control socket: who started it sees that it is the forkserver that ended, and asks the next.
            for one in (self.server, *self.connections):
                one.close()
            raise
        except OSError:
            charge.close()
        finally:
            streams.close_all(control, *clients, *theirs)

    def _entrust(self, charge: Charge, what: str, task: Payload, attach: tuple[int, ...] = ()) -> None:
        """Find a monitor for a container: vigil.keep says what for, and with which descriptors."""
        while True:
            rests = what == "start" and charge.about["rests"] and not task["wants"]
            pid, ours = self.nursery.take(warm=not rests)
            held = charge.held
            message: Payload = {"charge": charge.about, "names": tuple(held), **task}
            kind = b"r" if rests else b"-" if self.nursery.learnt() or what != "start" else b"l"
            try:
                ours.send(kind + str(charge.about["id"]).encode())
                channel.send(ours, (0, what, message), (*held.values(), *attach))
                break
            except (BrokenPipeError, ConnectionResetError):
                ours.close()  # it was killed while it waited
        charge.monitor, charge.upstream, charge.foreign, charge.warm = pid, ours, False, not rests
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
            if charge.warm:
                # Not beside what is done now: it may be there for a moment only, and be waited for.
                self.loop.after("refill", _PAUSE, lambda: self.nursery.refill(warm=True))
            else:
                self.nursery.refill(warm=False)
            self.loop.after("spares", _SPARE, self.nursery.drop)
        elif event == "written":
            self.nursery.learn(payload)  # type: ignore[arg-type]
        elif event in ("exited", "done"):
            charge.exited = True
            charge.left = payload.get("left", charge.left)  # type: ignore[assignment]
        streams.close_all(*attached)

    def _compress(self, path: str) -> None:
        if os.fork() == 0:
            try:
                self.loop.close()
                fds.close_others({2})
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
            self._leave_if_asked()
        elif not charge.pid:
            # It died before there was a container: undo what it did.
            controls.kill(charge.about["procs"])  # type: ignore[arg-type]
            controls.remove(charge.about["rmdir"])  # type: ignore[arg-type]
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
            self._entrust(charge, "adopt", {"pid": charge.pid, "at": charge.started_at, "status": status})
        except Gone:
            raise
        except OSError:
            # No memory, no processes: the container can't be watched, so it must not run.
            try:
                namespaces.pidfd_send_signal(charge.held["pidfd"], 9)
            except OSError:
                pass
            controls.kill(charge.about["procs"])  # type: ignore[arg-type]
            controls.remove(charge.about["rmdir"])  # type: ignore[arg-type]
            write_exit(str(charge.about["state"]), 137, False)
            sync_exit(str(charge.about["state"]))
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
    server = Forkserver(directory, Nursery(vigil.keep, rest.rehearse))
    os.write(ready, b"1")
    os.close(ready)
    try:
        server.loop.run()
    except Gone:
        # A nursery forked now would know too much; the daemon starts another forkserver. The listening socket is closed
        # before the connections: who hears of the end finds nobody there.
        server.server.close()
        os._exit(1)
    sys.exit(0)
