"""`tiffin login` and `tiffin logout`."""

from __future__ import annotations

import os
import sys

from tiffin.cli import flags, terminal
from tiffin.cli.command import Call, Command, Failed
from tiffin.client.settings import HUB


def _server(operands: list[str]) -> str:
    if not operands:
        return HUB
    name = operands[0].removeprefix("https://").removeprefix("http://").partition("/")[0]
    return HUB if name in ("docker.io", "index.docker.io", "registry-1.docker.io") else name


def _ask(call: Call, known: str) -> tuple[str, str]:
    """User name and password, from flags, standard input or the terminal."""
    values = call.values
    user, password = values.text("username"), values.text("password")
    if values.on("password-stdin"):
        if password:
            raise Failed("conflicting options: cannot specify both --password and --password-stdin")
        if not user:
            raise Failed("the --password-stdin option requires --username to be set")
        return user, sys.stdin.read().rstrip("\r\n")
    if password:
        call.warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
    if user and password:
        return user, password
    if not terminal.is_terminal(terminal.STDIN):
        raise Failed("Error: Cannot perform an interactive login from a non TTY device")
    import getpass

    if not user:
        call.session.out(f"Username ({known}): " if known else "Username: ")
        call.session.flush()
        user = sys.stdin.readline().strip() or known
    if not user:
        raise Failed("Error: Non-null Username Required")
    password = password or getpass.getpass("Password: ")
    if not password:
        raise Failed("Error: Password Required")
    return user, password


def login(call: Call) -> int:
    server = _server(call.operands)
    settings = call.session.settings
    known = settings.credentials(server)
    asked = any(call.values.changed(name) for name in ("username", "password", "password-stdin"))
    if known and not asked:
        call.say("Authenticating with existing credentials...")
        credentials = known
    else:
        user, password = _ask(call, known.get("username", ""))
        credentials = {"username": user, "password": password, "serveraddress": server}
    answer = call.engine.post("/auth", credentials)
    if answer and answer.get("IdentityToken"):
        credentials = {"username": credentials.get("username", ""), "identitytoken": answer["IdentityToken"]}
    where = settings.store(server, credentials)
    if where:
        call.warn(
            f"\nWARNING! Your credentials are stored unencrypted in '{where}'.\n"
            "Configure a credential helper to remove this warning (credsStore in config.json).\n"
        )
    call.say((answer or {}).get("Status") or "Login Succeeded")
    return 0


def logout(call: Call) -> int:
    server = _server(call.operands)
    call.say(f"Removing login credentials for {server}")
    try:
        call.session.settings.erase(server)
    except OSError as error:
        raise Failed(f"WARNING: could not erase credentials: {os.strerror(error.errno or 0)}") from error
    return 0


COMMANDS = {
    "login": Command(
        "login",
        login,
        "[SERVER]",
        (
            flags.text("password", "Password or Personal Access Token (PAT)", "p"),
            flags.switch("password-stdin", "Take the password or token from stdin"),
            flags.text("username", "Username", "u"),
        ),
        most=1,
        details="Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.",
    ),
    "logout": Command(
        "logout",
        logout,
        "[SERVER]",
        most=1,
        details="Log out from a registry.\nDefaults to Docker Hub if no server is specified.",
    ),
}
