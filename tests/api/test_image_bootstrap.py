"""`image bootstrap` from a little archive of our own: what is made, what is refused and then leaves nothing."""

from __future__ import annotations

import hashlib
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig import Cli, Engine, eventually
from rig.archives import architecture
from rig.commands import Result
from rig.debs import DATE, Deb, LittleArchive, key, tar
from rig.mirrors import Mirror, served


@pytest.fixture(autouse=True)
def own_promises(engine: Engine) -> None:
    if engine.kind != "tiffin":
        pytest.skip("docker composes no images from packages: this is a command of this engine's own")


@pytest.fixture
def archive() -> LittleArchive:
    """The suite `lunch`, in which one package is of this very test: nothing of it has been fetched before."""
    return LittleArchive("lunch", [Deb("fresh", str(time.time_ns()))])


@pytest.fixture
def mirror(engine: Engine, archive: LittleArchive) -> Iterator[Mirror]:
    with served(engine, archive.answer) as made:
        yield made


@pytest.fixture
def tiffin(engine: Engine) -> Cli:
    return engine.cli("tiffin")


Bootstrap = Callable[..., Result]
Make = Callable[..., str]


@pytest.fixture
def bootstrap(tiffin: Cli, mirror: Mirror, archive: LittleArchive, tmp_path: Path) -> Bootstrap:
    """bootstrap("--include", "soup") runs the command, trusting the key that the archive had at first."""
    keyring = tmp_path / "keyring.pgp"
    keyring.write_bytes(archive.keyring)
    flags = ["--mirror", mirror.debian, "--keyring", str(keyring)]

    def bootstrap(*words: str, base: str = "debian:lunch") -> Result:
        return tiffin("image", "bootstrap", base, *flags, *words, check=False, timeout=120)

    return bootstrap


@pytest.fixture
def make(tiffin: Cli, bootstrap: Bootstrap) -> Iterator[Make]:
    """make("--include", "soup") is the ID of an image that must come about; removed after the test."""
    made = set()

    def make(*words: str, base: str = "debian:lunch") -> str:
        result = bootstrap("-q", *words, base=base)
        assert result.rc == 0, result.err
        made.add(result.line)
        return result.line

    yield make
    if made:
        tiffin("rmi", "-f", *made)


def test_an_image_is_composed_and_runs(tiffin: Cli, archive: LittleArchive, bootstrap: Bootstrap) -> None:
    archive.debs.append(Deb("soup", depends="spoon (>= 2)", files={"usr/share/soup": "hot"}, packed=".gz"))
    archive.debs.append(Deb("spoon", "2.1", files={"usr/share/spoon": "big"}))
    result = bootstrap("--include", "soup")
    assert result.rc == 0, result.err
    told = result.out.splitlines()
    assert told[0] == "lunch: Release of 2025-06-15T15:06:40Z verified"
    assert "second stage: 5 packages installed" in told
    assert tiffin("run", "--rm", "debian:lunch", "cat", "/usr/share/soup", "/usr/share/spoon").out == "hotbig"
    assert f"Deleted: {told[-1]}" in tiffin("rmi", "debian:lunch").out


def test_a_version_that_is_asked_for_is_had(
    tiffin: Cli, archive: LittleArchive, bootstrap: Bootstrap, make: Make
) -> None:
    archive.debs += [Deb("soup", version, files={"usr/share/soup": version}) for version in ("1.0-1", "1.0-2", "2.0-1")]
    for words, version in ((["soup=1.0-1"], "1.0-1"), (["soup=1.*"], "1.0-2"), (["soup"], "2.0-1")):
        image = make("--include", *words)
        assert tiffin("run", "--rm", image, "cat", "/usr/share/soup").out == version
    refused = bootstrap("--include", "soup=3")
    assert refused.rc == 1
    assert "no version 3 of package soup in this archive: it has 2.0-1, 1.0-2, 1.0-1" in refused.err


def test_another_architecture_is_refused_where_the_machine_cannot_run_it(bootstrap: Bootstrap) -> None:
    assert "have scripts that this machine" in bootstrap("--platform", "linux/s390x").err
    assert "there are those for linux" in bootstrap("--platform", "windows/amd64").err
    assert "unknown operating system or architecture" in bootstrap("--platform", "nonsense").err


@pytest.mark.skipif(architecture() != "amd64", reason="i386 is what amd64 runs by itself")
def test_another_architecture_that_the_machine_runs(tiffin: Cli, archive: LittleArchive, make: Make) -> None:
    archive.architecture = "i386"  # in name: its programs are this machine's
    image = make("--platform", "linux/386")
    assert tiffin("image", "inspect", "-f", "{{.Os}}/{{.Architecture}}", image).line == "linux/386"
    assert "Package: fresh" not in tiffin("run", "--rm", image, "cat", "/var/lib/dpkg/status").out
    assert any("binary-i386" in path for path in archive.asked)


def test_the_image_has_the_archives_date_and_nothing_younger(engine: Engine, tiffin: Cli, make: Make) -> None:
    (inspected,) = json.loads(tiffin("inspect", make()).out)
    assert inspected["Created"] == "2025-06-15T15:06:40Z"
    assert inspected["Config"]["Cmd"] == ["bash"]
    (layer,) = inspected["RootFS"]["Layers"]
    with tarfile.open(engine.data_root / "content" / "blobs" / layer.replace(":", "/")) as opened:
        members = opened.getmembers()
    assert max(member.mtime for member in members) == DATE
    assert {"run/bootstrap", ".dockerenv", "etc/resolv.conf"}.isdisjoint(member.name for member in members)


def test_the_same_packages_give_the_same_image(archive: LittleArchive, make: Make) -> None:
    script = "#!/bin/sh\ndate >/var/log/dpkg.log; touch /usr/share/made; date >/etc/machine-id\n"
    archive.debs.append(Deb("clock", files={"var/log/note": ""}, postinst=script))
    assert make("--include", "clock", "-t", "one") == make("--include", "clock", "-t", "two")


@pytest.mark.slow
def test_the_image_is_the_same_whatever_the_storage_driver(
    start_engine: Callable[..., Engine], archive: LittleArchive, make: Make, tmp_path: Path
) -> None:
    other = start_engine("--storage-driver", "copy", images=())
    (tmp_path / "keys").write_bytes(archive.keyring)
    with served(other, archive.answer) as mirror:
        words = ["-q", "--variant", "essential", "--mirror", mirror.debian, "--keyring", str(tmp_path / "keys")]
        made = other.cli("tiffin")("image", "bootstrap", "debian:lunch", *words, timeout=120).line
    assert made == make("--variant", "essential")


def test_a_second_bootstrap_fetches_only_what_is_not_whole(engine: Engine, archive: LittleArchive, make: Make) -> None:
    make("--include", "fresh")
    assert "pool/fresh.deb" in archive.asked
    archive.asked.clear()
    make("--include", "fresh")
    assert archive.asked == ["dists/lunch/InRelease"]
    deb = archive.files()["pool/fresh.deb"]
    (engine.data_root / "bootstrap" / "files" / hashlib.sha256(deb).hexdigest()).write_bytes(bytes(len(deb)))
    archive.asked.clear()
    make("--include", "fresh")
    assert archive.asked == ["dists/lunch/InRelease", "pool/fresh.deb"]


def test_apt_in_the_image_knows_the_same_archive_and_key(tiffin: Cli, mirror: Mirror, make: Make) -> None:
    script = "cat /etc/apt/sources.list.d/debian.sources; ls /etc/apt/keyrings"
    assert tiffin("run", "--rm", make(), "sh", "-c", script).out == (
        f"Types: deb\nURIs: {mirror.debian}\nSuites: lunch\nComponents: main\n"
        "Signed-By: /etc/apt/keyrings/debian.gpg\ndebian.gpg\n"
    )


def test_scripts_of_packages_run_in_a_container_without_a_network(
    tiffin: Cli, archive: LittleArchive, make: Make
) -> None:
    script = "#!/bin/sh\nls /sys/class/net >/usr/share/links; id >/usr/share/id; env >/usr/share/env\n"
    archive.debs.append(Deb("spy", files={"usr/share/spy": ""}, postinst=script))
    seen = tiffin("run", "--rm", make("--include", "spy"), "cat", "/usr/share/links", "/usr/share/id", "/usr/share/env")
    links, identity, *environment = seen.out.splitlines()
    assert links == "lo"
    assert identity.startswith("uid=0(root)")
    assert f"SOURCE_DATE_EPOCH={DATE}" in environment


def test_busybox_is_one_package_with_a_link_for_each_applet(tiffin: Cli, archive: LittleArchive, make: Make) -> None:
    binary = archive.debs[0].files["bin/busybox"]
    archive.debs.append(Deb("busybox-static", files={"usr/bin/busybox": binary, "usr/share/doc/x": "y"}, packed=""))
    image = make("-t", "box", base="busybox:lunch")
    seen = tiffin("run", "--rm", image, "sh", "-c", "id -un; ls /usr; stat -c %h /bin/ls").out.split()
    assert seen[:3] == ["root", "bin", "sbin"]
    assert int(seen[3]) > 100


def test_ubuntus_archives_are_asked_for_by_their_names(
    archive: LittleArchive, bootstrap: Bootstrap, make: Make
) -> None:
    assert "no index of the component universe" in bootstrap(base="ubuntu:lunch").err
    archive.asked.clear()
    make("--components", "main", base="ubuntu:lunch")
    asked = {path.split("/")[1] for path in archive.asked if path.startswith("dists/")}
    assert asked == {"lunch", "lunch-updates", "lunch-security"}


def test_a_release_signed_apart_is_as_good(archive: LittleArchive, make: Make) -> None:
    archive.detached, archive.by_hash = True, False
    assert make().startswith("sha256:")


def test_lines_around_the_signed_part_mean_nothing(archive: LittleArchive, make: Make) -> None:
    signed = archive.files()["dists/lunch/InRelease"]
    archive.changed["dists/lunch/InRelease"] = signed + b"Valid-Until: Thu, 01 Jan 1970 00:00:00 UTC\n"
    assert make().startswith("sha256:")


def test_an_expired_release_is_taken_where_that_is_allowed(archive: LittleArchive, make: Make) -> None:
    archive.valid_until = DATE + 3600
    assert make("--allow-expired").startswith("sha256:")


Refused = Callable[..., None]


@pytest.fixture
def refused(engine: Engine, bootstrap: Bootstrap) -> Refused:
    """refused(text, words…): the command fails, says that, and leaves nothing."""

    def refused(text: str, *words: str) -> None:
        before = inventory(engine)
        result = bootstrap(*words)
        assert (result.rc, text in result.err) == (1, True), result.err
        eventually(lambda: inventory(engine) <= before, within=60, what="nothing is left of it")

    return refused


def inventory(engine: Engine) -> set[Path]:
    """Blobs, layers, containers (of which some may still be going), and what a bootstrap has beside its downloads."""
    places = ("content/blobs/sha256", "content/ingest", "containers", "snapshots/*/*", "bootstrap")
    found = {path for place in places for path in engine.data_root.glob(f"{place}/*")}
    unfinished = engine.data_root.glob("bootstrap/files/*.*")
    return {path for path in found if path.parent.name != "mounts"} | set(unfinished)


def index(archive: LittleArchive) -> tuple[str, bytes]:
    """The index that is fetched: its path and its bytes."""
    return next((path, data) for path, data in archive.files().items() if "by-hash" in path and data[:2] == b"\xfd7")


def test_an_index_that_was_changed_is_refused(archive: LittleArchive, refused: Refused) -> None:
    path, data = index(archive)
    archive.changed[path] = data[:-1] + bytes([data[-1] ^ 1])
    refused("not what the signed index promises")


def test_an_index_of_another_length_is_refused(archive: LittleArchive, refused: Refused) -> None:
    path, data = index(archive)
    archive.changed[path] = data + b"x" * 1000
    refused("not what the signed index promises")


def test_a_release_that_was_changed_is_refused(archive: LittleArchive, refused: Refused) -> None:
    signed = archive.files()["dists/lunch/InRelease"]
    archive.changed["dists/lunch/InRelease"] = signed.replace(b"Origin: test", b"Origin: tesT")
    refused("no good signature by a key of the given keyring")


def test_a_release_by_another_key_is_refused(archive: LittleArchive, refused: Refused) -> None:
    archive.key = key()
    refused("no good signature by a key of the given keyring")


def test_a_release_without_a_signature_is_refused(archive: LittleArchive, refused: Refused) -> None:
    archive.changed["dists/lunch/InRelease"] = None
    archive.changed["dists/lunch/Release"] = archive.release()
    refused("is not signed: there is no InRelease and no Release.gpg")


def test_a_release_of_another_suite_is_refused(archive: LittleArchive, refused: Refused) -> None:
    other = LittleArchive("dinner", signed_by=archive.key)
    archive.changed["dists/lunch/InRelease"] = other.files()["dists/dinner/InRelease"]
    refused("asked for lunch, the archive's signed Release is for dinner")


def test_a_release_of_the_future_is_refused(archive: LittleArchive, refused: Refused) -> None:
    archive.date = int(time.time()) + 10 * 24 * 3600
    refused("is to come: is this clock right?")


def test_an_expired_release_is_refused(archive: LittleArchive, refused: Refused) -> None:
    archive.valid_until = DATE + 3600
    refused("has expired: it was valid until 2025-06-15T16:06:40Z")


def test_a_deb_that_was_changed_is_refused(archive: LittleArchive, refused: Refused) -> None:
    data = archive.files()["pool/fresh.deb"]
    archive.changed["pool/fresh.deb"] = data[:-1] + bytes([data[-1] ^ 1])
    refused("pool/fresh.deb: not what the signed index promises", "--include", "fresh")


def test_a_deb_that_is_missing_is_told(archive: LittleArchive, refused: Refused) -> None:
    archive.changed["pool/fresh.deb"] = None
    refused("pool/fresh.deb is not there", "--include", "fresh")


def test_a_dependency_that_cannot_be_met_is_told_with_the_way_to_it(archive: LittleArchive, refused: Refused) -> None:
    archive.debs += [Deb("soup", depends="spoon"), Deb("spoon", "1", depends="metal (>= 2) | wood"), Deb("metal", "1")]
    told = "spoon 1 (needed by soup) depends on metal (>= 2) | wood, which this archive does not have"
    refused(told, "--include", "soup")


def test_packages_that_exclude_each_other_are_named(archive: LittleArchive, refused: Refused) -> None:
    archive.debs += [Deb("soup", more="Conflicts: salad"), Deb("salad")]
    refused("soup 1.0 can't be installed beside salad 1.0", "--include", "soup,salad")


def test_a_package_that_is_not_there_is_told(refused: Refused) -> None:
    refused("no package nothing-of-the-kind in this archive", "--include", "nothing-of-the-kind")


def test_a_name_that_leads_out_of_the_root_is_refused(archive: LittleArchive, refused: Refused) -> None:
    header = bytearray(tar({"x": "y"}, {}).replace(b"./x\0\0\0\0\0\0\0\0", b"../../../x\0", 1))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    archive.debs.append(Deb("evil", essential=True, raw=bytes(header)))
    refused("evil's .deb has the name '../../../x': refused")


def test_a_script_that_fails_ends_it_with_its_words(archive: LittleArchive, refused: Refused) -> None:
    archive.debs.append(Deb("bad", files={"x": ""}, postinst="#!/bin/sh\necho the soup is cold >&2\nexit 7\n"))
    refused("the soup is cold", "--include", "bad")


def test_what_is_no_keyring_is_refused(bootstrap: Bootstrap, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("not a key")
    assert "is no OpenPGP keyring" in bootstrap("--keyring", str(tmp_path / "wrong")).err
    assert "no such file or directory" in bootstrap("--keyring", str(tmp_path / "missing")).err


def test_the_shipped_keys_trust_only_the_distributions(tiffin: Cli, mirror: Mirror) -> None:
    result = tiffin("image", "bootstrap", "debian:lunch", "--mirror", mirror.debian, check=False)
    assert result.rc == 1
    assert "no good signature by a key of Debian's archive keyring" in result.err


@pytest.mark.parametrize(
    "words, text",
    [
        (["fedora"], "debian[:SUITE], ubuntu[:SUITE] and busybox[:SUITE] are known"),
        (["debian:lunch", "--mirror", "ftp://x/"], "give the http or https URL"),
        (["debian:lunch", "--variant", "huge"], "no variant 'huge'"),
        (["busybox", "--include", "soup"], "busybox is one package"),
        (["debian", "-t", "host"], "can't be given to an image"),
        (["debian:../x", "-t", "x"], "is no name of a suite"),
    ],
)
def test_what_cannot_be_meant_is_told(tiffin: Cli, words: list[str], text: str) -> None:
    result = tiffin("image", "bootstrap", *words, check=False)
    assert (result.rc, text in result.err) == (1, True), result.err


def test_a_suite_that_is_not_there_is_told(bootstrap: Bootstrap) -> None:
    assert "no such suite" in bootstrap(base="debian:dinner").err


SLEEPER = Deb("sleeper", files={"x": ""}, postinst="#!/bin/sh\nbusybox sleep 1000\n")


def second_stage(tiffin: Cli) -> bool:
    """Whether the container in which packages are installed runs."""
    return bool(tiffin("ps", "-q", "--filter", "label=io.tiffin.bootstrap").out)


def flags(mirror: Mirror, archive: LittleArchive, directory: Path) -> list[str]:
    (directory / "keyring").write_bytes(archive.keyring)
    return ["--mirror", mirror.debian, "--keyring", str(directory / "keyring"), "--include", "sleeper"]


def test_a_client_that_goes_takes_its_bootstrap_with_it(
    engine: Engine, tiffin: Cli, archive: LittleArchive, mirror: Mirror, tmp_path: Path
) -> None:
    archive.debs.append(SLEEPER)
    before = inventory(engine)
    client = tiffin.start("image", "bootstrap", "debian:lunch", *flags(mirror, archive, tmp_path))
    eventually(lambda: second_stage(tiffin), within=60, what="the second stage runs")
    client.kill()
    client.communicate()
    eventually(lambda: inventory(engine) <= before, within=60, what="nothing is left of it")


@pytest.mark.slow
def test_a_killed_daemon_leaves_nothing_of_a_bootstrap(
    start_engine: Callable[..., Engine], archive: LittleArchive, tmp_path: Path
) -> None:
    own = start_engine(images=())
    tiffin = own.cli("tiffin")
    archive.debs.append(SLEEPER)
    with served(own, archive.answer) as mirror:
        client = tiffin.start("image", "bootstrap", "debian:lunch", *flags(mirror, archive, tmp_path))
        eventually(lambda: second_stage(tiffin), within=60, what="the second stage runs")
        own.kill()
        client.communicate()
    own.start()
    assert tiffin("ps", "-aq").out == ""
    assert [path.name for path in inventory(own)] == ["files"]
