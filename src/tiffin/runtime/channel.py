"""Messages between daemon, forkserver and monitors: marshalled tuples with descriptors, over SEQPACKET sockets.

One that is too long for a message travels in a memfd. Requests are (serial, verb, payload), replies (serial, True or
False, payload), events (0, name, payload); payloads are dicts of builtins.
"""

import _socket as socket  # socket itself loads enum
import marshal
import os

from tiffin.linux import fds

_INLINE = 64 * 1024
Message = tuple[int, object, dict[str, object]]


class Closed(OSError):
    """The other side is gone."""


def send(channel: socket.socket, message: Message, attach: tuple[int, ...] = (), flags: int = 0) -> None:
    """Send one message. BrokenPipeError where nobody is there."""
    data: bytes = marshal.dumps(message)  # type: ignore[arg-type]
    if len(data) <= _INLINE:
        return fds.send(channel, data, attach, flags)
    memory = os.memfd_create("message", os.MFD_CLOEXEC)
    try:
        os.write(memory, data)
        fds.send(channel, b"", (memory, *attach), flags)
    finally:
        os.close(memory)


def receive(channel: socket.socket, flags: int = 0) -> tuple[Message, list[int]]:
    """One message and its descriptors. Closed at the end."""
    return unpack(*fds.receive(channel, _INLINE + 4096, flags))


def unpack(data: bytes, attached: list[int]) -> tuple[Message, list[int]]:
    """As `receive`, of what was received."""
    if not data:
        if not attached:
            raise Closed(32, "the other side closed the channel")
        memory = attached.pop(0)
        data = os.pread(memory, os.fstat(memory).st_size, 0)
        os.close(memory)
    try:
        serial, what, payload = marshal.loads(data)
        return (serial, what, dict(payload)), attached
    except (ValueError, EOFError, TypeError):
        for fd in attached:
            os.close(fd)
        raise Closed(74, "not a message") from None  # EBADMSG


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


def listen(directory: str, name: str) -> socket.socket:
    """A listening socket at directory/name, mode 0600; through /proc/self/fd, as a path may exceed the 107 bytes."""
    place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        # Under a name of its own first: whoever looks for a monitor that is being replaced never finds none.
        fresh = f"{name}.{os.getpid()}"
        before = os.umask(0o177)
        server.bind(f"/proc/self/fd/{place}/{fresh}")
        os.umask(before)
        server.listen(64)
        os.rename(fresh, name, src_dir_fd=place, dst_dir_fd=place)
    finally:
        os.close(place)
    return server


def connect(directory: str, name: str) -> socket.socket:
    """Connect to directory/name. FileNotFoundError or ConnectionRefusedError where nobody listens."""
    place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        client.connect(f"/proc/self/fd/{place}/{name}")
    except OSError:
        client.close()
        raise
    finally:
        os.close(place)
    return client


def accept(server: socket.socket) -> socket.socket | None:
    """The next connection, if it is by our own user; others are closed at once."""
    fd, _ = server._accept()  # type: ignore[attr-defined]
    client = socket.socket(fileno=fd)
    if fds.peer(client)[1] != os.geteuid():
        client.close()
        return None
    return client
