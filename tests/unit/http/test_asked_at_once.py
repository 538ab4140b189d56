"""What a build asks its client for: files that do not depend on each other at once."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from tiffin.http.buildkit.control import Control
from tiffin.wire.buildkit import control, message
from tiffin.wire.grpc.connection import Connection
from tiffin.wire.grpc.status import Code, StatusError
from tiffin.wire.grpc.stream import Stream

PATIENCE = 60
_HEADERS = {"x-docker-expose-session-uuid": "s", "x-docker-expose-session-grpc-method": ""}
_TARGETS = {"requestid": "frontend.targets"}


class Directory:
    """A client with a Dockerfile and an ignore file, that answers `expected` calls only together."""

    def __init__(self, expected: int, files: dict[str, bytes]) -> None:
        self.expected, self.files = expected, files
        self.failing = ""
        self.asked: list[str] = []
        self._all = asyncio.Event()

    async def serve(self, stream: Stream) -> None:
        name, paths = stream.value("dir-name"), stream.values("followpaths")
        self.asked.append(name)
        if len(self.asked) >= self.expected:
            self._all.set()
        await self._all.wait()
        if name == self.failing:
            raise StatusError(Code.INTERNAL, f"{name} cannot be read")
        packet = message("fsutil.types.Packet")
        found = [(path, self.files[path]) for path in paths if path in self.files]
        for path, data in found:
            entry = {"path": path, "mode": 0o644, "size": len(data)}
            await stream.send(packet(type=0, stat=entry).SerializeToString())
        await stream.send(packet(type=0).SerializeToString())
        for number, (_, data) in enumerate(found):
            await stream.receive()
            await stream.send(packet(type=2, ID=number, data=data).SerializeToString())
            await stream.send(packet(type=2, ID=number).SerializeToString())
        await stream.receive()
        await stream.send(packet(type=3).SerializeToString())


def solved(directory: Directory) -> dict[str, str]:
    async def solve() -> dict[str, str]:
        builder: Any = None
        served = Control(builder, None, lambda: "")
        ours, theirs = socket.socketpair()
        client = Connection(handler=directory.serve)
        await client.open(theirs)
        session = asyncio.ensure_future(served.sessions.serve(_HEADERS, ours))
        try:
            request = control("SolveRequest", Ref="r", Session="s", Frontend="dockerfile.v0", FrontendAttrs=_TARGETS)
            return await served.solve(request)
        finally:
            client.close()
            await session

    return asyncio.run(asyncio.wait_for(solve(), PATIENCE))


def test_dockerfile_and_ignore_file_are_asked_for_at_once() -> None:
    directory = Directory(2, {"Dockerfile": b"FROM scratch AS only\n", ".dockerignore": b"x\n"})
    assert "only" in solved(directory)["result.txt"]
    assert directory.asked == ["dockerfile", "context"]


def test_a_dockerfile_with_an_ignore_file_of_its_own_does_not_need_the_other() -> None:
    files = {"Dockerfile": b"FROM scratch AS only\n", "Dockerfile.dockerignore": b"x\n"}
    directory = Directory(2, files)
    directory.failing = "context"
    assert "only" in solved(directory)["result.txt"]


def test_an_ignore_file_that_cannot_be_read_is_an_error() -> None:
    directory = Directory(2, {"Dockerfile": b"FROM scratch AS only\n"})
    directory.failing = "context"
    with pytest.raises(StatusError) as failed:
        solved(directory)
    assert "context cannot be read" in failed.value.message


def test_a_missing_dockerfile_is_told_though_the_ignore_file_fails_too() -> None:
    directory = Directory(2, {})
    directory.failing = "context"
    with pytest.raises(StatusError) as failed:
        solved(directory)
    assert "failed to read dockerfile: open Dockerfile" in failed.value.message
