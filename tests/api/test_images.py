"""Images through the stock docker command line: the same tests run against a real dockerd."""

import io
import json
import re
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig import Cli


@pytest.fixture
def name(docker: Cli) -> Iterator[str]:
    """A repository of the test's own; its images and the containers named after it are removed afterwards."""
    name = f"images-{uuid.uuid4().hex[:12]}"
    yield name
    docker("rm", "-f", name, check=False)
    for line in docker("images", "--format", "{{.Repository}}:{{.Tag}}").out.split():
        if line.startswith(name):
            docker("rmi", "-f", line, check=False)


def inspect(docker: Cli, name: str) -> dict[str, Any]:
    [document] = json.loads(docker("image", "inspect", name).out)
    return dict(document)


def tags(docker: Cli, name: str) -> list[str]:
    return docker("images", "--format", "{{.Repository}}:{{.Tag}}", name).out.split()


def root_file_system(path: Path, **files: str) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


def test_a_tagged_image_is_one_image_with_two_names(docker: Cli, name: str) -> None:
    docker("tag", "busybox", f"{name}:1")
    assert tags(docker, name) == [f"{name}:1"]
    assert inspect(docker, f"{name}:1")["Id"] == inspect(docker, "busybox")["Id"]
    assert f"{name}:1" in inspect(docker, "busybox")["RepoTags"]
    assert docker("rmi", f"{name}:1").line == f"Untagged: {name}:1"


def test_an_image_is_saved_and_loaded_with_its_id(docker: Cli, name: str, tmp_path: Path) -> None:
    docker("run", "--name", name, "busybox", "sh", "-c", "echo hello > /greeting")
    docker("commit", name, f"{name}:1")
    docker("rm", name)
    before = inspect(docker, f"{name}:1")
    docker("save", "-o", str(tmp_path / "a.tar"), f"{name}:1")
    docker("rmi", f"{name}:1")
    assert docker("load", "-i", str(tmp_path / "a.tar")).out.endswith(f"Loaded image: {name}:1\n")
    after = inspect(docker, f"{name}:1")
    assert (after["Id"], after["RootFS"]) == (before["Id"], before["RootFS"])
    assert docker("run", "--rm", f"{name}:1", "cat", "/greeting").out == "hello\n"


def test_a_saved_archive_is_read_from_standard_input_compressed(docker: Cli, name: str, tmp_path: Path) -> None:
    docker("tag", "busybox", f"{name}:1")
    archive = tmp_path / "a.tar"
    docker("save", "-o", str(archive), f"{name}:1")
    docker("rmi", f"{name}:1")
    subprocess.run(["gzip", archive], check=True)
    with open(f"{archive}.gz", "rb") as file:
        loading = docker.start("load", "-q", stdin=file)
        out, err = loading.communicate(timeout=60)
    assert (loading.returncode, out, err) == (0, f"Loaded image: {name}:1\n".encode(), b"")


def test_an_image_imported_from_a_tar_runs_nothing_but_has_its_files(docker: Cli, name: str, tmp_path: Path) -> None:
    source = root_file_system(tmp_path / "root.tar", hello="world")
    result = docker("import", "-m", "made", "-c", "ENV A=b", "-c", 'CMD ["/x"]', str(source), f"{name}:1")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", result.line)
    document = inspect(docker, f"{name}:1")
    assert document["Id"] == result.line
    assert (document["Config"]["Env"], document["Config"]["Cmd"], document["Comment"]) == (["A=b"], ["/x"], "made")


def test_a_committed_image_holds_what_the_container_changed(docker: Cli, name: str) -> None:
    script = "rm /bin/false; mkdir /new; echo text > /new/file; ln /new/file /new/linked; chmod 4755 /new/file"
    docker("run", "--name", name, "-e", "VISIBLE=yes", "-w", "/tmp", "busybox", "sh", "-c", script)
    docker(
        "commit", "-a", "me", "-m", "note", "-c", "LABEL one=two", "-c", 'CMD ["cat", "/new/file"]', name, f"{name}:1"
    )
    assert docker("run", "--rm", f"{name}:1").out == "text\n"
    document = inspect(docker, f"{name}:1")
    assert (document["Author"], document["Comment"], document["Config"]["Labels"]) == ("me", "note", {"one": "two"})
    assert "VISIBLE=yes" in document["Config"]["Env"]
    assert document["Config"]["WorkingDir"] == "/tmp"
    assert document["RootFS"]["Layers"][:-1] == inspect(docker, "busybox")["RootFS"]["Layers"]
    look = "ls /bin/false; stat -c '%a %h' /new/file"
    assert docker("run", "--rm", f"{name}:1", "sh", "-c", look).out == "4755 2\n"


def test_a_running_container_is_committed_and_runs_on(docker: Cli, name: str) -> None:
    docker("run", "-d", "--name", name, "busybox", "sh", "-c", "echo live > /live; sleep 1000")
    docker("exec", name, "sh", "-c", "until [ -s /live ]; do :; done")
    docker("commit", name, f"{name}:1")
    assert docker("run", "--rm", f"{name}:1", "cat", "/live").out == "live\n"
    assert docker("inspect", "-f", "{{.State.Status}}", name).line == "running"


def test_history_shows_the_commit_above_the_image_s_own(docker: Cli, name: str) -> None:
    docker("run", "--name", name, "busybox", "sh", "-c", "echo 12345 > /f")
    docker("commit", "-m", "note", name, f"{name}:1")
    lines = docker("history", "--no-trunc", "--format", "{{.ID}}|{{.Size}}|{{.Comment}}", f"{name}:1").out.splitlines()
    assert lines[0] == f"{inspect(docker, f'{name}:1')['Id']}|6B|note"
    assert len(lines) == 1 + len(docker("history", "-q", "busybox").out.splitlines())


def test_an_image_in_use_is_not_removed(docker: Cli, name: str) -> None:
    docker("run", "--name", name, "busybox", "sh", "-c", "echo > /f")
    docker("commit", name, f"{name}:1")
    docker("rm", name)
    container = docker("run", "-d", "--name", name, f"{name}:1", "sleep", "1000").line
    image = inspect(docker, f"{name}:1")["Id"]
    by_name = docker("rmi", f"{name}:1", check=False)
    assert by_name.rc == 1
    assert (
        f'conflict: unable to remove repository reference "{name}:1" (must force) - '
        f"container {container[:12]} is using its referenced image {image[7:19]}"
    ) in by_name.err
    by_id = docker("rmi", "-f", image, check=False)
    assert (
        f"conflict: unable to delete {image[7:19]} (cannot be forced) - "
        f"image is being used by running container {container[:12]}"
    ) in by_id.err


def test_unknown_and_malformed_names_are_told(docker: Cli) -> None:
    assert "No such image: nothing-here:latest" in docker("rmi", "nothing-here", check=False).err
    assert "No such image: nothing-here:latest" in docker("history", "nothing-here", check=False).err
    assert docker("save", "nothing-here", check=False).rc == 1


def test_a_broken_archive_is_an_error_and_leaves_nothing(docker: Cli, tmp_path: Path) -> None:
    before = docker("images", "-aq").out
    (tmp_path / "junk").write_bytes(b"junk" * 1000)
    assert docker("load", "-i", str(tmp_path / "junk"), check=False).rc == 1
    root_file_system(tmp_path / "evil.tar", **{"../../../../evil-of-tiffin": "x"})
    assert docker("import", str(tmp_path / "evil.tar"), check=False).rc in (0, 1)
    assert not Path("/evil-of-tiffin").exists() and not (tmp_path / "evil-of-tiffin").exists()
    if docker("images", "-aq").out != before:  # dockerd drops the dots and imports it
        docker("image", "prune", "-f")


def test_dangling_images_are_listed_and_pruned(docker: Cli, name: str, tmp_path: Path) -> None:
    label = f"of={name}"
    source = root_file_system(tmp_path / "root.tar", hello="world")
    image = docker("import", "-c", f"LABEL {label}", str(source)).line
    listed = docker("images", "--no-trunc", "-q", "--filter", "dangling=true", "--filter", f"label={label}").line
    assert listed == image
    pruned = docker("image", "prune", "-f", "--filter", f"label={label}").out
    assert f"deleted: {image}" in pruned.lower()
    assert docker("images", "-q", "--filter", f"label={label}").out == ""


def test_filters_by_reference_choose_names(docker: Cli, name: str) -> None:
    docker("tag", "busybox", f"{name}:1")
    docker("tag", "busybox", f"{name}:2")
    assert sorted(tags(docker, f"{name}:*")) == [f"{name}:1", f"{name}:2"]
    chosen = docker("images", "--filter", f"reference={name}:2", "--format", "{{.Tag}}").line
    assert chosen == "2"


def test_an_image_that_is_nowhere_fails_to_run_with_125(docker: Cli) -> None:
    result = docker("run", "--rm", "localhost:1/no-such-image", check=False)
    assert result.rc == 125
    assert "Unable to find image 'localhost:1/no-such-image:latest' locally" in result.err
