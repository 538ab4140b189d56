"""POST /images/bootstrap, a route of tiffin's own: nothing in Docker's API composes an image from packages."""

from msgspec import Struct


class Bootstrap(Struct, rename="pascal", kw_only=True):
    """base: a distribution such as debian:trixie. keyring: OpenPGP keys, base64 in JSON."""

    base: str = ""
    name: str = ""
    variant: str = ""
    include: list[str] = []
    components: list[str] = []
    mirror: str = ""
    security: str = ""
    keyring: bytes = b""
    allow_expired: bool = False
    network: str = "none"
    platform: str = ""
