"""The daemon's end of a container whose monitor says what the test lets it say."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from pathlib import Path

from tiffin.runtime import channel
from tiffin.runtime.running import Running


def test_an_exec_whose_monitor_is_killed_right_after_its_answer_ends_with_its_process(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "1000"])

    async def scenario() -> None:
        ours, monitor = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        running = Running("c" * 64, tmp_path, tmp_path)
        running.connect(ours)
        running.begun.set_result(None)
        running.exit.cancel()  # nobody looks for another monitor
        with monitor:
            pidfd = os.pidfd_open(child.pid)
            channel.send(monitor, (1, True, {"pid": child.pid}), (pidfd,))
            os.close(pidfd)
        try:
            process = await asyncio.wait_for(running.exec({"args": (b"true",)}, {}, (), "an-exec"), 60)
            assert process.lost
            child.kill()
            await asyncio.wait_for(process.wait(), 60)
        finally:
            running.close()

    try:
        asyncio.run(scenario())
    finally:
        child.kill()
        child.wait()
