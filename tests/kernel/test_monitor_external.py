"""Containers that runc and crun run, behind tiffin's monitor."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kernel import plans
from kernel.launching import Rig, with_forkserver
from tiffin.runtime.launcher import StartFailed

pytestmark = pytest.mark.root
_UNIFIED = Path("/sys/fs/cgroup/unified/cgroup.controllers")
_REFUSED = _UNIFIED.exists() and bool(_UNIFIED.read_text().strip())
RUNTIMES = [
    pytest.param("runc", marks=pytest.mark.skipif(not shutil.which("runc"), reason="runc is not installed")),
    pytest.param(
        "crun",
        marks=pytest.mark.skipif(
            not shutil.which("crun") or _REFUSED,
            reason="crun is not installed, or refuses a hybrid hierarchy whose unified tree has controllers left",
        ),
    ),
]


def bundle(rig: Rig, runtime: str, *argv: str, terminal: bool = False) -> dict[str, Any]:
    """What a plan says of an external container: a bundle made by `runc spec`."""
    place = rig.place / "bundle"
    if not place.exists():
        place.mkdir()
        subprocess.run([runtime, "spec"], cwd=place, check=True)
    document = json.loads((place / "config.json").read_text())
    document["process"].update(args=list(argv), terminal=terminal, env=["PATH=/bin"])
    document["process"].pop("rlimits", None)  # a machine without CAP_SYS_RESOURCE can't raise them
    document["root"] = {"path": str(rig.place / "root"), "readonly": False}
    document["linux"]["cgroupsPath"] = f"/tiffin-test-{rig.place.name}"
    (place / "config.json").write_text(json.dumps(document))
    program = shutil.which(runtime)
    return {"runtime": program, "args": (), "root": str(rig.place / "runtime"), "bundle": str(place)}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_output_log_and_exit_code_are_as_with_our_own(tmp_path: Path, runtime: str) -> None:
    async def body(rig: Rig) -> None:
        external = bundle(rig, runtime, "sh", "-c", "cat; echo to-err >&2; exit 6")
        client, attachment = rig.client(stdin=True)
        running = await rig.start(
            "x",
            external=external,
            log=plans.json_log(rig.place),
            stdio={"stdin": True, "stdin_once": True},
            attachments=[attachment],
        )
        await client.send(b"typed\n")
        client.half_close()
        assert sorted((await client.rest()).split()) == [b"to-err", b"typed"]
        assert (await running.wait()).code == 6
        assert sorted(line["log"] for line in rig.lines()) == ["to-err\n", "typed\n"]
        assert list((rig.place / "runtime").glob("*/*")) == []

    with_forkserver(tmp_path, body)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_terminal_comes_over_the_console_socket(tmp_path: Path, runtime: str) -> None:
    async def body(rig: Rig) -> None:
        external = bundle(rig, runtime, "sh", "-c", "stty size; read x; exit 2", terminal=True)
        client, attachment = rig.client(stdin=True)
        stdio = {"terminal": True, "stdin": True, "size": (31, 99)}
        running = await rig.start("x", external=external, stdio=stdio, attachments=[attachment])
        await client.until(b"31 99")
        await client.send(b"\n")
        assert (await running.wait()).code == 2

    with_forkserver(tmp_path, body)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_process_is_executed_in_it(tmp_path: Path, runtime: str) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("x", external=bundle(rig, runtime, "sleep", "1000"))
        client, attachment = rig.client()
        process = await running.exec(
            plans.process("sh", "-c", "ls -l /proc/self/ns/pid; exit 3"), {}, [attachment], "one"
        )
        assert await process.wait() == 3
        assert os.readlink(f"/proc/{running.pid}/ns/pid").encode() in await client.rest()
        running.signal(9)
        assert (await running.wait()).code == 137

    with_forkserver(tmp_path, body)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_missing_program_is_said_by_the_runtime(tmp_path: Path, runtime: str) -> None:
    async def body(rig: Rig) -> None:
        with pytest.raises(StartFailed, match=r"OCI runtime create failed: .*nope.*not found"):
            await rig.start("x", external=bundle(rig, runtime, "nope"))

    with_forkserver(tmp_path, body)
