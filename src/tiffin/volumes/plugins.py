"""Volume drivers of others: docker's plugin protocol, version 1 (https://docs.docker.com/engine/extend/plugin_api/).

A plugin is found by its name, in this order: a socket /run/docker/plugins/NAME.sock (or NAME/NAME.sock), then a file
NAME.spec (a URL) or NAME.json (name, address, TLS files) in /etc/docker/plugins and /usr/lib/docker/plugins. It is
looked for each time, and each call is a connection of its own: a plugin may be started, moved and restarted meanwhile.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tiffin.errors import Internal, NotFound, TiffinError, Unavailable
from tiffin.model.volume import Volume
from tiffin.volumes.drivers import Found

if TYPE_CHECKING:
    from http.client import HTTPConnection

SOCKETS = Path("/run/docker/plugins")
SPECS = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))

_KIND = "application/vnd.docker.plugins.v1.2+json"
_WANTED = "VolumeDriver"
_LARGEST = 4 << 20
_PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: for an answer, and for a plugin that is being restarted to come back."""

    answer: float = 60.0
    connect: float = 10.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a plugin listens: `unix:///path`, `tcp://host:port` or `https://host:port`, with its TLS settings."""

    url: str
    tls: Mapping[str, Any] | None = None


class Plugins:
    """The plugins of this machine."""

    def __init__(self, sockets: Path = SOCKETS, specs: Sequence[Path] = SPECS, patience: Patience = Patience()) -> None:
        self._sockets = sockets
        self._specs = tuple(specs)
        self._patience = patience
        self._known: dict[str, Plugin] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """All that can be found, whatever they are for."""
        found = {path.stem for path in (*self._sockets.glob("*.sock"), *self._sockets.glob("*/*.sock"))}
        for directory in self._specs:
            found |= {path.stem for kind in ("*.spec", "*.json") for path in directory.glob(kind)}
        return sorted(found)

    def get(self, name: str) -> Plugin:
        """The volume driver of a name. Raises NotFound with docker's words, Unavailable where it does not answer."""
        address = self._locate(name)
        if address is None:
            raise NotFound(f'error looking up volume plugin {name}: plugin "{name}" not found')
        with self._lock:
            known = self._known.get(name)
        if known is not None and known.address == address:
            return known
        made = Plugin(name, address, self._patience)
        made.activate()
        with self._lock:
            self._known[name] = made
        return made

    def known(self) -> list[str]:
        """Names of the volume drivers that were asked for since the daemon's start, and answered."""
        with self._lock:
            return sorted(self._known)

    def drivers(self) -> Iterator[Plugin]:
        """Those that answer and keep volumes."""
        for name in self.names():
            try:
                yield self.get(name)
            except TiffinError:
                continue

    def _locate(self, name: str) -> Address | None:
        if "/" in name or name.startswith("."):
            return None
        for path in (self._sockets / f"{name}.sock", self._sockets / name / f"{name}.sock"):
            if path.is_socket():
                return Address(f"unix://{path}")
        for directory in self._specs:
            for path in (directory / f"{name}.spec", directory / f"{name}.json"):
                try:
                    text = path.read_text()
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise Internal(f"volume plugin {name}: {path}: {error.strerror}") from error
                return _parse(text, path)
        return None


def _parse(text: str, path: Path) -> Address:
    tls = None
    url = text.strip()
    if path.suffix == ".json":
        try:
            document = json.loads(text)
            url, tls = document["Addr"], document.get("TLSConfig")
        except (ValueError, KeyError, TypeError) as error:
            raise Internal(f"volume plugin {path.stem}: {path} is no plugin specification: {error!r}") from error
    if urlsplit(url).scheme not in ("unix", "tcp", "http", "https"):
        raise Internal(f"volume plugin {path.stem}: {path} has no address such as unix:///path or tcp://host:port")
    return Address(url, tls)


class Plugin:
    """One volume driver: `drivers.Driver` over its socket."""

    def __init__(self, name: str, address: Address, patience: Patience) -> None:
        self.name = name
        self.address = address
        self.scope = "local"
        self._patience = patience

    def activate(self) -> None:
        """Say hello. Raises NotFound where it keeps no volumes."""
        if _WANTED not in (self._call("Plugin.Activate", {}).get("Implements") or ()):
            raise NotFound(f'error looking up volume plugin {self.name}: plugin "{self.name}" keeps no volumes')
        try:
            capabilities = self._call("VolumeDriver.Capabilities", {}).get("Capabilities") or {}
        except Internal:  # older plugins don't know the question
            return
        scope = str(capabilities.get("Scope", "local")).lower()
        self.scope = scope if scope in ("local", "global") else "local"

    def create(self, name: str, options: Mapping[str, str]) -> Found:
        self._call("VolumeDriver.Create", {"Name": name, "Opts": dict(options)})
        return self.find(name) or Found(name)

    def remove(self, volume: Volume) -> None:
        self._call("VolumeDriver.Remove", {"Name": volume.name})

    def mount(self, volume: Volume, holder: str) -> str:
        place = str(self._call("VolumeDriver.Mount", {"Name": volume.name, "ID": holder}).get("Mountpoint") or "")
        if not place.startswith("/"):
            raise Internal(f"volume driver {self.name}: Mount of {volume.name} gave no absolute mountpoint: {place!r}")
        return place

    def unmount(self, volume: Volume, holder: str) -> None:
        self._call("VolumeDriver.Unmount", {"Name": volume.name, "ID": holder})

    def find(self, name: str) -> Found | None:
        try:
            shown = self._call("VolumeDriver.Get", {"Name": name}).get("Volume")
        except Internal:  # it has none of that name; the protocol has no other word for it
            return None
        if not isinstance(shown, dict) or shown.get("Name") != name:
            return None
        found = _found(shown)
        return found if found.mountpoint else Found(name, self._path(name), found.created, found.status)

    def _path(self, name: str) -> str:
        try:
            return str(self._call("VolumeDriver.Path", {"Name": name}).get("Mountpoint") or "")
        except Internal:
            return ""

    def all(self) -> list[Found]:
        volumes = self._call("VolumeDriver.List", {}).get("Volumes") or ()
        return [_found(one) for one in volumes if isinstance(one, dict) and one.get("Name")]

    def _call(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Raises Internal with what the plugin says, Unavailable where it can't be reached or is silent."""
        from http.client import HTTPException  # a mebibyte with all that it loads: only who has plugins pays

        what = f"volume driver {self.name}: {method.partition('.')[2]}"
        with closing(self._connect(what)) as connection:
            try:
                connection.request("POST", f"/{method}", json.dumps(body), {"Content-Type": _KIND, "Accept": _KIND})
                answer = connection.getresponse()
                text = answer.read(_LARGEST)
            except TimeoutError as error:
                raise Unavailable(
                    f"{what}: no answer within {self._patience.answer:g} s from {self.address.url}"
                ) from error
            except (OSError, HTTPException) as error:
                raise Unavailable(f"{what}: {self.address.url} broke off: {error}") from error
        try:
            said = json.loads(text or b"{}")
        except ValueError:
            said = {"Err": text[:200].decode("utf-8", "replace").strip()}
        said = said if isinstance(said, dict) else {}
        if answer.status != 200 or said.get("Err"):
            raise Internal(f"{what}: {said.get('Err') or f'status {answer.status}'}")
        return said

    def _connect(self, what: str) -> HTTPConnection:
        from http.client import HTTPConnection

        deadline = time.monotonic() + self._patience.connect
        while True:
            try:
                connection = HTTPConnection("plugin", timeout=self._patience.answer)
                connection.sock = _dial(self.address, self._patience.answer)
                return connection
            except OSError as error:
                if time.monotonic() >= deadline or isinstance(error, ssl.SSLError):
                    text = f"{what}: cannot connect to {self.address.url}: {error.strerror or error}; is it running?"
                    raise Unavailable(text) from error
            time.sleep(_PAUSE)  # it may be on its way back


def _dial(address: Address, seconds: float) -> socket.socket:
    """A connection, with this limit on each wait. Raises OSError."""
    url = urlsplit(address.url)
    if url.scheme == "unix":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(seconds)
            sock.connect(url.path)
        except OSError:
            sock.close()
            raise
        return sock
    sock = socket.create_connection((url.hostname or "", url.port or 80), seconds)
    if address.tls is None and url.scheme != "https":
        return sock
    return _context(address.tls or {}).wrap_socket(sock, server_hostname=url.hostname)


def _context(tls: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.get("CAFile") or None)
    if tls.get("CertFile"):
        context.load_cert_chain(os.fspath(tls["CertFile"]), tls.get("KeyFile") or None)
    if tls.get("InsecureSkipVerify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _found(shown: Mapping[str, Any]) -> Found:
    status = shown.get("Status")
    return Found(
        str(shown["Name"]),
        str(shown.get("Mountpoint") or ""),
        _moment(str(shown.get("CreatedAt") or "")),
        status if isinstance(status, dict) else {},
    )


def _moment(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp()) * 10**9
    except ValueError:
        return 0
