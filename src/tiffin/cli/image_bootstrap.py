"""`tiffin image bootstrap`: an image composed from a Debian or Ubuntu archive."""

from __future__ import annotations

import os

from tiffin.cli import flags, progress, references
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.flags import Flag
from tiffin.cli.kinds import STRINGS

_MAX_KEYRING = 8 << 20


def bootstrap(call: Call) -> int:
    from base64 import b64encode

    values = call.values
    name = values.text("tag") or call.operands[0]
    references.check(name)
    body = {
        "Base": call.operands[0],
        "Name": name,
        "Variant": values.text("variant"),
        "Include": values.list("include"),
        "Components": values.list("components"),
        "Mirror": values.text("mirror"),
        "Security": values.text("security"),
        "Keyring": b64encode(_keyring(values.text("keyring"))).decode(),
        "AllowExpired": values.on("allow-expired"),
        "Network": values.text("network"),
        "Platform": values.text("platform"),
    }
    documents = call.engine.documents("POST", "/images/bootstrap", None, body)
    if not values.on("quiet"):
        progress.show(call.session, documents)
        return 0
    identity = ""
    for document in documents:
        if message := document.get("error"):
            raise Failed(message)
        identity = document.get("status", identity)
    call.say(identity)
    return 0


def _keyring(path: str) -> bytes:
    """The file's bytes, none without one: it is read here, the daemon may be on another machine."""
    if not path:
        return b""
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_KEYRING + 1)
    except OSError as error:
        raise Failed(f"keyring {path}: {os.strerror(error.errno or 0).lower()}") from error
    if not data or len(data) > _MAX_KEYRING:
        raise Failed(f"keyring {path}: {'empty' if not data else 'too large to be one'}")
    return data


COMMANDS = {
    "image bootstrap": Command(
        "image bootstrap",
        bootstrap,
        "DISTRIBUTION[:SUITE]",
        (
            flags.switch("allow-expired", "Take a Release whose time is over (an archive that is no longer kept up)"),
            Flag("components", STRINGS, "Parts of the archive (Debian: main; Ubuntu: main,universe)"),
            Flag("include", STRINGS, "More packages (NAME or NAME=VERSION), and what they depend on"),
            flags.text("keyring", "File with the keys that may sign the archive, instead of the distribution's own"),
            flags.text("mirror", "Archive to take packages from, instead of the distribution's own"),
            flags.text("network", "Network for the packages' scripts", default="none"),
            flags.text("platform", "For another architecture, which the machine must be able to run: linux/arm64"),
            flags.switch("quiet", "Print the image's ID only", "q"),
            flags.text("security", "Archive of security updates; a mirror has none unless it is named (none: without)"),
            flags.text("tag", "Name of the image, instead of DISTRIBUTION:SUITE", "t"),
            flags.text("variant", "How much: essential, apt, minbase (the default) or important"),
        ),
        least=1,
        most=1,
        details="Compose an image from a distribution's signed packages: debian, ubuntu or busybox.\n"
        "No registry is asked, and nothing of this machine's own apt.",
    ),
}
