"""Start the daemon when none runs: detached, under this interpreter, and wait until its socket answers."""

from __future__ import annotations

import fcntl
import os
import sys
import time

from tiffin.client.endpoint import Endpoint, default_host
from tiffin.errors import Unavailable

_PATIENCE = 30.0


def _answers(endpoint: Endpoint) -> bool:
    try:
        endpoint.open().close()
    except Unavailable as error:
        if isinstance(error.__cause__, PermissionError):
            raise
        return False
    return True


def ensure_daemon() -> Endpoint:
    """The user's own daemon, started if need be. Raises Unavailable when it does not come up."""
    endpoint = Endpoint(default_host())
    if _answers(endpoint):
        return endpoint
    folder = os.path.dirname(endpoint.address)
    try:
        os.makedirs(folder, mode=0o711, exist_ok=True)
        lock = os.open(os.path.join(folder, "start.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        text = f"Cannot connect to the tiffin daemon at {endpoint.host}. Is the tiffin daemon running?"
        raise Unavailable(f"{text} (it can't be started: {error})") from error
    try:
        # two commands at once start one daemon
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _answers(endpoint):
            _start(endpoint, folder)
    finally:
        os.close(lock)
    return endpoint


def _start(endpoint: Endpoint, folder: str) -> None:
    import subprocess

    log_path = os.path.join(folder, "tiffind.log")
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "tiffin.daemon", "-H", endpoint.host],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(log)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if _answers(endpoint):
            return
        if daemon.poll() is not None:
            raise Unavailable(
                f"Cannot connect to the tiffin daemon at {endpoint.host}. Is the tiffin daemon running? "
                f"It was started and ended with status {daemon.returncode}; see {log_path}"
            )
        time.sleep(0.02)
    raise Unavailable(f"the tiffin daemon was started but does not answer at {endpoint.host}; see {log_path}")
