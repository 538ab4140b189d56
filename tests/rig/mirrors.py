"""Debian archives for the tests, by HTTP in an engine's network namespace.

`forwarded` is the archive that the machine's apt is configured for: each file is fetched by apt itself, outside, with
all that apt knows of proxies and certificates, and kept between runs. An engine under test reaches nothing but this.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rig import archives, debian
from rig.answering import Quiet, answering
from rig.engine import Engine

HELPER = "/usr/lib/apt/apt-helper"
_PATH = re.compile(r"/(?P<archive>debian(?:-security)?)/(?P<path>[A-Za-z0-9][A-Za-z0-9._+~:%/-]*)")

Answer = tuple[int, bytes]


@dataclass
class Mirror:
    """url: below which the archives lie. answer: what is at a path. seen: the paths that were asked for."""

    url: str
    answer: Callable[[str], Answer]
    seen: list[str] = field(default_factory=list)

    @property
    def debian(self) -> str:
        return f"{self.url}/debian"

    @property
    def security(self) -> str:
        return f"{self.url}/debian-security"


@contextlib.contextmanager
def served(engine: Engine, answer: Callable[[str], Answer], address: str = "127.0.0.1") -> Iterator[Mirror]:
    """An HTTP server on a free port of an address in the engine's network namespace."""
    made = Mirror("", answer)

    class Handler(Quiet):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            made.seen.append(self.path)
            status, body = made.answer(self.path)
            with contextlib.suppress(OSError):
                self.send_response(status)
                kind = "text/html" if self.path.endswith("/") else "application/octet-stream"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

    with answering(engine, Handler, address) as port:
        made.url = f"http://{address}:{port}"
        yield made


@contextlib.contextmanager
def forwarded(engine: Engine) -> Iterator[Mirror]:
    """The machine's own Debian mirror, and its security archive beside it. It stands still while it is served."""
    lock, known = threading.Lock(), dict[str, Answer]()

    def answer(path: str) -> Answer:
        if is_lasting(path):
            return _fetched(path)
        with lock:
            if path not in known:
                known[path] = _fetched(path)
            return known[path]

    with served(engine, answer) as mirror:
        yield mirror


def is_lasting(path: str) -> bool:
    """Whether a file never changes: what a Release names by its hash, a version of a package."""
    return "/by-hash/" in path or path.endswith(".deb")


def _fetched(path: str) -> Answer:
    match = _PATH.fullmatch(path)
    if match is None or ".." in path:
        return 404, b""
    base = debian.mirror() if match["archive"] == "debian" else debian.mirror("-security")
    kept = archives.cache() / "mirror" / match["archive"] / match["path"]
    if not (is_lasting(path) and kept.exists()):
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f"{kept.name}.{threading.get_native_id()}")
        command = [HELPER, "download-file", f"{base}/{match['path']}", str(partial)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
        if done.returncode != 0:
            partial.unlink(missing_ok=True)
            Path(f"{partial}.FAILED").unlink(missing_ok=True)
            return (404 if "404" in done.stderr else 502), done.stderr.encode()
        partial.rename(kept)
    return 200, kept.read_bytes()
