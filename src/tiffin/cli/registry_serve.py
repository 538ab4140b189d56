"""`tiffin registry serve`, `tiffin registry gc`: the registry is a program of its own, which takes this one's place."""

from __future__ import annotations

import os
import sys

from tiffin.cli.command import Call, Command
from tiffin.cli.flags import Flag, several, switch, text

STORAGE = (
    text("config", "A TOML file with these options, without their dashes"),
    text("storage", "Where to keep everything: a directory, or s3://BUCKET/PREFIX"),
    text("state", "With s3://: directory for uploads and downloads", default="/var/lib/tiffin/registry"),
    text("s3-endpoint", "With s3://: URL of the service, where it isn't Amazon's"),
    text("gc-grace", "Keep for so long what nothing refers to", default="1h"),
    switch("gc-untagged", "Remove manifests that no tag leads to"),
    text("upload-expiry", "End uploads that have not gone on for so long", default="24h"),
    text("log-level", "How much to tell (debug, info, warning, error)", default="info"),
)
SERVING = (
    several("listen", 'Address to listen on (default "127.0.0.1:5000")'),
    text("tls-cert", "Certificate (PEM, with its chain)"),
    text("tls-key", "Private key of the certificate"),
    text("htpasswd", "File of users and passwords, as htpasswd -B writes it"),
    text("access", "File of rights: lines of WHO REPOSITORIES ACTIONS"),
    switch("tokens", "Ask clients for bearer tokens, which /token gives for a password"),
    text("token-realm", "URL of /token as clients reach it, where that is not the registry's own"),
    switch("read-only", "Take nothing"),
    several("upstream", "Be a cache of the registry at this URL; HOST=URL for requests with ?ns=HOST"),
    text("upstream-auth", "File of the upstreams' users, such as ~/.docker/config.json"),
    text("upstream-user", "User name for the upstream; TIFFIN_REGISTRY_UPSTREAM_PASSWORD has the password"),
    text("upstream-password-file", "File that holds the password"),
    switch("upstream-insecure", "Don't verify the upstream's certificate"),
    text("max-blob-size", "Refuse larger blobs (20g); 0 for no limit", default="0"),
    text("max-uploads", "How many uploads may be open", default="10000"),
    text("gc-interval", "How often to remove what nothing refers to; 0 for never", default="6h"),
    text("metrics-listen", "Serve /metrics here, without a password, instead of with the rest"),
    text("access-log", 'A line of JSON for each request: "-", a file, or "none"', default="-"),
)


def _run(call: Call) -> int:
    """The server's options are the flags that were given; the defaults are its own to know."""
    words = [word for flag in call.command.flags for word in _words(call, flag)]
    command = call.command.path.rpartition(" ")[2]
    os.execv(sys.executable, [sys.executable, "-m", "tiffin.daemon.registry", command, *words])


def _words(call: Call, flag: Flag) -> list[str]:
    if not call.values.changed(flag.name):
        return []
    value = call.values.get(flag.name)
    given = value if isinstance(value, list) else [str(value).lower() if isinstance(value, bool) else str(value)]
    return [f"--{flag.name}={one}" for one in given]


COMMANDS = {
    "registry serve": Command(
        "registry serve",
        _run,
        flags=STORAGE + SERVING,
        details=(
            "Serve a registry of images (OCI distribution specification 1.1), in the foreground.\n"
            "Each option can be given as TIFFIN_REGISTRY_NAME in the environment, too."
        ),
    ),
    "registry gc": Command(
        "registry gc",
        _run,
        flags=STORAGE,
        details="Remove what nothing refers to from a registry's storage, also while it serves.",
    ),
}
