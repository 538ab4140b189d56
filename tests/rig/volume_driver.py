"""A volume plugin: docker's protocol over a unix socket, volumes as directories. python volume_driver.py SOCKET STATE

`tcp STATE [CERTIFICATE KEY CA]` instead listens on a port of 127.0.0.1 (STATE/port says which), with these for who has
a certificate of that authority.

STATE/calls gets a line for each request: method, name, id. STATE/fail may hold `Method text` (that is the answer's
error) or `Method` alone (no answer at all).
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn, UnixStreamServer
from typing import Any


class Driver(BaseHTTPRequestHandler):
    state = Path()
    lock = threading.Lock()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked: dict[str, Any] = json.loads(body or b"{}")
        method = self.path.rpartition(".")[2]
        name = asked.get("Name", "")
        with self.lock, open(self.state / "calls", "a") as calls:
            calls.write(f"{method} {name} {asked.get('ID', '')}\n".replace("  ", " "))
        fail = self.state / "fail"
        wrong, _, text = fail.read_text().strip().partition(" ") if fail.exists() else ("", "", "")
        if wrong == method:
            if not text:
                threading.Event().wait()
            self._say({"Err": text}, 500)
            return
        with self.lock:
            said = getattr(self, f"on_{method.lower()}")(name, asked)
        self._say(said, 500 if said.get("Err") else 200)

    def _say(self, document: dict[str, Any], status: int) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.docker.plugins.v1.2+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def on_activate(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        return {"Implements": ["VolumeDriver"]}

    def on_capabilities(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        return {"Capabilities": {"Scope": "global"}}

    def on_create(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        (self.state / "volumes" / name).mkdir(parents=True, exist_ok=True)
        (self.state / f"{name}.options").write_text(json.dumps(asked.get("Opts") or {}))
        return {"Err": ""}

    def on_remove(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        if self._holders(name):
            return {"Err": f"{name} is mounted"}
        shutil.rmtree(self.state / "volumes" / name)
        return {"Err": ""}

    def _holders(self, name: str) -> set[str]:
        path = self.state / f"{name}.holders"
        return set(path.read_text().split()) if path.exists() else set()

    def _hold(self, name: str, holders: set[str]) -> None:
        (self.state / f"{name}.holders").write_text(" ".join(sorted(holders)))

    def on_mount(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        self._hold(name, self._holders(name) | {asked["ID"]})
        return {"Mountpoint": str(self.state / "volumes" / name), "Err": ""}

    def on_unmount(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        self._hold(name, self._holders(name) - {asked["ID"]})
        return {"Err": ""}

    def _shown(self, name: str) -> dict[str, Any]:
        place = str(self.state / "volumes" / name) if self._holders(name) else ""
        return {"Name": name, "Mountpoint": place, "Status": {"holders": len(self._holders(name))}}

    def on_path(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        return {"Mountpoint": self._shown(name)["Mountpoint"], "Err": ""}

    def on_get(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        if not (self.state / "volumes" / name).is_dir():
            return {"Err": f"no volume {name}"}
        return {"Volume": self._shown(name), "Err": ""}

    def on_list(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        directory = self.state / "volumes"
        names = sorted(os.listdir(directory)) if directory.exists() else []
        return {"Volumes": [self._shown(one) for one in names], "Err": ""}

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


class Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


class TcpServer(ThreadingMixIn, TCPServer):
    daemon_threads = True


def main() -> None:
    Driver.state = Path(sys.argv[2])
    if sys.argv[1] == "tcp":
        server = TcpServer(("127.0.0.1", 0), Driver)
        if len(sys.argv) > 3:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=sys.argv[5])
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_cert_chain(sys.argv[3], sys.argv[4])
            server.socket = context.wrap_socket(server.socket, server_side=True)
        partial = Driver.state / "port.partial"
        partial.write_text(str(server.server_address[1]))
        partial.rename(Driver.state / "port")
        server.serve_forever()
    path = Path(sys.argv[1])
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    Server(str(path), Driver).serve_forever()


if __name__ == "__main__":
    main()
