"""Images that an attacker made: links, devices and files where the engine looks, reads or mounts something."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.oci import Bundle
from rig import Cli, Engine, archives
from security import hostile

pytestmark = pytest.mark.root


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host's which must stay as it is."""
    path = tmp_path / "host"
    path.mkdir()
    path.chmod(0o755)
    (path / "file").write_text("secret")
    before = os.stat(path / "file")
    yield path
    after = os.stat(path / "file")
    assert [item.name for item in path.iterdir()] == ["file"]
    assert (path / "file").read_text() == "secret"
    assert (after.st_mode, after.st_uid, after.st_ctime_ns) == (before.st_mode, before.st_uid, before.st_ctime_ns)


def run(docker: Cli, image: str, *words: str) -> tuple[int, str, str]:
    done = docker("run", "--rm", "--network", "none", image, *words, check=False)
    return done.rc, done.out, done.err


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_a_kernel_file_system_is_not_mounted_through_a_link(docker: Cli, engine: Engine, name: str) -> None:
    if engine.kind == "dockerd":
        pytest.skip("runc 1.1 follows the link, inside the root")
    image = hostile.image(engine, "linked-" + name, hostile.link(name, "tmp"))
    code, _, error = run(docker, image, "true")
    assert code == 125 or code == 127
    assert "mount" in error


@pytest.mark.parametrize("name", ["dev", "dev/null", "dev/console", "dev/pts", "dev/ptmx", "dev/shm"])
def test_links_in_place_of_devices_change_nothing(docker: Cli, engine: Engine, secret: Path, name: str) -> None:
    def layer(tar: tarfile.TarFile) -> None:
        archives.add(tar, name, type=tarfile.SYMTYPE, linkname=str(secret / "file") if name != "dev" else "/tmp")

    null = os.stat("/dev/null")
    image = hostile.image(engine, "linked-" + name.replace("/", "-"), layer)
    script = "stat -L -c %t:%T /dev/null && cat /proc/kcore /proc/keys | wc -c"
    code, out, error = run(docker, image, "sh", "-c", script)
    assert code in (125, 127) or out.split() == ["1:3", "0"], error
    docker("run", "--rm", "-t", "--network", "none", image, "tty", check=False)
    assert (os.stat("/dev/null").st_mode, os.stat("/dev/null").st_rdev) == (null.st_mode, null.st_rdev)


@pytest.mark.parametrize("target", ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/.dockerenv", "/etc"])
@pytest.mark.parametrize("up", ["", "/../../../../../.."])
def test_the_engines_own_files_are_not_written_through_links(
    docker: Cli, engine: Engine, secret: Path, target: str, up: str
) -> None:
    image = hostile.image(engine, "files", hostile.link(target.lstrip("/"), f"{up}{secret}/file"))
    run(docker, image, "true")


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_a_device_in_place_of_the_engines_mark_is_replaced(docker: Cli, engine: Engine, kind: bytes) -> None:
    """A watchdog that is merely opened restarts the machine; here it is /dev/full, and a disk that does not exist."""
    major, minor = (1, 7) if kind == tarfile.CHRTYPE else (240, 99)
    image = hostile.image(engine, "mark", hostile.device(".dockerenv", kind, major, minor))
    code, out, error = run(docker, image, "stat", "-c", "%F", "/.dockerenv")
    assert (code, out) == (0, "regular empty file\n"), error


@pytest.mark.parametrize("path", ["/proc", "/proc/self", "/proc/sys", "/proc/self/attr", "/foo/../proc"])
def test_a_volume_over_proc_is_refused(docker: Cli, engine: Engine, path: str) -> None:
    image = hostile.image(engine, "procvolume", Volumes={path: {}})
    code, _, error = run(docker, image, "true")
    assert code in (125, 127)
    assert "proc" in error


def test_a_volume_reaches_proc_by_no_link(docker: Cli, engine: Engine) -> None:
    image = hostile.image(engine, "proclink", hostile.link("innocent", "proc/sys"), Volumes={"/innocent": {}})
    code, _, error = run(docker, image, "true")
    assert code in (125, 127)
    assert "proc" in error


@pytest.mark.parametrize("path", ["/../../etc", "/link", "/link/sub", "/a/../../../etc"])
def test_a_volumes_first_content_is_the_images(docker: Cli, engine: Engine, secret: Path, path: str) -> None:
    image = hostile.image(engine, "copies", hostile.link("link", str(secret)), Volumes={path: {}})
    _, out, _ = run(docker, image, "sh", "-c", "cat /link/file /link/sub/file; find / -xdev -name file")
    assert "secret" not in out


@pytest.mark.parametrize("path", ["/link/made", "/up/made", "/link/a/b/c"])
def test_a_working_directory_is_made_inside(docker: Cli, engine: Engine, secret: Path, path: str) -> None:
    def layer(tar: tarfile.TarFile) -> None:
        hostile.link("link", str(secret))(tar)
        hostile.link("up", f"../../../../../..{secret}")(tar)

    image = hostile.image(engine, "workdir", layer, WorkingDir=path)
    run(docker, image, "pwd")


@pytest.mark.parametrize("highest", [9, pytest.param(64, marks=pytest.mark.slow)])
def test_the_working_directory_is_no_descriptor_of_the_engine(docker: Cli, highest: int) -> None:
    """CVE-2024-21626."""
    docker("run", "-d", "--name", "runs", "busybox", "sleep", "1000")
    for number in range(3, highest):
        words = ["-w", f"/proc/self/fd/{number}"]
        for command in (["run", "--rm", "--network", "none"], ["run", "--rm", "-t", "--network", "none"]):
            done = docker(*command, *words, "busybox", "pwd", check=False)
            assert done.rc != 0, (number, done.out)
    for number in range(3, highest * 2):
        assert docker("exec", "-w", f"/proc/self/fd/{number}", "runs", "pwd", check=False).rc != 0, number
        assert docker("exec", "-t", "-w", f"/proc/self/fd/{number}", "runs", "pwd", check=False).rc != 0, number


@pytest.mark.parametrize("numbers", [range(3, 7), pytest.param(range(7, 64), marks=pytest.mark.slow)])
def test_the_runtimes_working_directory_is_no_descriptor_of_it(tmp_path: Path, numbers: range) -> None:
    """Between create and start the runtime holds the host's /proc."""
    for number in numbers:
        bundle = Bundle(tmp_path / str(number), "tiffin-runtime")
        bundle.spec["process"] |= {"cwd": f"/proc/self/fd/{number}", "args": ["pwd"]}
        try:
            done = bundle.call("run", bundle.id)
            assert done.returncode != 0, (number, done.stdout)
        finally:
            bundle.close()


PASSWD = "root:x:0:0:root:/root:/bin/sh\nevil:x:1234:1234::/:/bin/sh\n"


@pytest.mark.parametrize("file", ["etc/passwd", "etc/group"])
@pytest.mark.parametrize("trap", ["fifo", "zero", "zero-link", "host-link", "directory", "sparse", "kmsg"])
def test_a_file_of_users_that_is_a_trap_is_not_read(
    docker: Cli, engine: Engine, secret: Path, file: str, trap: str
) -> None:
    if engine.kind == "dockerd":
        pytest.skip("dockerd 20.10 walks into these (CVE-2024-9676)")

    def layer(tar: tarfile.TarFile) -> None:
        match trap:
            case "fifo":
                archives.add(tar, file, type=tarfile.FIFOTYPE)
            case "zero":
                archives.add(tar, file, type=tarfile.CHRTYPE, devmajor=1, devminor=5)
            case "zero-link":
                archives.add(tar, file, type=tarfile.SYMTYPE, linkname="/dev/zero")
            case "host-link":
                archives.add(tar, file, type=tarfile.SYMTYPE, linkname=f"/../..{secret}/file")
            case "directory":
                archives.add(tar, file, type=tarfile.DIRTYPE)
            case "kmsg":
                archives.add(tar, file, type=tarfile.SYMTYPE, linkname="/proc/kmsg")
            case "sparse":
                sparse(tar, file, 4 << 30)

    image = hostile.image(engine, "trap", layer)
    # a container's own `id` may well hang on it
    code, out, _ = run(docker, image, "grep", "Uid", "/proc/self/status")
    assert (code, out) == (0, "Uid:\t0\t0\t0\t0\n")
    assert "unable to find" in docker("run", "--rm", "-u", "evil:evil", image, check=False).err


def sparse(tar: tarfile.TarFile, name: str, size: int) -> None:
    """A file of that size without data, in GNU's format 1.0."""
    info = tarfile.TarInfo(name)
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name}
    info.pax_headers["GNU.sparse.realsize"] = str(size)
    data = f"1\n{size}\n0\n".encode().ljust(512, b"\0")
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def test_a_users_file_is_read_up_to_its_bound(docker: Cli, engine: Engine) -> None:
    def layer(tar: tarfile.TarFile) -> None:
        archives.add(tar, "etc/passwd", PASSWD.encode() + b"#" * (64 << 20))

    image = hostile.image(engine, "long", layer)
    assert run(docker, image, "true")[0] == 0
    assert docker("run", "--rm", "-u", "evil", image, "id", "-u", check=False).out in ("1234\n", "")


def test_nothing_of_the_image_is_loaded_by_the_engine(docker: Cli, engine: Engine) -> None:
    """Libraries, start-up files and programs that the engine might look for, each of which would leave a mark."""
    script = b"#!/bin/sh\ntouch /ran\n"

    def layer(tar: tarfile.TarFile) -> None:
        import sys

        version = f"python3.{sys.version_info.minor}"
        for place in ("lib", "lib64", "usr/lib", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"):
            for library in ("libnss_files.so.2", "libnss_evil.so.2", "libc.so.6", "libffi.so.8", "gconv/gconv-modules"):
                archives.add(tar, f"{place}/{library}", b"\x7fELF not really", mode=0o755)
        for place in (f"usr/lib/{version}", f"usr/lib/{version}/encodings", f"usr/local/lib/{version}/site-packages"):
            for module in ("sitecustomize.py", "encodings.py", "__init__.py", "resource.py", "os.py"):
                archives.add(tar, f"{place}/{module}", b"open('/ran', 'w')\nraise SystemExit(99)\n")
        for program in ("xz", "unxz", "gzip", "tar", "ps", "nsenter", "unpigz", "zstd", "mount"):
            archives.add(tar, f"usr/local/sbin/{program}", script, mode=0o755)
        archives.add(tar, "etc/nsswitch.conf", b"passwd: evil files\ngroup: evil files\nhosts: evil\n")
        archives.add(tar, "etc/ld.so.preload", b"/lib/libnss_evil.so.2\n")

    image = hostile.image(engine, "loads", layer)
    docker("run", "-d", "--name", "loads", "-u", "www-data", image, "sleep", "1000")
    docker("exec", "-u", "daemon", "-t", "loads", "true")
    docker("exec", "-u", "1000:users", "loads", "true")
    docker("top", "loads")
    docker("top", "loads", "-o", "pid,args")
    archive = docker("cp", "loads:/etc/passwd", "-").out
    docker("stop", "-t", "0", "loads")
    root = Path(docker("inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", "loads").line)
    assert "nobody" in archive
    assert "A /ran" not in docker("diff", "loads").out.splitlines()
    assert not (root / "ran").exists()


@pytest.mark.parametrize("compression", ["xz", "gz", "bz2"])
def test_an_archive_is_decompressed_by_the_engine_itself(
    docker: Cli, engine: Engine, tmp_path: Path, compression: str
) -> None:
    def layer(tar: tarfile.TarFile) -> None:
        for program in ("xz", "unxz", "bzip2", "gzip", "unpigz"):
            archives.add(tar, f"usr/local/sbin/{program}", b"#!/bin/sh\ntouch /ran\n", mode=0o755)

    image = hostile.image(engine, "decompress", layer)
    docker("run", "-d", "--name", "decompress", image, "sleep", "1000")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=f"w:{compression}") as tar:  # type: ignore[call-overload]
        archives.add(tar, "new", b"here")
    put(engine, "decompress", "/tmp", packed.getvalue())
    assert docker("exec", "decompress", "cat", "/tmp/new").out == "here"
    assert docker("exec", "decompress", "ls", "/ran", check=False).rc == 1


def put(engine: Engine, container: str, path: str, archive: bytes) -> bytes:
    """PUT …/archive; the whole answer."""
    import socket

    head = f"PUT /containers/{container}/archive?path={path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n"
    head += f"Content-Type: application/x-tar\r\nContent-Length: {len(archive)}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(engine.socket))
        client.sendall(head.encode() + archive)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return answer


@pytest.mark.parametrize("words", [["true"], ["-u", "1000", "true"]])
def test_a_script_that_names_the_running_program_gets_nothing(docker: Cli, engine: Engine, words: list[str]) -> None:
    """CVE-2019-5736: `#!/proc/self/exe` executes the engine's interpreter again, and it could be written to."""

    def layer(tar: tarfile.TarFile) -> None:
        archives.add(tar, "bin/attack", b"#!/proc/self/exe\n", mode=0o755)

    import hashlib

    from tiffin.runtime.sealed import executable

    def digest() -> str:
        return hashlib.sha256(Path(executable()).read_bytes()).hexdigest()

    before = digest()
    image = hostile.image(engine, "selfexe", layer)
    run(docker, image, "/bin/attack")
    docker("run", "-d", "--name", "selfexe", image, "sleep", "1000")
    docker("exec", "selfexe", "/bin/attack", check=False)
    docker("exec", "selfexe", "/proc/self/exe", check=False)
    watch = "for i in $(seq 300); do for p in /proc/[0-9]*; do { echo x > $p/exe; } 2>/dev/null && echo $p; done; done"
    docker("exec", "-d", "selfexe", "sh", "-c", f"({watch}) > /written")
    for _ in range(5):
        docker("exec", "selfexe", "true")
    assert docker("exec", "selfexe", "cat", "/written").out == ""
    assert digest() == before
