"""Network namespaces that play hosts and containers, within the test's own process.

A socket belongs to the namespace in which it was made, so a test needs no processes inside: it makes sockets there and
uses them from wherever it is. Threads enter a namespace, the test never does.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from rig.waiting import PATIENCE
from tiffin.linux.namespaces import CLONE_NEWNET, setns, unshare
from tiffin.runtime.doors import RESOLVER

T = TypeVar("T")
NETLINK_ROUTE = 0
SECONDS = 30 * PATIENCE


def in_thread(work: Callable[[], T]) -> T:
    """Run it in a thread that ends afterwards, and with it what it entered."""
    outcome: list[tuple[bool, Any]] = []

    def run() -> None:
        try:
            outcome.append((True, work()))
        except BaseException as error:
            outcome.append((False, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    good, value = outcome[0]
    if not good:
        raise value
    return value


class Namespace:
    """A new network namespace with its loopback up; also a sandbox, as `Networks.attach` takes it."""

    def __init__(self) -> None:
        def make() -> tuple[int, socket.socket]:
            unshare(CLONE_NEWNET)
            namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            return namespace, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)

        self.namespace, self._netlink = in_thread(make)
        self.netlink = self._netlink.fileno()
        self.resolver: tuple[int, ...] = ()
        self.run("ip", "link", "set", "lo", "up")

    def sockets(self, *wanted: tuple[int, int, int]) -> list[int]:
        """Descriptors of sockets made inside: family, type, protocol of each."""
        return self.inside(lambda: [socket.socket(*one).detach() for one in wanted])

    def offer_resolver(self) -> None:
        """Make the sockets that a name server takes; they are kept, as a monitor keeps them."""
        self.resolver = tuple(self.sockets(*RESOLVER))

    def close(self) -> None:
        """Let the kernel take it down."""
        for fd in self.resolver:
            os.close(fd)
        self._netlink.close()
        os.close(self.namespace)

    @property
    def path(self) -> str:
        """A name for it that other processes can open."""
        return f"/proc/{os.getpid()}/fd/{self.namespace}"

    def inside(self, work: Callable[[], T]) -> T:
        """Run it in this namespace."""

        def enter() -> T:
            setns(self.namespace, CLONE_NEWNET)
            return work()

        return in_thread(enter)

    def run(self, *argv: str, check: bool = True) -> str:
        """Run a command in this namespace: its output."""
        command = ["nsenter", f"--net={self.path}", *argv]
        return subprocess.run(command, check=check, capture_output=True, text=True, timeout=30 * PATIENCE).stdout

    def open(self, address: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """A socket of the address's family."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = self.inside(lambda: socket.socket(family, kind))
        made.settimeout(SECONDS)
        return made

    def listen(
        self, port: int, address: str = "0.0.0.0", kind: socket.SocketKind = socket.SOCK_STREAM
    ) -> socket.socket:
        """A server's socket."""
        server = self.open(address, kind)
        server.bind((address, port))
        if kind == socket.SOCK_STREAM:
            server.listen()
        return server

    def reaches(self, address: str, port: int, server: socket.socket) -> str:
        """Talk to a TCP server through an address: as whom it sees us. OSError where the way is barred."""
        with self.open(address) as client:
            client.connect((address, port))
            server.settimeout(SECONDS)
            peer, seen = server.accept()
            with peer:
                peer.settimeout(SECONDS)
                client.sendall(b"question")
                assert peer.recv(100) == b"question"
                peer.sendall(b"answer")
                assert client.recv(100) == b"answer"
                return str(seen[0])

    def is_kept_from(self, address: str, port: int, server: socket.socket) -> bool:
        """Whether the way to a TCP server is barred."""
        with self.open(address) as client:
            # what is dropped is not answered, and a port may be held by who never accepts: this alone must wait for
            # nothing to happen
            client.settimeout(1.5)
            server.settimeout(1.5)
            try:
                client.connect((address, port))
                server.accept()[0].close()
            except OSError:
                return True
            return False

    def join(self, other: Namespace, mine: str, theirs: str) -> None:
        """A cable between two hosts: addresses in CIDR text."""
        name = f"wire{other.namespace}"
        peer = ["peer", "name", f"wire{self.namespace}", "netns", other.path]
        self.run("ip", "link", "add", name, "type", "veth", *peer)
        for one, link, address in ((self, name, mine), (other, f"wire{self.namespace}", theirs)):
            one.run("ip", "addr", "add", address, "dev", link)
            one.run("ip", "link", "set", link, "up")


class Loop:
    """An event loop that runs in a namespace of a host until it is closed."""

    def __init__(self, host: Namespace) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(host,))
        self._thread.start()

    def _run(self, host: Namespace) -> None:
        setns(host.namespace, CLONE_NEWNET)
        self.loop.run_forever()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there, wait here."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def call(self, work: Callable[[], T]) -> T:
        """Call a function there, wait here."""

        async def calling() -> T:
            return work()

        return self.do(calling())

    def close(self) -> None:
        """End it."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
