"""What binfmt_misc says about platforms that are not this machine's."""

from pathlib import Path

import pytest

from tiffin.engine.builds_foreign import explained, interpreted, platforms
from tiffin.errors import Invalid
from tiffin.model.platform import host_platform, parse_platform

AARCH64 = "7f454c460201010000000000000000000200b700"
ARM = "7f454c4601010100000000000000000002002800"
S390X = "7f454c4602020100000000000000000000020016"
REFUSED = Invalid('exec: "/bin/sh": exec format error: unknown')
pytestmark = pytest.mark.skipif(host_platform().architecture != "amd64", reason="the entries are for foreign machines")


def register(root: Path, name: str, magic: str, flags: str, state: str = "enabled") -> None:
    text = f"{state}\ninterpreter /usr/bin/{name}\nflags: {flags}\noffset 0\nmagic {magic}\nmask ff\n"
    (root / name).write_text(text)


@pytest.fixture
def registered(tmp_path: Path) -> Path:
    (tmp_path / "register").write_bytes(b"")
    (tmp_path / "status").write_text("enabled\n")
    return tmp_path


def test_interpreters_are_known_by_the_magic_of_what_they_run(registered: Path) -> None:
    register(registered, "qemu-aarch64", AARCH64, "POCF")
    register(registered, "qemu-s390x", S390X, "OC")
    register(registered, "qemu-arm", ARM, "F", state="disabled")
    register(registered, "python3.11", "a70d0d0a", "")
    assert interpreted(registered) == {"arm64": True, "s390x": False}
    assert [str(one) for one in platforms(registered)] == ["linux/amd64", "linux/arm64"]


def test_without_binfmt_misc_there_is_this_machine(tmp_path: Path) -> None:
    assert platforms(tmp_path / "nowhere") == [host_platform()]


def test_a_refusal_names_the_platform_and_what_helps(registered: Path) -> None:
    register(registered, "qemu-s390x", S390X, "OC")
    said = str(explained(REFUSED, parse_platform("linux/arm64"), registered))
    assert said.startswith(str(REFUSED))
    assert "linux/arm64 can't be run on this machine (linux/amd64): no interpreter" in said
    assert "qemu-user-static" in said
    assert "has no flag F" in str(explained(REFUSED, parse_platform("linux/s390x"), registered))


def test_other_failures_and_this_machines_own_are_told_as_they_are(registered: Path) -> None:
    assert str(explained(REFUSED, host_platform(), registered)) == str(REFUSED)
    missing = Invalid('exec: "x": executable file not found in $PATH')
    assert str(explained(missing, parse_platform("linux/arm64"), registered)) == str(missing)
