"""What RUN is given besides its root: agents, secrets, files of other steps."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from build.solving import NoImages, Workshop
from tiffin.build import BuildOptions, BuildPlan, plan_build
from tiffin.build.solve.failures import StepFailed
from tiffin.build.solve.ports import Process
from tiffin.build.solve.request import BuildRequest, Nobody

pytestmark = pytest.mark.root


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(tmp_path / "shop")
    yield made
    assert not (tmp_path / "shop" / "run").exists() or not os.listdir(tmp_path / "shop" / "run")
    made.close()


class Giving(Nobody):
    """A client with an agent that answers in capitals, and a secret."""

    async def secret(self, id: str) -> bytes | None:
        return b"hidden" if id == "s" else None

    async def has_agent(self, id: str) -> bool:
        return id == "default"

    async def agent(self, id: str, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(connection, 100):
            await loop.sock_sendall(connection, data.upper())


def build(workshop: Workshop, dockerfile: str, client: Nobody) -> None:
    plan = plan_build(dockerfile.encode(), BuildOptions())
    assert isinstance(plan, BuildPlan)
    request = replace(BuildRequest(dockerfile=b"", options=BuildOptions()), client=client)

    async def main() -> None:
        stack, _ = await workshop.solver.solve(plan, request, NoImages(), lambda _: None)
        workshop.store.holds.release(stack)

    asyncio.run(main())


def test_a_run_talks_to_the_client_s_agent(workshop: Workshop) -> None:
    heard: list[bytes] = []

    async def talk(root: int, process: Process) -> int:
        (bind,) = process.binds
        assert f"SSH_AUTH_SOCK={bind.target}" in process.environment
        # by a descriptor: the path is longer than a socket's address may be
        place = os.open(os.path.dirname(bind.source), os.O_PATH)
        for _ in range(2):
            path = f"/proc/self/fd/{place}/{os.path.basename(bind.source)}"
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"hello")
            heard.append(await reader.readexactly(5))
            writer.close()
            await writer.wait_closed()
        os.close(place)
        return 0

    workshop.runner.actions["talk"] = talk
    build(workshop, "FROM scratch\nRUN --mount=type=ssh talk", Giving())
    assert heard == [b"HELLO", b"HELLO"]


def test_an_agent_that_is_required_must_be_there(workshop: Workshop) -> None:
    with pytest.raises(StepFailed, match="unset ssh forward key other"):
        build(workshop, "FROM scratch\nRUN --mount=type=ssh,id=other,required never", Giving())
    build(workshop, "FROM scratch\nRUN --mount=type=ssh,id=other fine", Giving())
    assert workshop.runner.ran == ["fine"]


def test_a_secret_is_a_file_in_memory_with_the_mode_that_was_asked_for(workshop: Workshop) -> None:
    async def look(root: int, process: Process) -> int:
        (bind,) = process.binds
        status = os.stat(bind.source)
        assert (Path(bind.source).read_bytes(), bind.target, bind.read_only) == (b"hidden", "/run/secrets/s", True)
        assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o440, 3, 4)
        assert os.statvfs(bind.source).f_fsid != os.statvfs(workshop.root).f_fsid
        assert "IT=hidden" in process.environment
        return 0

    workshop.runner.actions["look"] = look
    mounts = "--mount=type=secret,id=s,mode=0440,uid=3,gid=4 --mount=type=secret,id=s,env=IT"
    build(workshop, f"FROM scratch\nRUN {mounts} look", Giving())
    assert workshop.runner.ran == ["look"]
    assert not any(b"hidden" in path.read_bytes() for path in workshop.root.rglob("*") if path.is_file())


def test_a_secret_that_is_required_must_be_there(workshop: Workshop) -> None:
    with pytest.raises(StepFailed, match="secret none: not found"):
        build(workshop, "FROM scratch\nRUN --mount=type=secret,id=none,required never", Giving())


def test_what_is_written_to_a_bind_mount_is_thrown_away(workshop: Workshop) -> None:
    seen: list[list[str]] = []

    async def write(root: int, process: Process) -> int:
        (bind,) = process.binds
        seen.append(sorted(os.listdir(bind.source)))
        (Path(bind.source) / "new").touch()
        return 0

    workshop.runner.actions |= {"first": write, "second": write}
    text = "FROM scratch AS s\nRUN given\nFROM scratch\n"
    text += "RUN --mount=type=bind,from=s,rw,target=/m first\nRUN --mount=type=bind,from=s,rw,target=/m second"
    build(workshop, text, Nobody())
    assert seen == [["given"], ["given"]]


def test_a_locked_cache_mount_has_one_holder_at_a_time(workshop: Workshop) -> None:
    holding: list[int] = []

    async def hold(root: int, process: Process) -> int:
        (bind,) = process.binds
        mark = Path(bind.source) / "held"
        holding.append(mark.exists())
        mark.touch()
        await asyncio.sleep(0)
        mark.unlink()
        return 0

    stages = []
    for number in range(4):
        workshop.runner.actions[f"hold{number}"] = hold
        mount = "--mount=type=cache,id=one,target=/c,sharing=locked"
        stages.append(f"FROM scratch AS s{number}\nRUN {mount} hold{number}\n")
    copies = "".join(f"COPY --from=s{number} / /\n" for number in range(4))
    build(workshop, "".join(stages) + "FROM scratch\n" + copies, Nobody())
    assert holding == [False] * 4
