"""What a container writes is its own."""

from __future__ import annotations

from pathlib import Path

from rig import Cli


def test_a_written_file_lives_as_long_as_its_container(cli: Cli, name: str) -> None:
    cli("run", "--name", name, "busybox", "sh", "-c", "echo kept > /root/note; rm /etc/group; echo x >> /etc/passwd")
    changes = cli("diff", name).out.splitlines()
    assert {"A /root/note", "C /root", "D /etc/group", "C /etc/passwd", "C /etc"} <= set(changes)
    cli("start", "-a", name)
    copied = cli("cp", f"{name}:/root/note", "-")
    assert "kept" in copied.out
    sibling = cli("run", "--rm", "busybox", "cat", "/root/note", check=False)
    assert sibling.rc == 1
    cli("rm", name)
    cli("run", "--name", name, "busybox", "true")
    assert cli("diff", name).out == ""


def test_a_file_survives_stop_and_start(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "echo started >> /log; exec sleep 1000")
    cli("stop", "-t", "0", name)
    cli("start", name)
    assert cli("exec", name, "cat", "/log").out == "started\nstarted\n"


def test_cp_carries_files_both_ways(cli: Cli, name: str, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("from the host\n")
    cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    cli("cp", str(tmp_path / "tree"), f"{name}:/root/")
    assert cli("exec", name, "cat", "/root/tree/file").out == "from the host\n"
    cli("exec", name, "sh", "-c", "echo from inside > /root/answer")
    cli("cp", f"{name}:/root/answer", str(tmp_path))
    assert (tmp_path / "answer").read_text() == "from inside\n"
