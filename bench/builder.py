"""A builder that builds nothing: it answers what `docker build` asks of BuildKit as soon as it is asked.

The exchange is that of a build which finds everything: buildx's probe, the build, Dockerfile and .dockerignore from the
client, its list of the context, the result. Answers are bytes made beforehand. No windows are kept (a build of
builds.py stays far below them), and of what the client sends little more than the calls' names and ends is read.

client.py serves it. `Call` is one connection on which the client calls, `Session` one on which it is called.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

from hpack import Decoder

from tiffin.http.buildkit.bridge import BUILDING, CAPABILITIES, reference
from tiffin.model.digest import digest_of
from tiffin.wire.buildkit import control, gateway, message, parse
from tiffin.wire.grpc.framing import prefixed

DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_STAT, _REQUEST, _DATA, _FINISHED = range(4)
_DIFF_COPY = "/moby.filesync.v1.FileSync/DiffCopy"
_FILES = ("Dockerfile", "Dockerfile.dockerignore", "dockerfile")

Send = Callable[[bytes], object]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def headers(stream: int, *pairs: tuple[str, str], end: bool = False) -> bytes:
    """Literals without an index: no state is kept."""
    texts = (text.encode() for pair in pairs for text in pair)
    literals = [len(text).to_bytes(1, "big") + text for text in texts]
    payload = b"".join(b"\0" + name + value for name, value in zip(literals[::2], literals[1::2], strict=True))
    return frame(HEADERS, _END_HEADERS | (_END_STREAM if end else 0), stream, payload)


def answered(stream: int, *messages: bytes) -> bytes:
    """A whole answer to a call."""
    begun = headers(stream, (":status", "200"), ("content-type", "application/grpc"))
    return begun + b"".join(frame(DATA, 0, stream, prefixed(one)) for one in messages) + _ended(stream)


def _ended(stream: int) -> bytes:
    return headers(stream, ("grpc-status", "0"), end=True)


class _Peer:
    """Reads frames, and acknowledges what has to be."""

    def __init__(self, reader: BinaryIO, send: Send) -> None:
        self._reader, self.send = reader, send

    def frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Kind, flags, stream, payload, until the client closes."""
        while len(head := self._reader.read(9)) == 9:
            payload = self._reader.read(int.from_bytes(head[:3], "big"))
            kind, flags = head[3:5]
            if kind in (SETTINGS, PING) and not flags & _ACK:
                self.send(frame(kind, _ACK, 0, payload if kind == PING else b""))
            elif kind in (DATA, HEADERS):
                yield kind, flags, int.from_bytes(head[5:], "big"), payload


class Sessions:
    """Brings a build together with its session, whichever is there first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._there: dict[str, Session] = {}
        self._asked: dict[str, Callable[[], None]] = {}

    def opened(self, id: str, session: Session) -> None:
        with self._lock:
            self._there[id] = session
            then = self._asked.pop(id, None)
        if then is not None:
            session.begin(then)

    def ask(self, id: str, then: Callable[[], None]) -> None:
        """Take what a build needs of its client, then go on."""
        with self._lock:
            session = self._there.get(id)
            if session is None:
                self._asked[id] = then
        if session is not None:
            session.begin(then)


class Session(_Peer):
    """Dockerfile and .dockerignore at once, then the context: each a list, the wanted files' bytes, and an end."""

    def __init__(self, reader: BinaryIO, send: Send) -> None:
        super().__init__(reader, send)
        self._then: Callable[[], None] = lambda: None
        self._open: set[int] = set()

    def serve(self, id: str, sessions: Sessions) -> None:
        self.send(_PREFACE + frame(SETTINGS, 0, 0))
        sessions.opened(id, self)
        for kind, flags, stream, payload in self.frames():
            if kind == DATA:
                self._packets(stream, payload)
            if flags & _END_STREAM:
                self._close(stream)

    def begin(self, then: Callable[[], None]) -> None:
        self._then, self._open = then, {1, 3}
        self.send(_listing(1, "dockerfile", *_FILES) + _listing(3, "context", ".dockerignore"))

    def _packets(self, stream: int, payload: bytes) -> None:
        answer = b""
        while payload:
            size = int.from_bytes(payload[1:5], "big")
            packet, payload = _Packet.FromString(payload[5 : 5 + size]), payload[5 + size :]
            if packet.type == _STAT and packet.HasField("stat") and stream == 1:
                answer += _packet(stream, _REQUEST)
            elif (packet.type == _STAT and not packet.HasField("stat") and stream != 1) or (
                packet.type == _DATA and not packet.data
            ):
                answer += _packet(stream, _FINISHED) + frame(DATA, _END_STREAM, stream)
        if answer:
            self.send(answer)

    def _close(self, stream: int) -> None:
        self._open.discard(stream)
        if stream == 5:
            self._then()
        elif not self._open:
            self.send(_listing(5, "context", "file"))


_Packet = message("fsutil.types.Packet")


def _packet(stream: int, kind: int) -> bytes:
    return frame(DATA, 0, stream, prefixed(_Packet(type=kind).SerializeToString()))


def _listing(stream: int, name: str, *paths: str) -> bytes:
    called = [(":method", "POST"), (":scheme", "http"), (":path", _DIFF_COPY), (":authority", "localhost")]
    plain = [("content-type", "application/grpc"), ("te", "trailers"), ("dir-name", name)]
    return headers(stream, *called, *plain, *(("followpaths", path) for path in paths))


class Call(_Peer):
    """What the client calls: Control and LLBBridge. Calls of one build may come in any order, and late."""

    def __init__(self, reader: BinaryIO, send: Send, sessions: Sessions) -> None:
        super().__init__(reader, send)
        self._sessions = sessions
        self._called: dict[int, tuple[dict[str, str], bytearray]] = {}
        self._until: dict[str, list[bytes]] = {}  # a build's end
        self._over: set[str] = set()
        self._session: dict[str, str] = {}
        self._early: dict[str, Callable[[], None]] = {}

    def serve(self) -> None:
        self.send(frame(SETTINGS, 0, 0))
        self._reader.read(len(_PREFACE))
        decoder = Decoder()
        for kind, flags, stream, payload in self.frames():
            if kind == HEADERS:
                self._called[stream] = ({str(name): str(value) for name, value in decoder.decode(payload)}, bytearray())
            elif stream in self._called:
                self._called[stream][1].extend(payload)
            if flags & _END_STREAM and stream in self._called:
                names, data = self._called.pop(stream)
                self._answer(stream, names[":path"], names.get("buildkit-controlapi-buildid", ""), bytes(data[5:]))

    def _answer(self, stream: int, path: str, build: str, data: bytes) -> None:
        package, _, method = path.rpartition("/")
        if method == "Solve" and build:
            self._ask(build, lambda: self.send(answered(stream, _SOLVED)))
        elif method == "Solve":
            request = parse("moby.buildkit.v1.SolveRequest", data)
            self._session[request.Ref] = request.Session
            self._at_end(request.Ref, answered(stream, _DONE))
            if request.Ref in self._early:
                self._ask(request.Ref, self._early.pop(request.Ref))
        elif method == "Status":
            self._at_end(parse("moby.buildkit.v1.StatusRequest", data).Ref, answered(stream, _STATUS))
        elif method == "Return":
            self._over.add(build)
            self.send(answered(stream, b"") + b"".join(self._until.pop(build, ())))
        elif method in _ANSWERS and package.startswith("/moby."):
            self.send(answered(stream, *_ANSWERS[method]))
        else:
            self.send(headers(stream, (":status", "200"), ("grpc-status", "12"), end=True))

    def _ask(self, build: str, then: Callable[[], None]) -> None:
        if build in self._session:
            self._sessions.ask(self._session[build], then)
        else:
            self._early[build] = then

    def _at_end(self, build: str, answer: bytes) -> None:
        if build in self._over:
            self.send(answer)
        else:
            self._until.setdefault(build, []).append(answer)


def _worker() -> object:
    record = message("moby.buildkit.v1.types.WorkerRecord")(ID="moby")
    record.platforms.add(OS="linux", Architecture="amd64")
    record.Labels["org.mobyproject.buildkit.worker.snapshotter"] = "idle"
    return record


def _pong() -> bytes:
    answer = gateway("PongResponse", Workers=[_worker()])
    for name in CAPABILITIES:
        answer.FrontendAPICaps.add(ID=name, Enabled=True)
    for name in BUILDING:
        answer.LLBCaps.add(ID=name, Enabled=True)
    return bytes(answer.SerializeToString())


def _solved() -> bytes:
    answer = gateway("SolveResponse")
    answer.result.ref.MergeFrom(reference("idle"))
    answer.result.metadata["containerimage.config"] = b'{"architecture": "amd64", "os": "linux"}'
    return bytes(answer.SerializeToString())


def _done() -> bytes:
    digests = dict.fromkeys(("containerimage.digest", "containerimage.config.digest"), digest_of(b""))
    return bytes(control("SolveResponse", ExporterResponse=digests).SerializeToString())


def _status() -> bytes:
    """Ten steps, all of them begun and ended."""
    told = control("StatusResponse")
    for number in range(10):
        step = told.vertexes.add(digest=digest_of(bytes((number,))), name=f"step {number}", cached=True)
        step.started.seconds = step.completed.seconds = 1
    return bytes(told.SerializeToString())


_SOLVED, _DONE, _STATUS = _solved(), _done(), _status()
_ANSWERS: dict[str, tuple[bytes, ...]] = {
    "ListWorkers": (bytes(control("ListWorkersResponse", record=[_worker()]).SerializeToString()),),
    "Ping": (_pong(),),
    "ListenBuildHistory": (),
}
