"""The command line on a terminal, and as a filter in a pipe."""

from __future__ import annotations

import os
import signal

import pytest

from rig import Cli, Engine, eventually

pytestmark = pytest.mark.root


@pytest.fixture
def tiffin(engine: Engine, tidy: None) -> Cli:
    return engine.cli("tiffin")


def test_a_shell_has_the_terminals_size_and_gives_its_status(tiffin: Cli) -> None:
    with tiffin.terminal("run", "--rm", "-it", "busybox", "sh", rows=31, columns=97) as terminal:
        terminal.expect("# ")
        terminal.send("stty size\n")
        terminal.expect("31 97")
        terminal.resize(40, 120)
        terminal.send("until stty size | grep -q '40 120'; do :; done; echo resized-$((1+1)); exit 5\n")
        terminal.expect("resized-2")
        assert terminal.wait() == 5


def test_detaching_leaves_the_container_running_and_attaching_returns(tiffin: Cli) -> None:
    with tiffin.terminal("run", "--name", "detached", "-it", "busybox", "sh") as terminal:
        terminal.expect("# ")
        terminal.send("\x10\x11")
        assert terminal.wait() == 0
    assert tiffin("inspect", "-f", "{{.State.Running}}", "detached").line == "true"
    with tiffin.terminal("attach", "detached") as terminal:
        terminal.expect("# ")
        terminal.send("exit 3\n")
        assert terminal.wait() == 3


def test_own_detach_keys_are_heeded(tiffin: Cli) -> None:
    with tiffin.terminal("run", "--name", "keys", "--detach-keys", "ctrl-a,d", "-it", "busybox", "sh") as terminal:
        terminal.expect("# ")
        terminal.send("\x01d")
        assert terminal.wait() == 0
    assert tiffin("inspect", "-f", "{{.State.Running}}", "keys").line == "true"


def test_the_terminal_is_as_it_was_after_a_detach(tiffin: Cli) -> None:
    script = 'before=$(stty -g); "$0" "$@"; [ "$before" = "$(stty -g)" ] && echo same-$((1+1))'
    argv = ["sh", "-c", script, *tiffin.argv("run", "--name", "restored", "-it", "busybox", "sh")]
    shell = Cli("sh", "sh", lambda words: list(words), tiffin.environment)
    with shell.terminal(*argv[1:]) as terminal:
        terminal.expect("# ")
        terminal.send("\x10\x11")
        terminal.expect("same-2")
        terminal.wait()


def test_input_passes_through_to_the_end(tiffin: Cli) -> None:
    text = "".join(f"line {number}\n" for number in range(20000))
    assert tiffin("run", "--rm", "-i", "busybox", "cat", input=text).out == text
    assert tiffin("run", "--rm", "-i", "busybox", "sh", "-c", "wc -c; echo done", input=text).out.split() == [
        str(len(text)),
        "done",
    ]


def test_a_command_that_takes_no_input_does_not_stop_the_client(tiffin: Cli) -> None:
    assert tiffin("run", "--rm", "-i", "busybox", "echo", "hi", input="x" * 1_000_000).out == "hi\n"


def test_a_signal_is_the_containers(tiffin: Cli) -> None:
    script = "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    process = tiffin.start("run", "--rm", "--name", "signalled", "busybox", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert (out, process.returncode) == (b"got\n", 9)


def test_without_sig_proxy_a_signal_ends_the_client_only(tiffin: Cli) -> None:
    process = tiffin.start(
        "run", "--name", "unproxied", "--sig-proxy=false", "busybox", "sh", "-c", "echo ready; sleep 1000"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert tiffin("inspect", "-f", "{{.State.Running}}", "unproxied").line == "true"


def test_a_reader_that_goes_away_ends_the_command_quietly(tiffin: Cli) -> None:
    tiffin("run", "-d", "--name", "talker", "busybox", "yes")
    process = tiffin.start("logs", "-f", "talker")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(100)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 141


def test_a_cid_file_is_written_once(tiffin: Cli, tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(tmp_path, "cid")
    identifier = tiffin("run", "-d", "--cidfile", path, "busybox", "true").line
    with open(path) as file:
        assert file.read() == identifier
    refused = tiffin("run", "--cidfile", path, "busybox", "true", check=False)
    assert refused.rc == 125 and "container ID file found" in refused.err


def test_files_are_copied_both_ways(tiffin: Cli, tmp_path: os.PathLike[str]) -> None:
    source = os.path.join(tmp_path, "tree")
    os.makedirs(os.path.join(source, "sub"))
    with open(os.path.join(source, "sub", "file"), "w") as file:
        file.write("content")
    os.symlink("sub/file", os.path.join(source, "link"))
    os.chmod(os.path.join(source, "sub", "file"), 0o640)
    tiffin("create", "--name", "copied", "busybox", "true")
    tiffin("cp", source, "copied:/tmp")
    tiffin("cp", f"{source}/.", "copied:/tmp/new")
    target = os.path.join(tmp_path, "back")
    tiffin("cp", "copied:/tmp/tree", target)
    tiffin("cp", "copied:/tmp/new/sub/file", os.path.join(tmp_path, "single"))
    with open(os.path.join(target, "sub", "file")) as file:
        assert file.read() == "content"
    assert os.readlink(os.path.join(target, "link")) == "sub/file"
    assert os.stat(os.path.join(tmp_path, "single")).st_mode & 0o777 == 0o640


def test_a_stream_of_events_is_shown_as_it_happens(tiffin: Cli) -> None:
    process = tiffin.start("events", "--filter", "container=watched", "--format", "{{.Action}}")
    try:

        def seen() -> bool:
            tiffin("rm", "-f", "watched", check=False)
            tiffin("create", "--name", "watched", "busybox", "true")
            os.set_blocking(process.stdout.fileno(), False)  # type: ignore[union-attr]
            return b"create\n" in (process.stdout.read() or b"")  # type: ignore[union-attr]

        eventually(seen)
    finally:
        process.kill()
        process.communicate()
