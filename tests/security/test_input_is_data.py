"""What users, images and archives say is data: no name, number or document steers more than it is meant to."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from kernel.oci import Bundle
from rig import Cli, Engine
from security import hostile
from tiffin.containers.users import resolve
from tiffin.errors import Invalid
from tiffin.runtime.compile_process import parse_cpus
from tiffin.snapshots.tar import TarReader, entry, pax

pytestmark = pytest.mark.root

KEYS = ["net/../kernel/panic", "fs/mqueue/../../kernel/panic", "net//../kernel/panic", "net/./../kernel/panic"]


@pytest.mark.parametrize("key", [*KEYS, "kernel.panic", "kernel/panic", "net.ipv4/../../kernel/panic"])
def test_a_sysctl_of_the_host_has_no_other_name(tmp_path: Path, key: str) -> None:
    bundle = Bundle(tmp_path, "tiffin-runtime")
    bundle.spec["linux"]["sysctl"] = {key: Path("/proc/sys/kernel/panic").read_text().strip()}
    try:
        done = bundle.call("run", bundle.id)
        assert done.returncode != 0
        assert "sysctl" in done.stderr
    finally:
        bundle.close()


@pytest.mark.parametrize("key", [*KEYS, "kernel.shm_rmid_forced=1+kernel.core_pattern", "user.x", ""])
def test_the_daemon_refuses_sysctls_that_are_not_the_containers(docker: Cli, engine: Engine, key: str) -> None:
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    done = docker("run", "--rm", "--sysctl", f"{key}=1", "busybox", "true", check=False)
    assert done.rc in (125, 127)
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


@pytest.mark.parametrize(
    "user", ["4294967296", "4294967295", "-1", "2147483648", "99999999999999999999", "0:4294967296"]
)
def test_a_number_that_would_wrap_to_root_is_refused(docker: Cli, user: str) -> None:
    docker("create", "--name", "wraps", "busybox", "id", check=False)
    done = docker("run", "--rm", "-u", user, "busybox", "id", check=False)
    assert done.rc != 0
    assert "uid=0" not in done.out
    docker("run", "-d", "--name", "runs", "busybox", "sleep", "1000")
    done = docker("exec", "-u", user, "runs", "id", check=False)
    assert done.rc != 0
    assert "uid=0" not in done.out


@pytest.mark.parametrize("number", ["²", "٣", "1e3", "0x1", " 1", "1_0", ""])
def test_only_ascii_digits_are_a_number_in_passwd_and_group(number: str) -> None:
    files = {
        "/etc/passwd": f"evil:x:{number}:0::/:/bin/sh\nroot:x:0:0::/root:/bin/sh\n",
        "/etc/group": f"g:x:{number}:\n",
    }
    read = {path: text.encode() for path, text in files.items()}.__getitem__
    with pytest.raises(Invalid):
        resolve("evil", (), read)
    with pytest.raises(Invalid):
        resolve("root:g", (), read)
    assert resolve("root", (), read).uid == 0


@pytest.mark.parametrize("text", ["1-4294967295", "0-99999999999999999999", "²", "0-²", "9" * 5000, "-1", "a"])
def test_a_range_of_processors_is_bounded(text: str) -> None:
    with pytest.raises(Invalid):
        parse_cpus(text)


@pytest.mark.parametrize("text", ["1-4294967295", "0-99999999999999999999", "0,1,,2", "9" * 5000])
def test_a_huge_cpuset_is_refused(docker: Cli, text: str) -> None:
    done = docker("create", "--cpuset-cpus", text, "busybox", check=False)
    assert done.rc != 0


def test_global_records_of_an_archive_do_not_pile_up() -> None:
    limits = entry.Limits(header=1 << 16)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(64):
            info = tarfile.TarInfo("pax_global_header")
            info.type = tarfile.XGLTYPE
            data = pax.record(b"SCHILY.xattr.user.n%d" % number, b"x" * 60_000)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            tar.addfile(tarfile.TarInfo(f"file{number}"))
    stream.seek(0)
    with pytest.raises(Invalid, match="global"):
        list(TarReader(stream, limits))


DEEP = "[" * 200_000


def test_deep_documents_are_the_clients_error(engine: Engine, docker: Cli, tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text(DEEP)
    done = docker("run", "--rm", "--security-opt", f"seccomp={tmp_path}/deep.json", "busybox", "true", check=False)
    assert done.rc == 125
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        info = tarfile.TarInfo("manifest.json")
        info.size = len(DEEP)
        tar.addfile(info, io.BytesIO(DEEP.encode()))
    assert docker("load", "-i", str(tmp_path / "image.tar"), check=False).rc == 1
    assert docker("import", "-c", "CMD " + "[" * 50_000, str(tmp_path / "image.tar"), check=False).rc in (0, 1)
    assert docker("version").rc == 0
    assert "Traceback" not in engine.log_tail()


@pytest.mark.parametrize(
    "profile", ["", "{}", "null", "[]", '{"defaultAction": "SCMP_ACT_NONSENSE"}', '{"syscalls": []}']
)
def test_a_seccomp_profile_that_says_nothing_is_not_unconfined(docker: Cli, tmp_path: Path, profile: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(profile)
    done = docker(
        "run",
        "--rm",
        "--security-opt",
        f"seccomp={path}",
        "busybox",
        "grep",
        "Seccomp",
        "/proc/self/status",
        check=False,
    )
    assert done.rc == 125
    assert "Seccomp" not in done.out


def test_labels_and_annotations_steer_nothing(docker: Cli, engine: Engine, tmp_path: Path) -> None:
    """Names that engines have taken for commands: hooks, devices, privileges, restored containers."""
    mark = tmp_path / "ran"
    keys = [
        "org.systemd.property.ExecStart", "io.kubernetes.cri-o.Devices", "run.oci.hooks.stderr", "com.docker.runtime",
        "io.podman.annotations.privileged", "org.criu.config", "run.oci.keep_original_groups",
        "io.containers.capabilities", "com.docker.volume.anonymous", "tiffin.privileged", "run.oci.systemd.subgroup",
    ]  # fmt: skip
    name = hostile.image(engine, "labelled", Labels=dict.fromkeys(keys, f"sh -c 'touch {mark}'"))
    words = [word for key in keys for word in ("--annotation", f"{key}=/bin/touch {mark}")]
    status = docker("run", "--rm", *words, name, "cat", "/proc/self/status").out
    assert "CapEff:\t00000000a80425fb" in status
    assert "Seccomp:\t2" in status
    assert not mark.exists()


def test_the_documents_of_a_bundle_are_read_as_data(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, "tiffin-runtime")
    bundle.spec["process"]["env"] = ["LD_PRELOAD=/evil.so", "PYTHONPATH=/evil", "PYTHONSTARTUP=/evil", "A=\udcff"]
    bundle.shell("echo $PYTHONPATH")
    try:
        done = bundle.call("run", bundle.id)
        assert (done.returncode, done.stdout) == (0, "/evil\n"), done.stderr
    finally:
        bundle.close()
    assert json.loads((tmp_path / "config.json").read_text())["process"]["env"][1] == "PYTHONPATH=/evil"
    assert not os.path.exists("/evil")
