"""/containers/ID/exec and /exec: further processes in a running container."""

from __future__ import annotations

import asyncio
import socket

from msgspec import UNSET

from tiffin.engine.container_context import Exec
from tiffin.engine.container_exec import ExecConfig, ExecFailed
from tiffin.errors import Conflict, Invalid, NotFound
from tiffin.http import response
from tiffin.http.containers import containers_of, size_of
from tiffin.http.hijack import MULTIPLEXED_STREAM, RAW_STREAM, Hijacked, last_words
from tiffin.http.request import Request
from tiffin.http.response import Response
from tiffin.http.router import route
from tiffin.http.upgrade import consumed
from tiffin.wire import containers as wire
from tiffin.wire.exec import ExecCreated, ExecInspect, ProcessConfig


@route("POST", "/containers/{id}/exec")
async def create(request: Request) -> Response:
    body = await request.json(wire.ExecCreate, required=False)
    command = [body.cmd] if isinstance(body.cmd, str) else body.cmd or []
    config = ExecConfig(
        cmd=tuple(command),
        attach_stdin=body.attach_stdin,
        attach_stdout=body.attach_stdout,
        attach_stderr=body.attach_stderr,
        tty=body.tty,
        env=tuple(body.env or ()),
        user=body.user,
        working_dir=body.working_dir,
        privileged=body.privileged,
        detach_keys=body.detach_keys,
        console_size=body.console_size if request.since("1.42") else None,
    )
    return response.json(ExecCreated(containers_of(request).execs.create(request["id"], config)), status=201)


@route("POST", "/exec/{id}/start")
async def start(request: Request) -> Response | None:
    execs = containers_of(request).execs
    body = await request.json(wire.ExecStart, required=False)
    execution = execs.check_startable(request["id"])
    size = body.console_size if request.since("1.42") else None
    if size is not None and not body.tty:
        raise Invalid("console size is only supported when TTY is enabled")
    if body.detach:
        await execs.start(execution, fd=None, size=size)
        return response.empty(200)
    several = request.wants_upgrade and request.since("1.42") and not body.tty
    stream = await request.hijack(content_type=MULTIPLEXED_STREAM if several else RAW_STREAM, at_once=True)
    # the runtime takes the descriptor whatever happens, so what a failure says goes through a copy
    spare = stream.socket.dup()
    with spare:
        await _started(request, execution, stream, spare, size, framed=not body.tty)
    return None


async def _started(
    request: Request,
    execution: Exec,
    stream: Hijacked,
    spare: socket.socket,
    size: tuple[int, int] | None,
    *,
    framed: bool,
) -> None:
    """From here on a failure is told in the stream, since the answer is on its way."""
    try:
        await containers_of(request).execs.start(
            execution,
            fd=stream.detach(),
            leftover=stream.leftover,
            size=size,
            framed=framed,
            listening=lambda: consumed(spare),
        )
    except (ExecFailed, Conflict, NotFound) as failure:
        text = f"{failure}\r\n".encode()
        if framed:
            text = b"\x01\0\0\0" + len(text).to_bytes(4, "big") + text
        await last_words(spare, text)


@route("POST", "/exec/{id}/resize")
async def resize(request: Request) -> Response:
    height, width = size_of(request)
    await containers_of(request).execs.resize(request["id"], height, width)
    return response.empty(200)


@route("GET", "/exec/{id}/json")
async def inspect(request: Request) -> Response:
    execution = containers_of(request).execs.get(request["id"])
    if execution.running:
        # its end may lie unread on the monitor's channel: one turn of the loop reads it
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await containers_of(request).execs.settled(execution)
    return response.json(_shown(execution))


def _shown(execution: Exec) -> ExecInspect:
    config: ExecConfig = execution.config
    return ExecInspect(
        id=execution.id,
        running=execution.running,
        exit_code=execution.exit_code,
        process_config=ProcessConfig(
            tty=config.tty,
            entrypoint=config.cmd[0],
            arguments=list(config.cmd[1:]),
            privileged=config.privileged,
            user=config.user or UNSET,
        ),
        open_stdin=config.attach_stdin,
        open_stderr=config.attach_stderr,
        open_stdout=config.attach_stdout,
        can_remove=execution.can_remove,
        container_id=execution.container_id,
        detach_keys=config.detach_keys,
        pid=execution.process.pid if execution.process else 0,
    )
