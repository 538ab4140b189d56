"""A monitor's channel to the forkserver that has it in charge, and to the next one when that was killed."""

import _socket as socket  # socket itself loads enum

from tiffin.runtime import channel, streams
from tiffin.runtime.loop import READ

if False:  # for the annotation alone; typing.TYPE_CHECKING would load typing
    from tiffin.runtime.monitor import Monitor

_SOON, _LATEST = 0.05, 2.0  # s, between two attempts to find another forkserver


class Upstream:
    """The monitor's end."""

    def __init__(self, monitor: "Monitor", sock: socket.socket) -> None:
        self.monitor, self.socket = monitor, sock
        self._watch()

    def _watch(self) -> None:
        self.monitor.loop.watch(self.socket.fileno(), READ, self._readable)

    def tell(self, event: str, payload: dict[str, object], attach: tuple[int, ...] = ()) -> None:
        """What forkserver.py makes of it: keep, drop, compress, started, exited, done."""
        try:
            channel.send(self.socket, (0, event, payload), attach)
        except OSError:
            pass  # it was killed; the daemon starts another

    def _readable(self, _: int) -> None:
        try:
            (_, event, payload), attached = channel.receive(self.socket)
        except OSError:
            self.monitor.loop.forget(self.socket.fileno())
            self._register_soon(_SOON)
            return
        streams.close_all(*attached)
        if event == "reaped":
            self.monitor.ended(payload["status"])  # type: ignore[arg-type]

    def _register_soon(self, seconds: float) -> None:
        self.monitor.loop.after("register", seconds, lambda: self._register(min(seconds * 2, _LATEST)))

    def _register(self, pause: float) -> None:
        """Put the container into the charge of the next forkserver."""
        monitor = self.monitor
        if monitor.exited is not None or not monitor.pid:
            return self._register_soon(pause)  # it has ended and will leave, or is yet to begin
        try:
            found = channel.connect(str(monitor.charge["directory"]), "forkserver.sock")
        except OSError:
            return self._register_soon(pause)
        self.socket.close()
        self.socket = found
        self._watch()
        held = {**monitor.held, "pidfd": monitor.pidfd}
        if "stdin" in held and monitor.session.input < 0:
            del held["stdin"]
        about: dict[str, object] = {"charge": monitor.charge, "pid": monitor.pid, "at": monitor.started_at}
        self.tell("register", {**about, "names": tuple(held)}, tuple(held.values()))
