"""`python -m tiffin.daemon.registry serve|gc`: the registry as a program of its own; no tiffind is needed.

One process at a time has a storage (a lock in its directory). While it serves, a socket in the same directory takes
the orders of `tiffin registry gc`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO

from tiffin.content.blobs import BlobStore
from tiffin.daemon import registry_options
from tiffin.daemon import registry_sockets as sockets
from tiffin.daemon.notify import notify
from tiffin.daemon.registry_options import Options
from tiffin.daemon.registry_upstreams import upstreams
from tiffin.errors import Invalid, TiffinError, Unavailable
from tiffin.http import distribution, distribution_control
from tiffin.http.distribution import Served
from tiffin.http.server import Server
from tiffin.linux import heap
from tiffin.registry.server import tokens
from tiffin.registry.server.collection import Collected, Collection
from tiffin.registry.server.counters import Counters
from tiffin.registry.server.directory import Directory
from tiffin.registry.server.repositories import Repositories
from tiffin.registry.server.rights import ANYONE, Rights
from tiffin.registry.server.storage import Storage
from tiffin.registry.server.tokens import Tokens
from tiffin.registry.server.uploads import Uploads
from tiffin.registry.server.users import Users

log = logging.getLogger("tiffin.registry")

_THREADS = 32
_IDLE_SECONDS = 60.0
# pieces of bodies come from the heap: fresh mappings cost a page fault for each 4 KiB
_MALLOC = ((heap.MMAP_THRESHOLD, 4 << 20), (heap.TRIM_THRESHOLD, 32 << 20))


def main(arguments: list[str] | None = None) -> int:
    """The program. Returns its exit status: 0, or 1 with the reason on stderr."""
    try:
        command, options = registry_options.read(sys.argv[1:] if arguments is None else arguments)
        logging.basicConfig(
            stream=sys.stderr,
            level=options.log_level.upper(),
            format="%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s",
            datefmt="%Y-%m-%dT%H:%M:%S",
        )
        os.umask(0o027)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # connections are bounded by it
        heap.tune(*_MALLOC)
        return _serve(options) if command == "serve" else _collect(options)
    except (TiffinError, OSError) as error:
        print(f"tiffin registry: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


class Registry:
    """Everything that a registry is made of, but its sockets. Raises Unavailable where another process has it."""

    def __init__(self, options: Options, undo: contextlib.ExitStack) -> None:
        self.options = options
        self.counters = _counters()
        options.directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        undo.callback(os.close, _locked(options.directory))
        workspace: BlobStore
        self.storage: Storage
        if options.in_bucket:
            from tiffin.registry.server.buckets import Bucket

            self.storage = Bucket(options.storage, options.s3_endpoint, connections=_THREADS)
            workspace = BlobStore(options.directory)
        else:
            self.storage = directory = Directory(options.directory)
            workspace = directory.store
        self.repositories = Repositories(self.storage, options.directory / "ingest")
        self.uploads = Uploads(options.directory / "uploads", limit=options.max_blob_size, most=options.max_uploads)
        self.upstreams = upstreams(options, self.repositories, workspace, self.counters)
        for upstream in self.upstreams.every() if self.upstreams else ():
            undo.callback(upstream.close)
        self._collecting = asyncio.Lock()
        self._held = (0, 0)
        self.counters.gauge(
            "blobs", "blobs in the storage, at the start or after the last sweep", lambda: self._held[0]
        )
        self.counters.gauge("blob_bytes", "their bytes", lambda: self._held[1])
        self.counters.gauge("uploads_open", "uploads that have not ended", lambda: len(self.uploads))

    def count(self) -> None:
        """For the figures; blocks."""
        sizes = [held.size for held in self.storage.blobs()]
        self._held = (len(sizes), sum(sizes))

    def collect(self) -> Collected:
        """Sweep once; blocks."""
        options = self.options
        done = Collection(
            self.repositories,
            self.uploads,
            grace=options.gc_grace,
            upload_seconds=options.upload_expiry,
            untagged=options.gc_untagged,
        ).run()
        self.counters.add("gc_runs_total")
        self.counters.add("gc_blobs_total", done.blobs)
        self.counters.add("gc_bytes_total", done.bytes)
        self._held = (done.held, done.held_bytes)
        self.write_index()
        log.info("gc: %s", done)
        return done

    def write_index(self) -> None:
        """For those who read the directory as an image layout: every tag, as of now."""
        if isinstance(self.storage, Directory):
            self.storage.store.write_index(self.repositories.tagged())

    async def collect_alone(self) -> Collected:
        """Sweep once, when no other sweep runs."""
        async with self._collecting:
            return await asyncio.to_thread(self.collect)

    async def collect_for_ever(self) -> None:
        await asyncio.to_thread(self.count)
        # one that takes nothing removes nothing: another process may be pushing to its bucket
        while self.options.gc_interval and not self.options.read_only:
            await asyncio.sleep(self.options.gc_interval)
            try:
                await self.collect_alone()
            except (TiffinError, OSError) as error:
                log.error("gc: %s", error)


def _counters() -> Counters:
    counters = Counters()
    counters.declare("requests_total", "requests by method, kind of resource and status")
    counters.declare("received_bytes_total", "bytes of requests' bodies", ())
    counters.declare("sent_bytes_total", "bytes of answers' bodies", ())
    results = ("hit", "miss", "shared", "stale")
    kinds = [(("kind", kind), ("result", result)) for kind in ("manifest", "blob") for result in results]
    counters.declare(
        "cache_requests_total", "what a pull-through cache found: here, fetched, under way, outdated", *kinds
    )
    counters.declare("upstream_bytes_total", "bytes of manifests and blobs fetched from upstream", ())
    counters.declare("gc_runs_total", "sweeps", ())
    counters.declare("gc_blobs_total", "blobs that sweeps removed", ())
    counters.declare("gc_bytes_total", "bytes that sweeps freed", ())
    return counters


def _locked(directory: Path) -> int:
    if (directory / "oci-layout").exists() and not (directory / "lock").exists():
        # what writes there now would find its files swept
        raise Invalid(f"{directory} holds images of another program; choose a directory of the registry's own")
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise Unavailable(f"another registry serves {directory}; stop it first") from error
    return fd


def _serve(options: Options) -> int:
    with contextlib.ExitStack() as undo:
        registry = Registry(options, undo)
        access = undo.enter_context(_access_log(options.access_log))
        users = Users(Path(options.htpasswd)) if options.htpasswd else None
        if users is not None:
            undo.callback(users.threads.shutdown, wait=False, cancel_futures=True)
        rights = _rights(options)
        served = Served(
            registry.repositories,
            registry.uploads,
            registry.counters,
            upstreams=registry.upstreams,
            users=users,
            read_only=options.read_only,
            metrics=not options.metrics_listen,
            access=access,
            rights=rights,
            tokens=Tokens(tokens.key(options.directory / "token.key"), rights) if options.tokens else None,
            realm=options.token_realm,
            secure=bool(options.tls_cert),
        )
        asyncio.run(_run(registry, served))
    return 0


def _rights(options: Options) -> Rights | None:
    if not options.access:
        return None
    rights = Rights(Path(options.access))
    if rights.for_anyone and not options.tokens:
        # clients that see a challenge for a password don't go on without one
        raise Invalid(f"{options.access}: rights of {ANYONE} need --tokens")
    return rights


@contextlib.contextmanager
def _access_log(where: str) -> Iterator[TextIO | None]:
    if where == "none":
        yield None
    elif where == "-":
        yield sys.stdout
    else:
        with open(where, "a", encoding="ascii") as file:
            yield file


async def _run(registry: Registry, served: Served) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="storage"))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    options = registry.options
    context = sockets.tls_context(options)
    front = distribution.server(served)
    control = distribution_control.server(registry.collect_alone, served)
    servers = [front, control]
    if context is not None:
        loop.add_signal_handler(signal.SIGHUP, sockets.reload, context, options)
    for address in options.listen:
        await sockets.listen(front, address, context, "https" if context else "http")
        sockets.warn(address, options)
    if options.metrics_listen:
        servers.append(distribution_control.metrics_server(served))
        await sockets.listen(servers[-1], options.metrics_listen, None, "metrics")
    await control.listen(sockets.control_socket(options.directory))
    gc.collect()
    gc.freeze()
    tasks = [asyncio.create_task(registry.collect_for_ever()), asyncio.create_task(_close_idle(front))]
    notify("READY=1")
    await stop.wait()
    notify("STOPPING=1")
    log.info("asked to stop")
    for task in tasks:
        task.cancel()
    for one in servers:
        await one.close()
    with contextlib.suppress(FileNotFoundError):
        (options.directory / sockets.CONTROL).unlink()
    await asyncio.to_thread(registry.write_index)
    log.info("stopped")


async def _close_idle(server: Server) -> None:
    """A connection on which nothing has come since the last look makes room for others."""
    seen: dict[object, int] = {}
    while True:
        await asyncio.sleep(_IDLE_SECONDS)
        for connection in tuple(server.connections):
            if connection.idle and seen.get(connection) == connection.served:
                connection.close()
        seen = {connection: connection.served for connection in server.connections}


def _collect(options: Options) -> int:
    """`gc`: through the process that serves, where one does."""
    if not options.in_bucket and not options.directory.is_dir():
        raise Invalid(f"there is no registry in {options.directory}")
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as sock:
        sockets.at_control_socket(options.directory, sock.connect)
        print(distribution_control.ask(sock))
        return 0
    with contextlib.ExitStack() as undo:
        print(Registry(options, undo).collect())
    return 0


if __name__ == "__main__":
    sys.exit(main())
