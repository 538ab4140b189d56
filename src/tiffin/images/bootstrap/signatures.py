"""Who signed a Release: OpenPGP by Sequoia (pysequoia), keys from a keyring.

The shipped keyrings are public data, as Debian's packages have them (both from trixie):
    keyrings/debian.pgp   debian-archive-keyring 2025.1: bullseye, bookworm and trixie; testing and unstable have
                          the same signers
    keyrings/ubuntu.pgp   ubuntu-keyring 2023.11.28.1-0.2: the archive's and the CD images' keys of 2012 and 2018
docs/bootstrap.md has the fingerprints.
"""

from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING, TypeVar

from tiffin.errors import Forbidden, Invalid, Unsupported

if TYPE_CHECKING:
    from pysequoia import Cert, Decrypted

T = TypeVar("T")

_MESSAGE = b"-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE = "-----BEGIN PGP SIGNATURE-----"


class Keyring:
    """The keys whose signatures are taken. Raises Invalid for bytes that hold none, Unsupported without the library."""

    def __init__(self, name: str, data: bytes) -> None:
        try:
            from pysequoia import Cert  # 3 MB of code that nothing else needs
        except ImportError as error:
            raise Unsupported("to check signatures pysequoia is needed: pip install pysequoia") from error
        self.name = name
        self._keys: list[Cert] = _translated(lambda: Cert.split_bytes(data), f"{name} is no OpenPGP keyring")
        if not self._keys:
            raise Invalid(f"{name}: no keys in this keyring")

    @property
    def fingerprints(self) -> list[str]:
        return [key.fingerprint for key in self._keys]

    def inline(self, document: bytes, where: str) -> str:
        """What is signed in an InRelease; whatever stands around it is left out. Raises Forbidden."""
        from pysequoia import verify

        if not document.startswith(_MESSAGE):
            raise Forbidden(f"{where} is not signed")
        signed = self._checked(where, lambda: verify(document, self._known))
        return (signed.bytes or b"").decode("utf-8", "replace")

    def detached(self, document: bytes, signature: bytes, where: str) -> str:
        """A Release with its Release.gpg: one good signature of several is enough. Raises Forbidden."""
        from pysequoia import Sig, verify
        from pysequoia.packet import PacketPile

        def each() -> "list[Sig]":
            blocks = signature.decode("ascii", "replace").split(_SIGNATURE)
            armored = [(_SIGNATURE + block).encode() for block in blocks[1:]] or [signature]
            return [Sig.from_bytes(bytes(packet)) for block in armored for packet in PacketPile.from_bytes(block)]

        failure = Forbidden(f"{where}: its signature file is empty")
        for one in _translated(each, f"{where}: its signature file is damaged"):
            try:
                self._checked(where, lambda one=one: verify(document, self._known, signature=one))  # type: ignore[misc]
            except Forbidden as error:
                failure = error
                continue
            return document.decode("utf-8", "replace")
        raise failure

    def _known(self, _: list[str]) -> "list[Cert]":
        return self._keys

    def _checked(self, where: str, verify: "Callable[[], Decrypted]") -> "Decrypted":
        try:
            done = verify()
        except RuntimeError as error:
            raise Forbidden(
                f"{where}: no good signature by a key of {self.name} ({_reason(error)}). Either somebody has "
                "changed it, or the archive has other keys: name its keyring with --keyring"
            ) from error
        if not done.valid_sigs:
            raise Forbidden(f"{where}: no good signature by a key of {self.name}")
        return done


def _translated(work: Callable[[], T], what: str) -> T:
    try:
        return work()
    except (RuntimeError, ValueError) as error:
        raise Invalid(f"{what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    # the library appends its stack
    return str(error).partition("\n")[0].strip().rstrip(".:")


def shipped(name: str) -> Keyring:
    """The keyring `debian` or `ubuntu` of this package."""
    data = resources.files("tiffin.images.bootstrap").joinpath("keyrings", f"{name}.pgp").read_bytes()
    return Keyring(f"{name.capitalize()}'s archive keyring", data)
