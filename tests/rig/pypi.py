"""Python packages for the tests: the index that this machine reaches, by HTTP in an engine's network namespace."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

from rig import archives
from rig.engine import Engine
from rig.mirrors import Answer, Mirror, served

INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
_PAGE = re.compile(r"/simple/[a-z0-9-]+/")
_LINK = re.compile(r'href="([^"#]+)')


@contextlib.contextmanager
def forwarded(engine: Engine) -> Iterator[Mirror]:
    """The index at `{url}/simple`: its pages, with links that lead back here, and the files they name."""
    known: dict[str, str] = {}
    files: dict[str, Answer] = {}

    def answer(path: str) -> Answer:
        if path in known:
            if path not in files:
                files[path] = _fetched(known[path])
            return files[path]
        if not _PAGE.fullmatch(path):
            return 404, b""
        status, page = _fetched(INDEX + path.removeprefix("/simple"))

        def link(match: re.Match[str]) -> str:
            target = urljoin(INDEX + path.removeprefix("/simple"), match[1])
            here = "/files/" + target.partition("://")[2]
            known[here] = target
            return f'href="{here}'

        return status, _LINK.sub(link, page.decode()).encode()

    with served(engine, answer) as mirror:
        yield mirror


def _fetched(url: str) -> Answer:
    request = urllib.request.Request(url, headers={"Accept": "text/html, */*"})
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return 200, response.read()
    except urllib.error.HTTPError as error:
        return error.code, b""
    except OSError as error:
        return 502, str(error).encode()


def uv() -> Path:
    """A directory with the static binaries uv and uvx, out of uv's wheel; fetched once."""
    target = archives.cache() / "uv-1"
    if not target.exists():
        partial = archives.cache() / f"uv-1.{os.getpid()}"
        partial.mkdir()
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "uv"]
        subprocess.run([*pip, "--dest", str(partial)], check=True, timeout=600)
        (wheel,) = partial.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.endswith((".data/scripts/uv", ".data/scripts/uvx")):
                    file = partial / Path(name).name
                    file.write_bytes(archive.read(name))
                    file.chmod(0o755)
        wheel.unlink()
        with contextlib.suppress(OSError):  # somebody else was faster
            partial.rename(target)
    return target
