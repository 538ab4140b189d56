"""The log of a container in the host's journal as well, by journald's native protocol.

What is written is kept in the bounded file too: `docker logs` reads that, and nothing is lost while journald restarts.
An entry is sent when it has been written; a monitor that takes over a killed one may send its last entries twice.
Source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL
"""

import _socket as socket  # socket itself loads enum
import select

from tiffin.runtime.logfile import LogFile, pieces

SOCKET = "/run/systemd/journal/socket"
_PATIENCE = 1_000  # milliseconds; a journal that takes nothing for so long loses entries, and the container goes on
_PRIORITIES = (b"6", b"3")  # info, error: what docker gives to stdout and stderr


class JournaldLog(LogFile):
    """settings["journal"]: the fields that are the same for all entries, in the protocol's form."""

    def __init__(self, settings: dict[str, object], size: int | None) -> None:
        super().__init__(settings, size)
        self._fields: bytes = settings["journal"]  # type: ignore[assignment]
        self._socket: socket.socket | None = None

    def write(self, stream: int, data: bytes, *, final: bool = False) -> tuple[int, bool]:
        """As the file's; what was written is sent, an entry a line."""
        end, full = super().write(stream, data, final=final)
        for piece in pieces(data[:end]):
            self._send(entry(self._fields, stream, piece))
        return end, full

    def _send(self, message: bytes) -> None:
        for _ in range(2):  # the second time to a journald that has been restarted
            try:
                if self._socket is None:
                    self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
                    self._socket.connect(SOCKET)
                self._socket.send(message)
                return
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._socket.fileno(), select.POLLOUT)  # type: ignore[union-attr]
                if not poll.poll(_PATIENCE):
                    return
            except OSError:
                if self._socket is not None:
                    self._socket.close()
                self._socket = None


def entry(fields: bytes, stream: int, piece: bytes) -> bytes:
    """One datagram: a line, or a part of one that was too long."""
    partial = b"" if piece.endswith(b"\n") else b"CONTAINER_PARTIAL_MESSAGE=true\n"
    text = piece.removesuffix(b"\n")
    return fields + partial + b"PRIORITY=" + _PRIORITIES[stream] + b"\n" + field(b"MESSAGE", text)


def field(name: bytes, value: bytes) -> bytes:
    """A field; a value with line breaks goes with its size."""
    if b"\n" in value:
        return name + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return name + b"=" + value + b"\n"


def open_log(settings: dict[str, object], size: int | None) -> LogFile | None:
    """The log that plan["log"] asks for. size: how much of it holds, for a monitor that goes on with it.

    None where it was there and its directory is gone: the container runs on, and nobody reads what it says.
    """
    kind = JournaldLog if settings.get("journal") else LogFile
    try:
        return kind(settings, size)
    except FileNotFoundError:
        if size is None:
            raise
        return None
