"""Streams of a process: its outputs, its input, and the clients attached to them. Used by monitors only.

Outputs go to the log through the journal, and to every client. A client that takes nothing is given 1 MiB; then the
process waits for it, as with Docker, but for no longer than STALL seconds: then the client is cut off.
"""

import _socket as socket  # socket itself loads enum
import os
from collections.abc import Callable

from tiffin.runtime import process
from tiffin.runtime.journal import Journal, drain_terminal
from tiffin.runtime.logfile import LogFile
from tiffin.runtime.loop import ERROR, HANGUP, READ, WRITE, Loop

BOUND = 1 << 20
STALL = 30.0
_CHUNK = 65536


class Client:
    """One attached client: a stream socket that the daemon handed over."""

    def __init__(self, session: "Session", fd: int, want: dict[str, object]) -> None:
        """want: stdin, stdout, stderr, framed (bool), detach_keys, leftover (bytes); "ended" is called with why."""
        self.session = session
        session.clients.append(self)
        self.socket = socket.socket(fileno=fd)
        self.socket.setblocking(False)
        self.outputs = (bool(want.get("stdout")), bool(want.get("stderr")))
        self.framed = bool(want.get("framed"))
        self.stdin = bool(want.get("stdin"))
        self.keys: bytes = want.get("detach_keys") or b""  # type: ignore[assignment]
        self.matched = 0
        self.ended: Callable[[str], None] = want["ended"]  # type: ignore[assignment]
        self.queue = bytearray()
        self.open = self.reading = True
        self.closing = ""
        leftover: bytes = want.get("leftover") or b""  # type: ignore[assignment]
        if leftover and self.stdin:
            self._typed(leftover)
        self._watch()

    def _watch(self) -> None:
        if not self.open:
            return
        stalled = self.stdin and self.session.input_full()
        events = (READ if self.reading and not stalled else 0) | (WRITE if self.queue else 0)
        self.session.loop.watch(self.socket.fileno(), events, self._ready)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self.flush()
        if self.open and events & READ:
            self._read()
        elif self.open and events & (HANGUP | ERROR):
            self.close("gone")
        if self.open:
            self._watch()

    def _read(self) -> None:
        try:
            data = self.socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            return self.close("gone")
        if not data:
            # A half-close ends stdin alone: most clients without stdin do it at once, and still want the output.
            self.reading = False
            if self.stdin:
                self.session.client_stdin_ended()
        elif self.stdin:
            self._typed(data)

    def _typed(self, data: bytes) -> None:
        """Pass on what was typed, but for the detach keys; the beginning of a match is held back."""
        if not self.keys or not self.session.terminal:
            return self.session.feed(data)
        out = bytearray()
        for byte in data:
            if byte == self.keys[self.matched]:
                self.matched += 1
                if self.matched == len(self.keys):
                    self.session.feed(bytes(out))
                    return self.close("keys")
                continue
            if self.matched:
                out += self.keys[: self.matched]
                self.matched = 0
                if byte == self.keys[0]:
                    self.matched = 1
                    continue
            out.append(byte)
        self.session.feed(bytes(out))

    def send(self, stream: int, data: bytes) -> None:
        """Queue output, and send what can be sent at once."""
        if not self.open or not self.outputs[stream]:
            return
        waiting = bool(self.queue)
        if self.framed:
            self.queue += bytes((stream + 1, 0, 0, 0)) + len(data).to_bytes(4, "big")
        self.queue += data
        if not waiting:
            self.flush()
        self._watch()

    def flush(self) -> None:
        """Send what the socket takes."""
        try:
            while self.queue:
                sent = self.socket.send(self.queue, socket.MSG_NOSIGNAL)
                del self.queue[:sent]
        except BlockingIOError:
            pass
        except OSError:
            return self.close("gone")
        loop = self.session.loop
        if len(self.queue) > BOUND:
            loop.after(self, STALL, lambda: self.close("slow"))
        else:
            loop.cancel(self)
            self.session.resume()
        if not self.queue and self.closing:
            self.close(self.closing)

    def finish(self, reason: str) -> None:
        """Close once everything queued is sent, or after STALL seconds."""
        self.closing = reason
        if self.queue:
            self.session.loop.after(self, STALL, lambda: self.close("slow"))
        else:
            self.close(reason)

    def close(self, reason: str) -> None:
        """End the connection; nothing queued is sent."""
        if not self.open:
            return
        self.open = False
        self.session.loop.forget(self.socket.fileno())
        self.session.loop.cancel(self)
        if reason != "failed":  # of an exec that never began the daemon has yet to say why, in the same stream
            try:
                self.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.socket.close()
        self.session.clients.remove(self)
        if self.stdin and self.reading and reason != "keys":
            self.session.client_stdin_ended()
        self.session.resume()
        self.ended(reason)


class Session:
    """The streams of one process."""

    def __init__(self, loop: Loop, *, terminal: bool, stdin_once: bool) -> None:
        self.loop = loop
        self.terminal, self.stdin_once = terminal, stdin_once
        self.clients: list[Client] = []
        self.sources: dict[int, int] = {}  # stream → descriptor
        self.relay: tuple[int, int] | None = None
        self.journal: Journal | None = None
        self.log: LogFile | None = None
        self.input = -1
        self._typed = bytearray()
        self._end_input = self._paused = False
        self.on_input_closed: Callable[[], None] = lambda: None

    def open_pipes(self, stdin: int, stdout: int, stderr: int) -> None:
        """Our ends of the process's pipes; stdin -1 where it has none."""
        for fd in (stdin, stdout, stderr):
            if fd >= 0:
                os.set_blocking(fd, False)
        self.input = stdin
        for stream, fd in ((0, stdout), (1, stderr)):
            self.sources[stream] = fd
        self._watch_outputs()

    def open_terminal(self, master: int, relay: tuple[int, int] | None) -> None:
        """The pty's master; relay: a pipe between it and the journal, as splice(2) wants one."""
        os.set_blocking(master, False)
        if relay:
            os.set_blocking(relay[0], False)
        self.input, self.relay = master, relay
        self.sources[0] = master
        self._watch_outputs()

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size. OSError without one."""
        if not self.terminal or self.input < 0:
            raise OSError(25, "not a terminal")  # ENOTTY; ioctl raises ValueError for -1
        process.resize(self.input, rows, columns)

    def record(self, journal: Journal, log: LogFile) -> None:
        """Write the outputs to a log. What a predecessor took and did not process comes first."""
        self.journal, self.log = journal, log
        for stream in (0, 1):
            self._process(stream, final=False)

    # -- output ------------------------------------------------------------------------------------------------------

    def _watch_outputs(self) -> None:
        for stream, fd in self.sources.items():
            events = 0 if self._paused else READ
            if fd == self.input and self._typed:
                events |= WRITE
            if not events:
                self.loop.forget(fd)  # a hang-up would be reported all the time
                continue
            self.loop.watch(fd, events, lambda events, stream=stream: self._ready(stream, events))  # type: ignore[misc]

    def _ready(self, stream: int, events: int) -> None:
        if events & WRITE:
            self._write_input()
        if events & (READ | HANGUP) and not self._paused:
            self.pull(stream)

    def pull(self, stream: int) -> bool:
        """Take a chunk of one output: whether there may be more."""
        source = self.sources.get(stream, -1)
        if source < 0:
            return False
        try:
            data = self._take(stream, source)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._end(stream)
            return False
        for client in list(self.clients):
            client.send(stream, data)
        self._pause_if_full()
        return True

    def _take(self, stream: int, source: int) -> bytes:
        journal = self.journal
        if journal is None:
            return os.read(source, _CHUNK)
        if self.relay:
            moved = drain_terminal(source, self.relay[1])
            if moved:
                journal.take(self.relay[0], stream)
        else:
            moved = journal.take(source, stream)
        return self._process(stream, final=False) if moved else b""

    def _process(self, stream: int, *, final: bool) -> bytes:
        """Bring the journal's new bytes into the log: those bytes. The beginning of a line is left: the carry."""
        journal, log = self.journal, self.log
        assert journal is not None and log is not None
        carry, start, fresh = journal.carry[stream], journal.processed[stream], journal.pending(stream)
        data, position = carry + fresh, 0
        while position < len(data):
            done, full = log.write(stream, data[position:] if position else data, final=final)
            position += done
            if not full:
                break
            # A rotation may come only after a commit: the record must say which file its length is of.
            behind = max(0, position - len(carry))
            self._commit(stream, carry[position:], start + behind)
            log.rotate()
            self._commit(stream, carry[position:], start + behind)
        self._commit(stream, data[position:], start + len(fresh))
        if journal.processed[stream]:
            journal.drop(stream)
        return fresh

    def _commit(self, stream: int, carry: bytes, processed: int) -> None:
        journal, log = self.journal, self.log
        assert journal is not None and log is not None
        journal.carry[stream], journal.processed[stream] = carry, processed
        journal.log_size, journal.dropped = log.size, log.dropped
        journal.commit()

    def _end(self, stream: int) -> None:
        fd = self.sources.pop(stream)
        self.loop.forget(fd)
        if self.journal:
            self._process(stream, final=True)
        if fd != self.input:
            os.close(fd)

    def drain(self) -> None:
        """Take everything that is left: when no process can write any more."""
        for stream in list(self.sources):
            while self.pull(stream):
                pass
            if self.journal and stream in self.sources:
                self._process(stream, final=True)

    def _pause_if_full(self) -> None:
        if any(len(client.queue) > BOUND for client in self.clients):
            self._paused = True
            self._watch_outputs()

    def resume(self) -> None:
        """Go on reading when no client is behind."""
        if self._paused and not any(len(client.queue) > BOUND for client in self.clients):
            self._paused = False
            self._watch_outputs()

    # -- input -------------------------------------------------------------------------------------------------------

    def input_full(self) -> bool:
        """Whether clients must wait with what they type."""
        return len(self._typed) > _CHUNK

    def feed(self, data: bytes) -> None:
        """Pass bytes to the process's stdin."""
        if self.input < 0 or not data or self._end_input:
            return
        self._typed += data
        self._write_input()

    def _write_input(self, events: int = 0) -> None:
        full = self.input_full()
        try:
            while self._typed:
                written = os.write(self.input, self._typed[:_CHUNK])
                del self._typed[:written]
        except BlockingIOError:
            pass
        except OSError:
            self._typed.clear()
            return self._close_input()
        if self.input in self.sources.values():
            self._watch_outputs()
        elif self._typed:
            self.loop.watch(self.input, WRITE, self._write_input)
        else:
            self.loop.forget(self.input)
            if self._end_input:
                self._close_input()
        if full and not self.input_full():
            for client in self.clients:
                client._watch()

    def _close_input(self) -> None:
        if self.input >= 0 and not self.terminal:
            self.loop.forget(self.input)
            os.close(self.input)
            self.input = -1
            self.on_input_closed()

    def client_stdin_ended(self) -> None:
        """A client's stdin is over; the process's too if it was for one client only."""
        if self.stdin_once and not self.terminal:
            self._end_input = True
            if not self._typed:
                self._close_input()

    # -- clients -----------------------------------------------------------------------------------------------------

    def attach(self, fd: int, want: dict[str, object]) -> Client | None:
        """Take over a client's socket."""
        client = Client(self, fd, want)
        return client if client.open else None

    def finish(self, reason: str) -> None:
        """The process is gone: let clients have what is queued, then close them."""
        for client in list(self.clients):
            client.finish(reason)

    def close(self) -> None:
        """Close every descriptor."""
        for fd in {*self.sources.values(), self.input} - {-1}:
            self.loop.forget(fd)
            os.close(fd)
        self.sources.clear()
        self.input = -1


def pipes(*, stdin: bool) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Pipes for a process: (its ends, our ends). Without stdin it reads /dev/null and our end is -1."""
    if stdin:
        theirs, ours = os.pipe2(os.O_CLOEXEC)
    else:
        theirs, ours = os.open(b"/dev/null", os.O_RDONLY | os.O_CLOEXEC), -1
    out, err = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
    return (theirs, out[1], err[1]), (ours, out[0], err[0])


def close_all(*descriptors: int) -> None:
    """Close those that are open."""
    for fd in descriptors:
        if fd >= 0:
            os.close(fd)
