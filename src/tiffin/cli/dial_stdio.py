"""`tiffin system dial-stdio`: the far end of an ssh:// host. Bytes in from stdin, bytes out to stdout."""

from __future__ import annotations

import os
import select
import socket

from tiffin.cli.command import Call, Command
from tiffin.cli.logs import write_all

_READ = 65536


def run(call: Call) -> int:
    sock = call.engine.endpoint.open()
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(sock.fileno(), select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if 0 in ready:
            data = os.read(0, _READ)
            if data:
                sock.sendall(data)
            else:
                poll.unregister(0)
                sock.shutdown(socket.SHUT_WR)
        if sock.fileno() in ready:
            data = sock.recv(_READ)
            if not data:
                return 0
            write_all(1, data)


COMMANDS = {"system dial-stdio": Command("system dial-stdio", run)}
