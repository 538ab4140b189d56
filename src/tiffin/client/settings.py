"""`config.json` as docker keeps it: current context, detach keys, formats, credentials. Unknown keys are preserved."""

from __future__ import annotations

import base64
import json
import os

from tiffin.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HUB = "https://index.docker.io/v1/"


def directory(chosen: str = "") -> str:
    """The folder of the client's configuration: `--config`, DOCKER_CONFIG or ~/.docker."""
    return chosen or os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")


class Settings:
    """The decoded file; `values` is what it holds."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.path = os.path.join(folder, "config.json")
        self.values: dict[str, Any] = {}
        try:
            with open(self.path, "rb") as file:
                self.values = json.load(file)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            pass
        except ValueError as error:
            raise Invalid(f"error parsing {self.path}: {error}") from error

    def text(self, key: str) -> str:
        value = self.values.get(key)
        return value if isinstance(value, str) else ""

    def save(self) -> None:
        """Write the file anew, private to the user, never leaving half a file."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        # a symbolic link stays one: people keep this file among their dotfiles
        target = os.path.realpath(self.path)
        temporary = f"{target}.{os.getpid()}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(self.values, file, indent="\t")
        os.replace(temporary, target)

    # -- credentials

    def _helper(self, server: str) -> str:
        helpers = self.values.get("credHelpers") or {}
        return str(helpers.get(server) or self.values.get("credsStore") or "")

    def credentials(self, server: str) -> dict[str, str]:
        """What is known of `server` in the API's form: username, password or identitytoken; may be empty."""
        if helper := self._helper(server):
            return _ask_helper(helper, server)
        entry = (self.values.get("auths") or {}).get(server)
        if not entry:
            return {}
        found = {"serveraddress": server}
        if entry.get("auth"):
            try:
                name, _, secret = base64.b64decode(entry["auth"]).decode().partition(":")
            except ValueError as error:
                raise Invalid(f"{self.path}: the credentials of {server} are not base64") from error
            found |= {"username": name, "password": secret.rstrip("\0")}
        if entry.get("identitytoken"):
            found["identitytoken"] = entry["identitytoken"]
        return found

    def store(self, server: str, credentials: dict[str, str]) -> str:
        """Keep them; returns where, empty for a credential helper."""
        if helper := self._helper(server):
            secret = credentials.get("identitytoken") or credentials.get("password", "")
            name = "<token>" if credentials.get("identitytoken") else credentials.get("username", "")
            _run_helper(helper, "store", json.dumps({"ServerURL": server, "Username": name, "Secret": secret}))
            return ""
        entry = {}
        if credentials.get("identitytoken"):
            entry["identitytoken"] = credentials["identitytoken"]
            plain = f"{credentials.get('username', '')}:"
        else:
            plain = f"{credentials.get('username', '')}:{credentials.get('password', '')}"
        entry["auth"] = base64.b64encode(plain.encode()).decode()
        self.values.setdefault("auths", {})[server] = entry
        self.save()
        return self.path

    def erase(self, server: str) -> bool:
        """Forget them; False when nothing was known."""
        if helper := self._helper(server):
            known = bool(_ask_helper(helper, server))
            _run_helper(helper, "erase", server)
            return known
        known = server in (self.values.get("auths") or {})
        if known:
            del self.values["auths"][server]
            self.save()
        return known


def _run_helper(helper: str, verb: str, text: str) -> str:
    import subprocess

    name = f"docker-credential-{helper}"
    try:
        done = subprocess.run([name, verb], input=text, capture_output=True, text=True)
    except OSError as error:
        raise Invalid(f"error getting credentials - err: {error}, out: ``") from error
    if done.returncode:
        raise Invalid(f"error getting credentials - err: exit status {done.returncode}, out: `{done.stdout.strip()}`")
    return done.stdout


def _ask_helper(helper: str, server: str) -> dict[str, str]:
    try:
        answer = json.loads(_run_helper(helper, "get", server))
    except Invalid as error:
        if "credentials not found" in str(error):
            return {}
        raise
    if answer.get("Username") == "<token>":
        return {"identitytoken": answer["Secret"], "serveraddress": server}
    return {"username": answer["Username"], "password": answer["Secret"], "serveraddress": server}


def registry_of(image: str) -> str:
    """The key under which config.json keeps the credentials for an image's registry."""
    first, slash, _ = image.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    return first if named and first not in ("docker.io", "index.docker.io") else HUB


def encode(credentials: dict[str, str]) -> str:
    """The value of `X-Registry-Auth`: base64url of the JSON."""
    return base64.urlsafe_b64encode(json.dumps(credentials).encode()).decode()
