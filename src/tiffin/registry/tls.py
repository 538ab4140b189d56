"""Which certificates a registry is trusted by, and which are shown to it: docker's certs.d.

/etc/docker/certs.d/HOST[:PORT]/  ca.crt (any *.crt is a CA), client.cert with client.key
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tiffin.errors import Invalid

if TYPE_CHECKING:
    import ssl

CERTIFICATES = ("/etc/tiffin/certs.d", "/etc/docker/certs.d")


def context(host: str, *, verify: bool, directories: Sequence[str] = CERTIFICATES) -> "ssl.SSLContext":
    """host: with its port where the reference has one. Invalid for files that don't belong together."""
    import ssl

    made = ssl.create_default_context()
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    for directory in directories:
        _load(made, os.path.join(directory, host))
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def _load(made: "ssl.SSLContext", directory: str) -> None:
    import ssl

    if "/" in os.path.basename(directory) or os.path.basename(directory) in ("", ".", ".."):
        return
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        path, (stem, suffix) = os.path.join(directory, name), os.path.splitext(name)
        try:
            if suffix == ".crt":
                made.load_verify_locations(cafile=path)
            elif suffix == ".cert":
                if f"{stem}.key" not in names:
                    raise Invalid(
                        f"missing key {stem}.key for client certificate {name}. "
                        "CA certificates must use the extension .crt"
                    )
                made.load_cert_chain(path, os.path.join(directory, f"{stem}.key"))
            elif suffix == ".key" and f"{stem}.cert" not in names:
                raise Invalid(f"missing client certificate {stem}.cert for key {name}")
        except (ssl.SSLError, OSError) as error:
            raise Invalid(f"cannot use {path}: {error}") from error


def reason(error: "ssl.SSLError") -> str:
    """Why a handshake failed, in Go's words where clients know them."""
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        match error.verify_code:
            case 18 | 19 | 20 | 21:
                why = "certificate signed by unknown authority"
            case 9 | 10:
                why = "certificate has expired or is not yet valid"
            case 62 | 64:
                why = f"certificate is not valid for this host: {error.verify_message}"
            case _:
                why = error.verify_message
        return f"tls: failed to verify certificate: x509: {why}"
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return "http: server gave HTTP response to HTTPS client"
    if "ALERT" in (error.reason or ""):
        return f"remote error: tls: {(error.reason or '').lower().replace('_', ' ')}"
    return f"tls: {error.reason or error}"
