"""A session as the solver sees it: directories, secrets, agents, credentials."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote_plus

from tiffin.build.dockerfile.ignore import Patterns, read_patterns
from tiffin.build.solve.request import CacheStore, Progress, Wanted
from tiffin.errors import Forbidden, Invalid, NotFound, Unavailable
from tiffin.http.buildkit.filesync import DATA, FAILED, FINISHED, REQUEST, STAT, Receiver, is_file
from tiffin.http.buildkit.relay import relay
from tiffin.http.buildkit.sessions import Session
from tiffin.http.buildkit.threads import in_thread
from tiffin.registry.credentials import NOBODY, Credentials
from tiffin.wire.buildkit import message, parse
from tiffin.wire.grpc.status import Code, StatusError
from tiffin.wire.grpc.stream import Metadata, Stream

_DIFF_COPY = "/moby.filesync.v1.FileSync/DiffCopy"
_SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
_AGENT = "/moby.sshforward.v1.SSH/ForwardAgent"
_CHECK_AGENT = "/moby.sshforward.v1.SSH/CheckAgent"
_CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"
_PULL = "/moby.upload.v1.Upload/Pull"

SMALL_FILE = 16 << 20
"""Bytes of a Dockerfile or .dockerignore."""

_BATCH = 512


class Directory:
    """A directory that the session's client offers under a name: a Context of the solver.

    `ignore` says that the directory's own .dockerignore counts, as it does for named contexts.
    """

    def __init__(self, session: Session, name: str, *, ignore: bool = False, shared_key: str = "") -> None:
        self._session, self._name, self._ignore = session, name, ignore
        self._shared_key = shared_key or session.shared_key

    @property
    def key(self) -> str:
        return f"{self._shared_key}:{self._name}" if self._shared_key else ""

    async def take(self, wanted: Wanted, into: Path, progress: Progress) -> Path:
        """Raises Invalid for what the client sends wrongly, Unavailable when it is gone."""
        exclude = list(wanted.exclude)
        if self._ignore:
            found = await read_files(self._session, self._name, [".dockerignore"])
            exclude += read_patterns(found.get(".dockerignore", b""))
        root = os.open(into, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        receiver = Receiver(root, None if self._session.filters else Patterns(exclude))
        try:
            stream = _listing(self._session, self._name, wanted.paths, exclude)
            self._session.connection.flush()  # other steps are looked up while the client looks
            try:
                await _receive(stream, receiver, progress)
            finally:
                stream.cancel()
        except StatusError as error:
            raise _translated(error, self._name) from error
        finally:
            receiver.close()
            os.close(root)
        return into


async def _receive(stream: Stream, receiver: Receiver, progress: Progress) -> None:
    while (arrived := await stream.receive_many(_BATCH)) and not receiver.done:
        try:
            answers = await in_thread(receiver.take, arrived)
        except (Invalid, OSError) as error:
            await stream.send(message("fsutil.types.Packet")(type=FAILED, data=str(error).encode()).SerializeToString())
            raise
        for answer in answers:
            await stream.send(answer)
        progress(receiver.received)
    if not receiver.done:
        raise Invalid("the client ended a transfer before it was complete")
    await _until_ended(stream)


async def _until_ended(stream: Stream) -> None:
    # our FIN is answered by theirs, and that by the end of the call
    await stream.end()
    while await stream.receive() is not None:
        pass


def _listing(session: Session, name: str, paths: Sequence[str], exclude: Sequence[str]) -> Stream:
    metadata: Metadata = []
    for key, values in (("dir-name", [name]), ("followpaths", paths), ("exclude-patterns", exclude)):
        if all(value.isascii() for value in values):
            metadata += [(key, value) for value in values]
        else:
            metadata += [(key, quote_plus(value)) for value in values]
            metadata.append((f"{key}-encoded", "1"))
    return session.call(_DIFF_COPY, metadata)


async def read_files(session: Session, name: str, paths: Sequence[str]) -> dict[str, bytes]:
    """A few small files of a directory, those that exist; symlinks are followed by their names in it."""
    stream = _listing(session, name, paths, ())
    try:
        return await _read_files(stream)
    except StatusError as error:
        raise _translated(error, name) from error
    finally:
        stream.cancel()


async def _read_files(stream: Stream) -> dict[str, bytes]:
    packet_type = message("fsutil.types.Packet")
    found: dict[str, bytes] = {}
    links: dict[str, str] = {}
    wanted: dict[int, tuple[str, bytearray]] = {}
    listed, index = False, 0
    while not listed or wanted:
        data = await stream.receive()
        if data is None:
            raise Invalid("the client ended a transfer before it was complete")
        packet = packet_type.FromString(data)
        if packet.type == STAT and packet.HasField("stat"):
            entry = packet.stat
            if entry.mode & 1 << 27:
                links[entry.path] = os.path.normpath(os.path.join("/", os.path.dirname(entry.path), entry.linkname))
            elif is_file(entry):
                if entry.size > SMALL_FILE or len(wanted) > 64:
                    raise Invalid(f"{entry.path} is too large: {entry.size} bytes")
                wanted[index] = (entry.path, bytearray())
                await stream.send(packet_type(type=REQUEST, ID=index).SerializeToString())
            index += 1
        elif packet.type == STAT:
            listed = True
        elif packet.type == DATA and packet.ID in wanted:
            path, content = wanted[packet.ID]
            content += packet.data
            if len(content) > SMALL_FILE:
                raise Invalid(f"{path} is too large: more than {SMALL_FILE} bytes")
            if not packet.data:
                found[path] = bytes(content)
                del wanted[packet.ID]
        elif packet.type == FAILED:
            raise Invalid(f"error from sender: {packet.data.decode('utf-8', 'replace')}")
    await stream.send(packet_type(type=FINISHED).SerializeToString())
    await _until_ended(stream)
    for path in links:
        if (target := _followed(links, path)) in found:
            found[path] = found[target]
    return found


def _followed(links: dict[str, str], path: str) -> str:
    for _ in range(16):
        if path not in links:
            break
        path = links[path].lstrip("/")
    return path


class Upload:
    """A tar, or a Dockerfile, that the client sends once: `docker build -`. A Context with one file, `context`."""

    key = ""

    def __init__(self, session: Session, id: str) -> None:
        self._session, self._id = session, id

    async def take(self, wanted: Wanted, into: Path, progress: Progress) -> Path:
        stream = self._session.call(_PULL, [("urlpath", f"/{self._id}")])
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(into / "context", flags, 0o600)
        try:
            size = 0
            while arrived := await stream.receive_many(_BATCH):
                pieces = [parse("moby.upload.v1.BytesMessage", one).data for one in arrived]
                for piece in pieces:
                    await in_thread(_write_all, descriptor, piece)
                    size += len(piece)
                progress(size)
        except StatusError as error:
            raise _translated(error, "the uploaded context") from error
        finally:
            os.close(descriptor)
            stream.cancel()
        return into


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


class Caller:
    """The solver's Client: asks the session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def secret(self, id: str) -> bytes | None:
        try:
            data = await self._session.unary(
                _SECRET, message("moby.buildkit.secrets.v1.GetSecretRequest")(ID=id).SerializeToString()
            )
        except StatusError as error:
            if error.code in (Code.NOT_FOUND, Code.UNIMPLEMENTED):
                return None
            raise _translated(error, f"secret {id}") from error
        return bytes(parse("moby.buildkit.secrets.v1.GetSecretResponse", data).data)

    async def has_agent(self, id: str) -> bool:
        request = message("moby.sshforward.v1.CheckAgentRequest")(ID=id)
        try:
            await self._session.unary(_CHECK_AGENT, request.SerializeToString())
        except StatusError:
            return False
        return True

    async def agent(self, id: str, connection: socket.socket) -> None:
        """Relays; closes the socket."""
        try:
            stream = self._session.call(_AGENT, [("buildkit.ssh.id", id)])
        except StatusError:
            connection.close()  # the process sees that nobody answers
            return
        try:
            await relay(stream, connection, message("moby.sshforward.v1.BytesMessage"))
        finally:
            stream.cancel()

    async def credentials(self, domain: str) -> Credentials:
        host = "registry-1.docker.io" if domain == "docker.io" else domain
        request = message("moby.filesync.v1.CredentialsRequest")(Host=host)
        try:
            data = await self._session.unary(_CREDENTIALS, request.SerializeToString())
        except StatusError as error:
            if error.code in (Code.UNIMPLEMENTED, Code.NOT_FOUND):
                return NOBODY
            raise _translated(error, f"credentials for {domain}") from error
        found = parse("moby.filesync.v1.CredentialsResponse", data)
        if found.Secret and not found.Username:
            return Credentials(identity_token=found.Secret)
        return Credentials(found.Username, found.Secret) if found.Username else NOBODY

    async def store(self, id: str) -> CacheStore:
        from tiffin.http.buildkit.stores import SessionStore

        return SessionStore(self._session, id)


def _translated(error: StatusError, what: str) -> Exception:
    if error.code == Code.NOT_FOUND:
        return NotFound(error.message or f"the client has no {what}")
    if error.code == Code.PERMISSION_DENIED:
        return Forbidden(error.message)
    if error.code in (Code.UNAVAILABLE, Code.CANCELLED):
        return Unavailable(f"failed to read {what} from the client: {error.message}")
    return Invalid(f"failed to read {what} from the client: {error.message}")
