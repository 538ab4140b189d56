"""Named daemons, kept as docker keeps them: ~/.docker/contexts/{meta,tls}/<sha256 of the name>.

Both command lines see each other's contexts. Source: docker/cli, cli/context/store/doc.go.
"""

from __future__ import annotations

import json
import os
import re
import shutil

from tiffin.client.endpoint import Tls
from tiffin.errors import Conflict, Invalid, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_NAME = re.compile(r"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$")
TLS_FILES = ("ca.pem", "cert.pem", "key.pem")


def check_name(name: str) -> None:
    """Raises Invalid when a context can't be called that."""
    if name == "default":
        raise Invalid('"default" is a reserved context name')
    if not _NAME.match(name):
        raise Invalid(
            f'context name "{name}" is invalid, names are validated against regexp "^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$"'
        )


class Contexts:
    """The store below one configuration folder."""

    def __init__(self, folder: str) -> None:
        self.root = os.path.join(folder, "contexts")

    def _id(self, name: str) -> str:
        import hashlib

        return hashlib.sha256(name.encode()).hexdigest()

    def meta_path(self, name: str) -> str:
        return os.path.join(self.root, "meta", self._id(name))

    def tls_path(self, name: str) -> str:
        return os.path.join(self.root, "tls", self._id(name))

    def get(self, name: str) -> dict[str, Any]:
        """`{Name, Metadata: {Description}, Endpoints: {docker: {Host, SkipTLSVerify}}}`. Raises NotFound."""
        path = os.path.join(self.meta_path(name), "meta.json")
        try:
            with open(path, "rb") as file:
                document: dict[str, Any] = json.load(file)
                return document
        except FileNotFoundError as error:
            text = f'context "{name}": context not found: open {path}: no such file or directory'
            raise NotFound(text) from error
        except ValueError as error:
            raise Invalid(f'context "{name}": {path} is not JSON: {error}') from error

    def all(self) -> Iterator[dict[str, Any]]:
        folder = os.path.join(self.root, "meta")
        try:
            names = sorted(os.listdir(folder))
        except FileNotFoundError:
            return
        found = []
        for name in names:
            try:
                with open(os.path.join(folder, name, "meta.json"), "rb") as file:
                    found.append(json.load(file))
            except (FileNotFoundError, NotADirectoryError):
                continue
        yield from sorted(found, key=lambda context: str(context["Name"]))

    def exists(self, name: str) -> bool:
        return os.path.exists(os.path.join(self.meta_path(name), "meta.json"))

    def put(self, document: dict[str, Any], tls: dict[str, bytes] | None) -> None:
        """Write a context; `tls` holds the contents by file name (None: leave what is there)."""
        name = document["Name"]
        folder = self.meta_path(name)
        os.makedirs(folder, mode=0o755, exist_ok=True)
        with open(os.path.join(folder, "meta.json"), "w", encoding="utf-8") as file:
            json.dump(document, file, separators=(",", ":"))
        if tls is None:
            return
        shutil.rmtree(self.tls_path(name), ignore_errors=True)
        for file_name, content in tls.items():
            secret = os.path.join(self.tls_path(name), "docker", file_name)
            os.makedirs(os.path.dirname(secret), mode=0o700, exist_ok=True)
            descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as stream:
                stream.write(content)

    def create(self, document: dict[str, Any], tls: dict[str, bytes]) -> None:
        """Like put; raises Conflict when the name is taken."""
        if self.exists(document["Name"]):
            raise Conflict(f'context "{document["Name"]}" already exists')
        self.put(document, tls)

    def remove(self, name: str) -> None:
        shutil.rmtree(self.meta_path(name), ignore_errors=True)
        shutil.rmtree(self.tls_path(name), ignore_errors=True)

    def tls_files(self, name: str) -> list[str]:
        """Names of the TLS files that exist."""
        folder = os.path.join(self.tls_path(name), "docker")
        return [file for file in TLS_FILES if os.path.exists(os.path.join(folder, file))]

    def endpoint(self, name: str) -> tuple[str, Tls | None]:
        """Host and TLS settings of a context."""
        docker = self.get(name).get("Endpoints", {}).get("docker", {})
        files = self.tls_files(name)
        skip = bool(docker.get("SkipTLSVerify"))
        if not files and not skip:
            return str(docker.get("Host", "")), None
        folder = os.path.join(self.tls_path(name), "docker")
        ca, cert, key = (os.path.join(folder, file) if file in files else "" for file in TLS_FILES)
        return str(docker.get("Host", "")), Tls(ca, cert, key, verify=not skip)
