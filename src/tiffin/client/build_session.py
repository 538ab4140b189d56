"""What a build may ask its client for: directories, secrets, ssh agents, credentials; and what it sends back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote_plus

from tiffin.client.build_files import FAILED, FINISHED, REQUEST, Listing
from tiffin.client.build_stores import SERVICE, Stores
from tiffin.client.settings import HUB
from tiffin.wire.buildkit import message, parse
from tiffin.wire.grpc.status import Code, StatusError
from tiffin.wire.grpc.stream import Stream

SECRET_LIMIT = 500 << 10
"""Bytes of a secret, as BuildKit has it."""

_BATCH = 128
_PIECE = 512 << 10


@dataclass(slots=True, kw_only=True)
class Services:
    """directories by name; secrets by id, a file or the value; agents by id, a socket's path.

    upload       pieces of what `docker build -` reads, by id
    credentials  for a registry, in the API's form
    outputs      by the exporter's number: takes the file's pieces, in a thread
    stores       directories for caches
    """

    shared_key: str = ""
    directories: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Path | bytes] = field(default_factory=dict)
    agents: Mapping[str, str] = field(default_factory=dict)
    uploads: Mapping[str, IO[bytes]] = field(default_factory=dict)
    credentials: Callable[[str], Mapping[str, str]] = lambda _: {}
    outputs: Mapping[int, Callable[[Iterator[bytes]], None]] = field(default_factory=dict)
    stores: Stores = field(default_factory=Stores)

    def _served(self) -> dict[str, Callable[[Stream], Awaitable[None]]]:
        return {
            "/moby.filesync.v1.FileSync/DiffCopy": self._directory,
            "/moby.filesync.v1.FileSend/DiffCopy": self._output,
            "/moby.filesync.v1.Auth/Credentials": self._credentials,
            "/moby.buildkit.secrets.v1.Secrets/GetSecret": self._secret,
            "/moby.sshforward.v1.SSH/CheckAgent": self._check_agent,
            "/moby.sshforward.v1.SSH/ForwardAgent": self._agent,
            "/moby.upload.v1.Upload/Pull": self._upload,
            "/grpc.health.v1.Health/Check": self._health,
            SERVICE + "Info": self.stores.info,
            SERVICE + "Read": self.stores.read,
            SERVICE + "Write": self.stores.write,
        }

    def methods(self) -> list[str]:
        """What is announced."""
        return list(self._served())

    async def serve(self, stream: Stream) -> None:
        """One call of the daemon's. Raises StatusError."""
        method = self._served().get(stream.path)
        if method is None:
            raise StatusError(Code.UNIMPLEMENTED, f"unknown method {stream.path}")
        try:
            await method(stream)
        except OSError as error:
            raise StatusError(Code.UNKNOWN, str(error)) from error

    # Files to the daemon

    async def _directory(self, stream: Stream) -> None:
        name = _decoded(stream, "dir-name")[:1]
        root = self.directories.get(name[0] if name else "")
        if root is None:
            raise StatusError(Code.NOT_FOUND, f"no access allowed to dir {name}")
        packet = message("fsutil.types.Packet")
        listing = Listing(root, _decoded(stream, "followpaths"), _decoded(stream, "exclude-patterns"), packet)
        works = (_send(stream, listing.packets()), _answer(stream, listing, packet))
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            # neither can go on when the other has failed
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _upload(self, stream: Stream) -> None:
        source = self.uploads.get(stream.value("urlpath").strip("/"))
        if source is None:
            raise StatusError(Code.NOT_FOUND, "no such upload")
        kind = message("moby.upload.v1.BytesMessage")
        while piece := await asyncio.to_thread(source.read, _PIECE):
            await stream.send(kind(data=piece).SerializeToString())

    # Files from the daemon

    async def _output(self, stream: Stream) -> None:
        number = stream.value("buildkit-attachable-exporter-id") or "0"
        take = self.outputs.get(int(number) if number.isdecimal() else 0)
        if take is None:
            raise StatusError(Code.NOT_FOUND, f"exporter {number} not found")
        pieces: queue.Queue[bytes | None] = queue.Queue(8)
        # a failure of the daemon's must not look like the end of the file
        broken = False

        def arriving() -> Iterator[bytes]:
            while (piece := pieces.get()) is not None:
                yield piece
            if broken:
                raise ConnectionError("the daemon broke off while it sent the result")

        work = asyncio.ensure_future(asyncio.to_thread(take, arriving()))
        try:
            async for data in stream:
                piece = parse("moby.filesync.v1.BytesMessage", data).data
                await _put(pieces, piece, work)
        except BaseException:
            broken = True
            raise
        finally:
            with contextlib.suppress(Exception):
                await _put(pieces, None, work)
        await work

    # Small things

    async def _secret(self, stream: Stream) -> None:
        asked = parse("moby.buildkit.secrets.v1.GetSecretRequest", await stream.receive_one())
        found = self.secrets.get(asked.ID)
        if found is None:
            raise StatusError(Code.NOT_FOUND, f"secret {asked.ID}: not found")
        value = found if isinstance(found, bytes) else found.read_bytes()
        if len(value) > SECRET_LIMIT:
            raise StatusError(Code.INVALID_ARGUMENT, f"secret {asked.ID} too big. max size 500KB")
        await stream.send(message("moby.buildkit.secrets.v1.GetSecretResponse")(data=value).SerializeToString())

    async def _credentials(self, stream: Stream) -> None:
        asked = parse("moby.filesync.v1.CredentialsRequest", await stream.receive_one())
        server = HUB if asked.Host in ("registry-1.docker.io", "docker.io") else asked.Host
        found = await asyncio.to_thread(self.credentials, server)
        answer = message("moby.filesync.v1.CredentialsResponse")()
        if found.get("identitytoken"):
            answer.Secret = found["identitytoken"]
        elif found.get("username"):
            answer.Username, answer.Secret = found["username"], found.get("password", "")
        await stream.send(answer.SerializeToString())

    async def _check_agent(self, stream: Stream) -> None:
        asked = parse("moby.sshforward.v1.CheckAgentRequest", await stream.receive_one())
        if (asked.ID or "default") not in self.agents:
            raise StatusError(Code.NOT_FOUND, f"unset ssh forward key {asked.ID}")
        await stream.send(message("moby.sshforward.v1.CheckAgentResponse")().SerializeToString())

    async def _agent(self, stream: Stream) -> None:
        path = self.agents.get(stream.value("buildkit.ssh.id") or "default")
        if path is None:
            raise StatusError(Code.NOT_FOUND, "unset ssh forward key")
        kind = message("moby.sshforward.v1.BytesMessage")
        reader, writer = await asyncio.open_unix_connection(path)

        async def answers() -> None:
            while data := await reader.read(32 << 10):
                await stream.send(kind(data=data).SerializeToString())

        answering = asyncio.ensure_future(answers())
        try:
            async for data in stream:
                writer.write(kind.FromString(data).data)
                await writer.drain()
            writer.write_eof()
            await answering
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            writer.close()

    async def _health(self, stream: Stream) -> None:
        await stream.receive_one()
        await stream.send(message("grpc.health.v1.HealthCheckResponse")(status=1).SerializeToString())


async def _answer(stream: Stream, listing: Listing, packet: Any) -> None:
    """Send the files that the daemon asks for, until it has them all."""
    async for data in stream:
        asked = packet.FromString(data)
        if asked.type == REQUEST:
            if not listing.knows(asked.ID):
                raise StatusError(Code.INVALID_ARGUMENT, f"invalid file id {asked.ID}")
            await _send(stream, listing.content(asked.ID))
        elif asked.type == FINISHED:
            await stream.send(packet(type=FINISHED).SerializeToString())
            return
        elif asked.type == FAILED:
            raise StatusError(Code.UNKNOWN, f"error from receiver: {asked.data.decode('utf-8', 'replace')}")


async def _put(pieces: queue.Queue[bytes | None], piece: bytes | None, work: asyncio.Future[None]) -> None:
    """Hand a piece over without blocking the loop. Raises what the taker has raised."""
    while True:
        if work.done():
            work.result()
            return
        try:
            pieces.put_nowait(piece)
            return
        except queue.Full:
            await asyncio.wait([work], timeout=0.01)


async def _send(stream: Stream, packets: Iterator[bytes]) -> None:
    """Packets that are made by reading files, in threads."""
    while batch := await asyncio.to_thread(_some, packets):
        for packet in batch:
            await stream.send(packet)


def _some(packets: Iterator[bytes]) -> list[bytes]:
    return list(islice(packets, _BATCH))


def _decoded(stream: Stream, name: str) -> list[str]:
    values = stream.values(name)
    return [unquote_plus(value) for value in values] if stream.value(f"{name}-encoded") == "1" else values


def agent_socket(path: str) -> str:
    """The socket that `--ssh` names, SSH_AUTH_SOCK for none; "" where there is no agent."""
    return path or os.environ.get("SSH_AUTH_SOCK", "")
