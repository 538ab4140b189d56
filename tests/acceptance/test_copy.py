"""`cp`, case by case: what dockerd 20.10 does with links, slashes, volumes and states, it does."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import Cli, Engine, eventually

SETUP = """
mkdir -p /src/dir/sub /dst /full/dir
echo one > /src/dir/file; echo two > /src/dir/sub/deep; echo x > /full/file; echo v > /vol/vfile
ln -s file /src/dir/rel; ln -s dir /src/linkdir; ln -s /src/dir/file /src/linkfile; ln -s nowhere /src/dangling
mkdir /in; echo old > /in/file; ln -s /in /in/self; ln -s /in/file /in/link;
ln -s ../../../../in /src/up; chown 70:71 /src/dir/file; chmod 4755 /src/dir/sub/deep; touch /ready
exec sleep 1000
"""


@pytest.fixture(scope="module")
def source(request: pytest.FixtureRequest, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A container with files, links, a volume and a bind."""
    docker, bind = engine.cli("docker"), tmp_path_factory.mktemp("bind")
    (bind / "bfile").write_text("b\n")
    flags = ["-v", "/vol", "-v", f"{bind}:/bind", "-v", f"{bind}:/ro:ro", "-h", "copied"]
    made = docker("run", "-d", "--init", *flags, "busybox", "sh", "-c", SETUP).line
    eventually(lambda: docker("exec", made, "test", "-e", "/ready", check=False).rc == 0)
    if request.param == "stopped":
        docker("kill", made)
        docker("wait", made)
    yield made
    docker("rm", "-f", "-v", made)


@pytest.fixture
def plain(request: pytest.FixtureRequest, engine: Engine) -> Cli:
    """Both command lines on the shared engine, which keeps its containers."""
    return engine.cli(request.param)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "plain" in metafunc.fixturenames:
        both = [(cli, state) for cli in ("docker", "tiffin") for state in ("running", "stopped")]
        wanted = metafunc.config.getoption("--cli") or ["docker", "tiffin"]
        # the states are the daemon's affair: one command line is enough for the second
        chosen = [
            pytest.param(*pair, marks=[] if pair == ("docker", "running") else [pytest.mark.slow])
            for pair in both
            if pair[0] in wanted and pair != ("tiffin", "stopped")
        ]
        metafunc.parametrize(("plain", "source"), chosen, indirect=True)


def tree(path: Path) -> dict[str, str]:
    """Relative path → content, link target or "/"."""
    found = {}
    for each in sorted(path.rglob("*")):
        kind = f"-> {os.readlink(each)}" if each.is_symlink() else "/" if each.is_dir() else each.read_text()
        found[str(each.relative_to(path))] = kind
    return found


DIRECTORY = {"file": "one\n", "rel": "-> file", "sub": "/", "sub/deep": "two\n"}


def below(name: str) -> dict[str, str]:
    return {name: "/", **{f"{name}/{key}": value for key, value in DIRECTORY.items()}}


OUT = [
    ("/src/dir/file", "", {"file": "one\n"}),
    ("/src/dir/file", "new", {"new": "one\n"}),
    ("/src/dir", "", below("dir")),
    ("/src/dir", "new", below("new")),
    ("/src/dir/", "", below("dir")),
    ("/src/dir/.", "", DIRECTORY),
    ("/src/dir/.", "new", below("new")),
    ("/src/dir/rel", "", {"rel": "-> file"}),
    ("/src/linkdir", "", {"linkdir": "-> dir"}),
    ("/src/linkdir/", "", below("linkdir")),
    ("/src/linkfile", "", {"linkfile": "-> /src/dir/file"}),
    ("/src/dangling", "", {"dangling": "-> nowhere"}),
    ("/vol", "", {"vol": "/", "vol/vfile": "v\n"}),
    ("/vol/vfile", "", {"vfile": "v\n"}),
    ("/bind/bfile", "", {"bfile": "b\n"}),
    ("/etc/hostname", "", {"hostname": "copied\n"}),
    ("src/dir/file", "", {"file": "one\n"}),
]


@pytest.mark.parametrize(("path", "target", "found"), OUT, ids=lambda value: value if isinstance(value, str) else "")
def test_out(plain: Cli, source: str, tmp_path: Path, path: str, target: str, found: dict[str, str]) -> None:
    plain("cp", f"{source}:{path}", f"{tmp_path}/{target}")
    assert tree(tmp_path) == found


FOLLOWED = [
    ("/src/linkdir", below("linkdir")),
    ("/src/linkfile", {"linkfile": "one\n"}),
    ("/src/dir/rel", {"rel": "one\n"}),
]


@pytest.mark.parametrize(("path", "found"), FOLLOWED, ids=["directory", "file", "relative"])
def test_out_with_links_followed(plain: Cli, source: str, tmp_path: Path, path: str, found: dict[str, str]) -> None:
    plain("cp", "-L", f"{source}:{path}", str(tmp_path))
    assert tree(tmp_path) == found


def test_owners_and_modes_come_out_where_they_are_asked_for(plain: Cli, source: str, tmp_path: Path) -> None:
    plain("cp", f"{source}:/src/dir", f"{tmp_path}/own")
    plain("cp", "-a", f"{source}:/src/dir", f"{tmp_path}/kept")
    own, kept = (tmp_path / name / "file" for name in ("own", "kept"))
    assert (own.stat().st_uid, own.stat().st_gid) == (0, 0)
    # docker's command line promises it and does not (moby#41727)
    assert (kept.stat().st_uid, kept.stat().st_gid) == ((70, 71) if plain.name == "tiffin" else (0, 0))
    assert (tmp_path / "kept" / "sub" / "deep").stat().st_mode & 0o7777 == 0o4755


def test_what_cannot_be_copied_is_refused(plain: Cli, source: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, target, words in (
        ("/missing", "", "Could not find the file /missing in container"),
        ("/src/dir", "file", "cannot copy directory"),
        ("/src/dir/file", "none/new", "invalid output path"),
        ("/src/dir/file", "none/", "no such directory"),
        ("/src/dir/file/.", "", "not a directory"),
    ):
        refused = plain("cp", f"{source}:{path}", f"{tmp_path}/{target}", check=False)
        assert refused.rc == 1 and words in refused.err, path


def test_the_root_of_a_container_has_no_kernels_files(plain: Cli, source: str) -> None:
    binary = plain.start("cp", f"{source}:/", "-")
    out, err = binary.communicate(timeout=120)
    assert binary.returncode == 0, err
    with tarfile.open(fileobj=io.BytesIO(out)) as tar:
        names = {member.name.removeprefix("./").strip("/") for member in tar}
    assert {"src/dir/file", "bin/busybox"} <= names
    assert not {name for name in names if name.startswith(("proc/", "sys/"))}
    assert {"vol/vfile", "bind/bfile", "ro/bfile"} <= names


def test_a_copy_of_what_is_above_a_volume_has_its_files(cli: Cli, engine: Engine, tmp_path: Path) -> None:
    docker, bind = engine.cli("docker"), tmp_path / "bind"
    bind.mkdir()
    (bind / "file").write_text("bound\n")
    flags = ["-v", "/opt/deep/vol", "-v", f"{bind}:/opt/link/there", "-v", f"{bind}/file:/opt/single", "-h", "copied"]
    script = "mkdir -p /opt/deep; ln -s deep /opt/link; echo hidden > /opt/deep/file"
    base = docker("run", "-d", "busybox", "sh", "-c", script).line
    docker("wait", base)
    image = docker("commit", base).line
    made = docker("run", "-d", *flags, image, "sh", "-c", "echo kept > /opt/deep/vol/file").line
    docker("wait", made)
    try:
        for path in ("/opt", "/opt/.", "/opt/deep/."):
            cli("cp", f"{made}:{path}", str(tmp_path / "out"))
            found = tree(tmp_path / "out")
            if path == "/opt/deep/.":
                found = {f"deep/{name}": what for name, what in found.items()}
            else:
                assert (found["single"], found["link"]) == ("bound\n", "-> deep")
            assert found["deep/file"] == "hidden\n"
            assert found["deep/vol/file"] == "kept\n"
            assert found["deep/there/file"] == "bound\n"
            shutil.rmtree(tmp_path / "out")
        cli("cp", f"{made}:/etc", str(tmp_path / "etc"))
        assert (tmp_path / "etc" / "hostname").read_text() == "copied\n"
        assert os.readlink(tmp_path / "etc" / "mtab") == "/proc/mounts"
        created = docker("create", "--volumes-from", made, image).line
        cli("cp", f"{created}:/", str(tmp_path / "fresh"))
        assert (tmp_path / "fresh" / "opt" / "deep" / "vol" / "file").read_text() == "kept\n"
    finally:
        docker("rm", "-f", "-v", base, made, created, check=False)
        docker("rmi", image, check=False)


def test_what_goes_in_above_a_volume_lands_in_it(docker: Cli, engine: Engine, tmp_path: Path) -> None:
    if engine.kind == "tiffin" and tuple(map(int, os.uname().release.split(".")[:2])) < (6, 15):
        pytest.skip("before Linux 6.15 nothing is mounted in a detached mount")
    made = docker("run", "-d", "-v", "/opt/vol", "busybox", "true").line
    docker("wait", made)
    (tmp_path / "vol").mkdir()
    (tmp_path / "vol" / "file").write_text("in\n")
    docker("cp", f"{tmp_path}/.", f"{made}:/opt")
    seen = docker("run", "--rm", "--volumes-from", made, "busybox", "cat", "/opt/vol/file", check=False)
    docker("rm", "-v", made)
    assert seen.out == "in\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    (tmp_path / "dir" / "file").write_text("one\n")
    (tmp_path / "dir" / "rel").symlink_to("file")
    (tmp_path / "dir" / "sub" / "deep").write_text("two\n")
    (tmp_path / "single").write_text("single\n")
    (tmp_path / "link").symlink_to("single")
    os.chown(tmp_path / "single", 1500, 1501)
    return tmp_path


IN = [
    ("single", "/dst", "/dst/single"),
    ("single", "/dst/new", "/dst/new"),
    ("single", "/full/file", "/full/file"),
    ("single", "/in/self", "/in/single"),
    ("single", "/in/link", "/in/file"),
    ("single", "/src/up", "/in/single"),
    ("single", "/vol/new", "/vol/new"),
    ("single", "/bind", "/bind/single"),
    ("single", "dst", "/dst/single"),
    ("dir", "/dst", "/dst/dir/sub/deep"),
    ("dir", "/dst/made", "/dst/{made}/sub/deep"),
    ("dir/.", "/dst", "/dst/sub/deep"),
]


@pytest.mark.parametrize(("path", "target", "lands"), IN, ids=lambda value: value)
def test_in(plain: Cli, source: str, files: Path, path: str, target: str, lands: str) -> None:
    target = target.replace("made", f"made-{plain.name}")
    plain("cp", f"{files}/{path}", f"{source}:{target}")
    back, _ = plain.start("cp", f"{source}:{lands.format(made=f'made-{plain.name}')}", "-").communicate(timeout=60)
    with tarfile.open(fileobj=io.BytesIO(back)) as tar:
        (member,) = tar.getmembers()
        content = tar.extractfile(member)
        assert content is not None
        assert content.read() == (b"two\n" if "dir" in path else b"single\n")
        assert (member.uid, member.gid) == ((0, 0) if "dir" in path else (1500, 1501))


def test_a_link_goes_in_as_itself_or_followed(plain: Cli, source: str, files: Path) -> None:
    plain("cp", f"{files}/link", f"{source}:/dst")
    plain("cp", "-L", f"{files}/link", f"{source}:/dst/followed")
    plain("cp", f"{source}:/dst/link", f"{files}/back")
    plain("cp", f"{source}:/dst/followed", f"{files}/followed")
    assert os.readlink(files / "back") == "single"
    assert (files / "followed").read_text() == "single\n"


def test_what_cannot_go_in_is_refused(plain: Cli, source: str, files: Path) -> None:
    for path, target, words in (
        ("single", "/missing/x", "Could not find the file /missing in container"),
        ("single", "/dst/missing/", "no such directory"),
        ("single", "/ro/new", "mounted volume is marked read-only"),
        ("dir", "/full/file", "cannot copy directory"),
        ("none", "/dst", "no such file or directory"),
    ):
        refused = plain("cp", f"{files}/{path}", f"{source}:{target}", check=False)
        assert refused.rc == 1 and words in refused.err, path


def test_archives_pass_through_standard_input_and_output(plain: Cli, source: str) -> None:
    data = plain.start("cp", f"{source}:/src/dir", "-").communicate(timeout=60)[0]
    process = plain.start("cp", "-", f"{source}:/dst")
    _, err = process.communicate(data, timeout=60)
    assert process.returncode == 0, err
    again = plain.start("cp", f"{source}:/dst/dir/file", "-").communicate(timeout=60)[0]
    with tarfile.open(fileobj=io.BytesIO(again)) as tar:
        assert [(member.name, member.uid, member.gid) for member in tar] == [("file", 70, 71)]
