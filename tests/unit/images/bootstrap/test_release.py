"""Release files, their signatures, and the archives that are asked."""

import pytest

from rig.debs import DATE, LittleArchive, key
from tiffin.errors import Forbidden, Invalid, Unsupported
from tiffin.images.bootstrap import release, suites
from tiffin.images.bootstrap.signatures import Keyring, shipped
from tiffin.model.platform import parse_platform

ARCHIVE = LittleArchive("lunch")


def test_a_release_is_read() -> None:
    found = release.parse(ARCHIVE.release().decode(), "x")
    assert (found.names, found.date, found.valid_until, found.by_hash) == ({"lunch"}, DATE, 0, True)
    assert found.files["main/binary-amd64/Packages.xz"].size > 0


@pytest.mark.parametrize(
    "text, told",
    [
        ("Suite: x\nSHA256:\n", "has no date"),
        ("Date: soon\n", "is no date"),
        ("Date: Sun, 15 Jun 2025 15:06:40 UTC\nMD5Sum:\n 0 0 x\n", "no SHA256 checksums"),
        ("Date: Sun, 15 Jun 2025 15:06:40 UTC\nSHA256:\n 0 0 x\n", "damaged line"),
        ("Date: a\nDate: b\n", "twice"),
    ],
)
def test_damaged_releases_are_refused(text: str, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        release.parse(text, "x")


def test_separate_indices_for_all_architectures_are_noticed() -> None:
    text = ARCHIVE.release().decode().replace("Architectures: ", "Architectures: all ")
    assert release.parse(text, "x").separate_all
    assert not release.parse("No-Support-for-Architecture-all: Packages\n" + text, "x").separate_all


def test_a_signature_within_and_one_apart() -> None:
    keyring = Keyring("ours", ARCHIVE.keyring)
    assert "Suite: lunch" in keyring.inline(ARCHIVE.files()["dists/lunch/InRelease"], "x")
    apart = LittleArchive("lunch", signed_by=ARCHIVE.key)
    apart.detached = True
    files = apart.files()
    document, signature = files["dists/lunch/Release"], files["dists/lunch/Release.gpg"]
    stranger = LittleArchive("lunch")
    stranger.detached = True
    other = stranger.files()["dists/lunch/Release.gpg"]
    # one good signature of several is enough, wherever it stands
    for signatures in (signature, other + signature, signature + other):
        assert keyring.detached(document, signatures, "x") == document.decode()
    for wrong in (other, b"", b"nonsense"):
        with pytest.raises((Forbidden, Invalid)):
            keyring.detached(document, wrong, "x")
    with pytest.raises(Forbidden, match="no good signature by a key of ours"):
        keyring.detached(document + b"x", signature, "x")


def test_a_revoked_key_signs_nothing() -> None:
    from pysequoia import Cert

    mine = key()
    archive = LittleArchive("lunch", signed_by=mine)
    certificate = mine.extract_certificate()
    revoked = Cert.from_bytes(bytes(certificate) + bytes(certificate.revoke(mine.certifier())))
    assert revoked.is_revoked
    with pytest.raises(Forbidden):
        Keyring("ours", bytes(revoked)).inline(archive.files()["dists/lunch/InRelease"], "x")


def test_the_shipped_keyrings_hold_the_keys_they_say() -> None:
    assert {"04b54c3cdca79751b16bc6b5225629df75b188bd", "41587f7db8c774bccf131416762f67a0b2c39de4"} <= set(
        shipped("debian").fingerprints
    )
    assert "f6ecb3762474eda9d21b7022871920d1991bc93c" in shipped("ubuntu").fingerprints


def sources(text: str, **options: str) -> list[str]:
    return [str(one) for one in suites.distribution(text, "amd64", **options).sources]  # type: ignore[arg-type]


def test_which_archives_a_name_means() -> None:
    debian, security = "http://deb.debian.org/debian", "http://deb.debian.org/debian-security"
    stable = [f"{debian} trixie", f"{debian} trixie-updates", f"{security} trixie-security"]
    assert sources("debian:trixie") == sources("debian:13") == stable
    assert sources("debian:sid") == [f"{debian} sid"]
    assert sources("debian:trixie", mirror="http://m/d/") == ["http://m/d trixie", "http://m/d trixie-updates"]
    assert sources("debian:trixie", mirror="http://m/d", security="http://m/s")[2] == "http://m/s trixie-security"
    assert sources("debian:trixie", security="none") == stable[:2]
    assert sources("ubuntu:24.04")[0] == "http://archive.ubuntu.com/ubuntu noble"


def test_architectures_have_debians_names() -> None:
    known = {"amd64": "amd64", "386": "i386", "arm/v7": "armhf", "arm/v6": "armel", "ppc64le": "ppc64el"}
    for name, debians in known.items():
        assert suites.debian_architecture(parse_platform(f"linux/{name}")) == debians
    for name in ("linux/sparc", "windows/amd64"):
        with pytest.raises(Unsupported):
            suites.debian_architecture(parse_platform(name))


def test_sources_are_written_for_apt() -> None:
    found = suites.distribution("debian:trixie", "amd64", security="http://s/x")
    assert suites.sources_list(found.sources, "/key") == (
        "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: trixie trixie-updates\nComponents: main\n"
        "Signed-By: /key\n\n"
        "Types: deb\nURIs: http://s/x\nSuites: trixie-security\nComponents: main\nSigned-By: /key\n"
    )
