"""Hostile Dockerfiles, contexts and images: one of each kind that has broken out of another builder."""

from __future__ import annotations

import io
import os
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from build import building
from build.building import post, tar
from rig import Engine
from rig.engine import BIN

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A directory of the host with a file that nobody may read, change or remove."""
    directory = tmp_path / "host"
    directory.mkdir()
    (directory / "precious").write_text("of the host")
    return directory


@pytest.fixture(autouse=True)
def untouched(host: Path) -> Iterator[None]:
    yield
    assert os.listdir(host) == ["precious"]
    assert (host / "precious").read_text() == "of the host"


def said(engine: Engine, dockerfile: str, query: str = "", **files: str) -> str:
    """All that the engine answers."""
    _, lines = post(engine, query, tar(Dockerfile=dockerfile, **files))
    return "".join(str(line.get("stream", "")) + str(line.get("error", "")) + line.get("message", "") for line in lines)


def test_a_working_directory_is_no_door_to_the_engine_s_descriptors(engine: Engine) -> None:
    # CVE-2024-21626
    for number in (3, 7, 8, 9, 63):
        text = said(engine, f"FROM busybox\nWORKDIR /proc/self/fd/{number}\nRUN pwd; ls ../../../../../../../")
        assert "unreachable" not in text
        assert "work\n" not in text


def test_a_bind_mount_s_source_stays_in_its_stage(engine: Engine, host: Path) -> None:
    # CVE-2024-23651, CVE-2024-1753
    stage = f"FROM busybox AS s\nRUN ln -s {host} /abs && ln -s ../../../../../../..{host} /rel\nFROM busybox\n"
    for source in ("abs", "rel", "abs/precious", f"../../../../../..{host}"):
        mount = f"type=bind,from=s,source=/{source},target=/m"
        assert "of the host" not in said(engine, stage + f"RUN --mount={mount} cat /m /m/precious")


def test_a_cache_mount_s_source_stays_in_its_stage(engine: Engine, host: Path) -> None:
    # CVE-2024-23651
    name = uuid.uuid4().hex
    dockerfile = f"FROM busybox AS s\nRUN ln -s {host} /link\nFROM busybox\n"
    dockerfile += f"RUN --mount=type=cache,id={name},from=s,source=/link,target=/m cat /m/precious; touch /m/new; true"
    assert "of the host" not in said(engine, dockerfile)


def test_a_link_left_in_a_cache_mount_leads_the_next_run_nowhere(engine: Engine, host: Path) -> None:
    # CVE-2024-23651: a RUN swaps what another one is about to mount
    name = uuid.uuid4().hex
    first = f"FROM busybox\nRUN --mount=type=cache,id={name},target=/c ln -s {host} /c/sub; ln -s {host} /c/tree"
    second = f"FROM busybox\nRUN --mount=type=cache,id={name},target=/c cat /c/sub/precious; touch /c/sub/new; true"
    said(engine, first)
    assert "of the host" not in said(engine, second)


def test_places_of_mounts_are_made_and_removed_inside_the_root_only(engine: Engine, host: Path) -> None:
    # CVE-2024-23652: what was made to mount on is cleaned up; the link leads to something that was not
    dockerfile = f"FROM busybox\nRUN ln -s {host} /out && ln -s ../../../../../..{host}/precious /file\n"
    for mount in ("type=tmpfs,target=/out", "type=tmpfs,target=/out/sub", "type=cache,target=/out/sub/deeper"):
        said(engine, dockerfile + f"RUN --mount={mount} true")
    said(engine, dockerfile + "RUN --mount=type=bind,source=a,target=/file cat /file", a="x")
    said(engine, dockerfile + "RUN --mount=type=tmpfs,target=/x/y rm -rf /x; ln -s /out /x; true")


def test_privileges_that_nobody_granted_are_refused(engine: Engine) -> None:
    # CVE-2024-23653
    text = said(engine, "FROM busybox\nRUN --security=insecure grep Cap /proc/self/status")
    assert "security.insecure is not allowed" in text and "CapEff" not in text


def test_a_run_has_the_default_sandbox(engine: Engine) -> None:
    text = said(engine, "FROM busybox\nRUN grep -E '^(Cap|Seccomp)' /proc/self/status; ls /proc/self/fd; echo end")
    assert "CapEff:\t00000000a80425fb" in text
    assert "CapInh:\t0000000000000000" in text
    assert "Seccomp:\t2" in text
    assert "0\n1\n2\n3\nend" in text  # 3 is what ls reads


def test_a_copy_does_not_leave_a_stage_by_its_links(engine: Engine, host: Path) -> None:
    stage = f"FROM busybox AS s\nRUN ln -s {host} /d && ln -s {host}/precious /f\nFROM busybox\n"
    for source in ("/d", "/d/precious", "/f", "/d/*", f"/../../..{host}/precious"):
        text = said(engine, stage + f"COPY --from=s {source} /got/\nRUN cat /got /got/* /got/*/* 2>&1; true")
        assert "of the host" not in text


def test_a_copy_does_not_leave_the_image_by_its_links(engine: Engine, host: Path) -> None:
    dockerfile = f"FROM busybox\nRUN ln -s {host} /d && ln -s {host}/precious /f && ln -s ../../../../..{host} /r\n"
    dockerfile += "COPY a /d/\nCOPY a /d/precious\nCOPY a /f\nCOPY a /r/x/y\nWORKDIR /r/w\nADD a /d/new"
    said(engine, dockerfile, a="x")


def hostile(*entries: tuple[str, bytes, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, what in entries:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            if kind == tarfile.REGTYPE:
                entry.size = len(what)
                archive.addfile(entry, io.BytesIO(what.encode()))
            else:
                entry.linkname = what
                archive.addfile(entry)
    return buffer.getvalue()


def test_a_context_does_not_leave_its_directory(engine: Engine, host: Path) -> None:
    dockerfile = ("Dockerfile", tarfile.REGTYPE, "FROM busybox\nCOPY . /c\nRUN cat /c/x/precious /c/link 2>&1; true")
    for entries in (
        [("../" * 12 + str(host)[1:] + "/new", tarfile.REGTYPE, "x")],
        [("x", tarfile.SYMTYPE, str(host)), ("x/new", tarfile.REGTYPE, "x")],
        [("x", tarfile.SYMTYPE, "../" * 12 + str(host)[1:]), ("x/precious", tarfile.REGTYPE, "overwritten")],
        [("link", tarfile.LNKTYPE, "../" * 12 + str(host)[1:] + "/precious")],
        [("link", tarfile.LNKTYPE, str(host) + "/precious")],
    ):
        _, lines = post(engine, "", hostile(dockerfile, *entries))
        assert "of the host" not in str(lines)


def test_a_dockerfile_that_is_a_link_is_one_of_the_context(engine: Engine, host: Path) -> None:
    for name in ("Dockerfile", "Dockerfile.dockerignore"):
        entries = [(name, tarfile.SYMTYPE, str(host / "precious")), ("other", tarfile.REGTYPE, "FROM busybox")]
        _, lines = post(engine, "" if name == "Dockerfile" else "dockerfile=other", hostile(*entries))
        assert "of the host" not in str(lines)
    code, lines = post(engine, "dockerfile=../../../../../../etc/passwd", tar(Dockerfile="FROM busybox"))
    assert (code, "root:" in str(lines)) == (404, False)
    code, _ = post(engine, "", hostile(("Dockerfile", tarfile.FIFOTYPE, "")))
    assert code == 400


def test_an_archive_that_is_added_does_not_leave_the_image(engine: Engine, tmp_path: Path, host: Path) -> None:
    for number, entries in enumerate(
        (
            [("x", tarfile.SYMTYPE, str(host)), ("x/new", tarfile.REGTYPE, "x")],
            [("../../../../../../.." + str(host) + "/new", tarfile.REGTYPE, "x")],
        )
    ):
        files = {"evil.tar": building.File(hostile(*entries))}
        directory = building.write(tmp_path / f"{number}", "FROM busybox\nADD evil.tar /", files)
        building.remove(engine, building.build(engine, directory).image)


def test_passwd_files_are_data(engine: Engine) -> None:
    # CVE-2024-9676
    for evil in ("mkfifo /etc/passwd", "ln -s /dev/zero /etc/passwd", "truncate -s 8M /etc/passwd"):
        dockerfile = f"FROM busybox\nRUN rm /etc/passwd && {evil}\nCOPY --chown=nobody a /a"
        assert "unable to find user nobody" in said(engine, dockerfile, a="a")


def test_a_device_directory_of_the_image_is_not_used(engine: Engine, host: Path) -> None:
    # CVE-2025-31133, CVE-2019-16884
    evil = "".join(f" && ln -s {host} /r/{name}" for name in ("dev", "proc", "sys"))
    dockerfile = f"FROM busybox AS s\nRUN mkdir /r && cp -a /bin /r{evil}\nFROM scratch\nCOPY --from=s /r /\n"
    assert "of the host" not in said(engine, dockerfile + "RUN /bin/cat /dev/precious /proc/precious; /bin/true")


def test_options_and_helpers_are_no_repositories(engine: Engine, host: Path) -> None:
    # CVE-2019-13139, git's ext:: and file:// transports
    for remote in (
        f"git://127.0.0.1/x.git%23--upload-pack=touch%20{host}/new",
        f"ext::sh%20-c%20touch%25%20{host}/new.git",
        f"file://{host}/x.git",
        f"--upload-pack=touch%20{host}/new@x:y.git",
    ):
        out = engine.run(
            "curl", "-sS", "--unix-socket", str(engine.socket), "-X", "POST", f"http://e/build?remote={remote}"
        )
        assert "message" in out


def test_a_secret_is_in_no_layer_no_record_and_no_log(engine: Engine, tmp_path: Path) -> None:
    secret = uuid.uuid4().hex
    (tmp_path / "secret").write_text(secret)
    dockerfile = (
        "FROM busybox\n"
        "RUN --mount=type=secret,id=s,target=/run/it --mount=type=secret,id=s,env=IT"
        " test $(cat /run/it) = $IT && stat -c %a /run/it && md5sum /run/it > /sum\n"
        'RUN ! test -e /run/it && test -z "$IT"'
    )
    directory = building.write(tmp_path / "context", dockerfile, {})
    given = f"id=s,src={tmp_path / 'secret'}"
    engine.run(BIN / "tiffin", "build", "--secret", given, "-t", "secretive", directory, timeout=120)
    assert "run" not in building.tree(engine, "secretive")
    building.remove(engine, "secretive")
    places = map(str, (engine.data_root, engine.exec_root, engine.log))
    assert engine.run("grep", "-rlaF", secret, *places, check=False) == ""


def test_a_control_group_whose_name_is_cut_short_is_refused(engine: Engine) -> None:
    answer = said(engine, "FROM busybox\nRUN true\n", "cgroupparent=/a%00b")
    assert "a NUL byte can't be part of a control group's path" in answer
    assert "still 42" in said(engine, "FROM busybox\nRUN echo still $((6 * 7))\n")
