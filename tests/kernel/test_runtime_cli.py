"""tiffin-runtime as its callers use it. The same tests pass on runc, where it is installed."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading

import pytest

from kernel.oci import Bundle
from rig import eventually

pytestmark = pytest.mark.root


@pytest.fixture(
    params=[
        "tiffin-runtime",
        pytest.param("runc", marks=pytest.mark.skipif(not shutil.which("runc"), reason="runc is not installed")),
    ]
)
def bundle(request, tmp_path):
    found = Bundle(tmp_path, request.param)
    try:
        yield found
    finally:
        found.close()


def test_run_gives_output_and_exit_status_and_leaves_nothing(bundle):
    bundle.shell("echo out; echo err >&2; exit 7")
    done = bundle.call("run", bundle.id)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert not (bundle.place / "state" / bundle.id).exists()
    assert not any(os.path.isdir(directory) for directory in bundle.cgroup().unique())


def test_a_process_killed_by_a_signal_gives_128_and_its_number(bundle):
    bundle.shell("kill -9 $$")
    bundle.spec["linux"]["namespaces"] = [one for one in bundle.spec["linux"]["namespaces"] if one["type"] != "pid"]
    assert bundle.call("run", bundle.id).returncode == 137


def test_stdin_reaches_the_process(bundle):
    bundle.spec["process"]["args"] = ["cat"]
    read, write = os.pipe()
    os.write(write, b"through\n")
    os.close(write)
    assert bundle.call("run", bundle.id, stdin=read).stdout == "through\n"
    os.close(read)


def test_create_waits_until_start(bundle):
    bundle.shell("echo started > /tmp/mark; sleep 100")
    bundle.spec["root"]["readonly"] = False
    assert bundle.call("create", "--pid-file", "pid", bundle.id, detached=True).returncode == 0
    state = bundle.state()
    assert state["status"] == "created"
    assert str(state["pid"]) == (bundle.place / "pid").read_text()
    assert not (bundle.place / "rootfs/tmp/mark").exists()
    assert bundle.call("start", bundle.id).returncode == 0
    eventually(lambda: (bundle.place / "rootfs/tmp/mark").exists())
    assert bundle.state()["status"] == "running"
    assert "already running" in bundle.call("start", bundle.id).stderr


def test_a_container_goes_through_its_states(bundle):
    bundle.spec["process"]["args"] = ["sleep", "100"]
    bundle.start()
    assert bundle.state()["status"] == "running"
    assert bundle.call("pause", bundle.id).returncode == 0
    assert bundle.state()["status"] == "paused"
    assert "cannot exec in a paused container" in bundle.call("exec", bundle.id, "true").stderr
    assert bundle.call("resume", bundle.id).returncode == 0
    assert "not stopped: running" in bundle.call("delete", bundle.id).stderr
    assert bundle.call("kill", bundle.id, "KILL").returncode == 0
    eventually(lambda: bundle.state()["status"] == "stopped")
    assert bundle.call("delete", bundle.id).returncode == 0
    assert "does not exist" in bundle.call("state", bundle.id).stderr


def test_a_paused_container_can_be_deleted_by_force(bundle):
    bundle.spec["process"]["args"] = ["sleep", "100"]
    bundle.start()
    bundle.call("pause", bundle.id)
    assert bundle.call("delete", "--force", bundle.id).returncode == 0


def test_exec_shares_the_containers_namespaces_and_groups(bundle):
    bundle.spec["process"]["args"] = ["sleep", "100"]
    # without a cgroup namespace, which would hide the path
    spaces = bundle.spec["linux"]["namespaces"]
    bundle.spec["linux"]["namespaces"] = [one for one in spaces if one["type"] != "cgroup"]
    pid = bundle.start()
    names = ("ipc", "mnt", "net", "pid", "uts")
    done = bundle.call("exec", bundle.id, "ls", "-l", *(f"/proc/self/ns/{name}" for name in names))
    assert all(os.readlink(f"/proc/{pid}/ns/{name}") in done.stdout for name in names)
    done = bundle.call("exec", bundle.id, "cat", "/proc/self/cgroup")
    assert done.stdout.count(f"{bundle.group}/{bundle.id}") >= 1


def test_exec_takes_user_directory_environment_and_gives_the_status(bundle):
    bundle.spec["process"]["args"] = ["sleep", "100"]
    bundle.start()
    script = "id -u; id -g; pwd; echo $A $HOME; exit 3"
    done = bundle.call("exec", "--user", "1000:100", "--cwd", "/tmp", "--env", "A=b", bundle.id, "sh", "-c", script)
    assert (done.returncode, done.stdout.split()) == (3, ["1000", "100", "/tmp", "b", "/home/user"])


def test_exec_of_what_is_missing_says_so(bundle):
    bundle.spec["process"]["args"] = ["sleep", "100"]
    bundle.start()
    done = bundle.call("exec", bundle.id, "nothing-here")
    assert done.returncode == 255
    assert "executable file not found in $PATH" in done.stderr


def test_run_of_what_is_missing_says_so_and_leaves_nothing(bundle):
    bundle.spec["process"]["args"] = ["nothing-here"]
    done = bundle.call("run", bundle.id)
    assert done.returncode == 1
    assert "executable file not found in $PATH" in done.stderr
    assert bundle.call("list", "-q").stdout == ""


def test_errors_go_to_a_log_in_json_for_those_who_ask(bundle):
    bundle.call("--log", "log", "--log-format", "json", "state", "nobody")
    entry = json.loads((bundle.place / "log").read_text().splitlines()[-1])
    assert (entry["level"], entry["msg"]) == ("error", "container does not exist")


def test_the_terminal_goes_to_the_console_socket(bundle):
    bundle.spec["process"] |= {"terminal": True, "args": ["sh", "-c", "echo on a $(tty || echo tty); sleep 100"]}
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(bundle.place / "console"))
    listener.listen()
    masters = []

    def receive():
        connection, _ = listener.accept()
        masters.extend(socket.recv_fds(connection, 4096, 1)[1])

    thread = threading.Thread(target=receive)
    thread.start()
    bundle.start("--console-socket", str(bundle.place / "console"))
    thread.join()
    assert os.read(masters[0], 100).startswith(b"on a ")
    os.close(masters[0])
    listener.close()


@pytest.mark.parametrize(
    ("terminal", "arguments", "words"),
    [
        (True, ["create"], "cannot allocate tty if runc will detach without setting console socket"),
        (
            False,
            ["run", "--console-socket", "/nowhere"],
            "cannot use console socket if runc will not detach or allocate tty",
        ),
    ],
)
def test_terminal_and_console_socket_belong_together(bundle, terminal, arguments, words):
    bundle.spec["process"]["terminal"] = terminal
    assert words in bundle.call(*arguments, bundle.id).stderr


def test_descriptors_are_preserved_where_asked(bundle):
    bundle.shell("cat <&3")
    (bundle.place / "gift").write_text("given\n")
    with (bundle.place / "gift").open() as gift:
        assert gift.fileno() != 3
        command = (
            f"exec 3<&{gift.fileno()}; exec unshare --net --mount {bundle.runtime} --root state run --preserve-fds 1 x"
        )
        bundle.call("state", "x")  # writes config.json
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=bundle.place,
            capture_output=True,
            text=True,
            pass_fds=[gift.fileno()],
            timeout=60,
        )
    assert done.stdout == "given\n"


def test_limits_are_set_and_updated(bundle):
    bundle.spec["process"]["args"] = ["sleep", "100"]
    bundle.spec["linux"]["resources"] |= {"memory": {"limit": 32 << 20}, "pids": {"limit": 20}}
    bundle.start()
    place = bundle.cgroup()
    memory = "memory.limit_in_bytes" if place.version == 1 else "memory.max"

    def limit(controller, file):
        with open(f"{place.directory(controller)}/{file}") as opened:
            return opened.read().strip()

    assert (limit("memory", memory), limit("pids", "pids.max")) == (str(32 << 20), "20")
    assert bundle.call("update", "--memory", "64M", "--pids-limit", "30", bundle.id).returncode == 0
    assert (limit("memory", memory), limit("pids", "pids.max")) == (str(64 << 20), "30")
    assert bundle.call("update", "-r", "-", bundle.id, input='{"pids": {"limit": 40}}').returncode == 0
    assert limit("pids", "pids.max") == "40"


def test_statistics_are_one_json_object(bundle):
    bundle.spec["process"]["args"] = ["sleep", "100"]
    bundle.start()
    event = json.loads(bundle.call("events", "--stats", bundle.id).stdout)
    assert (event["type"], event["id"]) == ("stats", bundle.id)
    assert event["data"]["memory"]["usage"]["usage"] > 0
    assert event["data"]["pids"]["current"] == 1


def test_hooks_run_in_order_with_the_state_on_stdin(bundle):
    log = bundle.place / "hooks"

    def hook(name):
        script = f"echo {name} $(cat | tr -d ' \\n' | grep -o '\"status\":\"[a-z]*\"') >> {log}"
        return [{"path": "/bin/sh", "args": ["sh", "-c", script]}]

    names = ("createRuntime", "poststart", "poststop")
    bundle.spec["hooks"] = {name: hook(name) for name in names}
    assert bundle.call("run", bundle.id).returncode == 0
    assert [line.split()[0] for line in log.read_text().splitlines()] == list(names)
    assert log.read_text().splitlines()[-1].endswith('"status":"stopped"')


def test_a_failing_hook_stops_the_start(bundle):
    bundle.spec["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    done = bundle.call("run", bundle.id)
    assert done.returncode == 1 and "hook" in done.stderr
    assert bundle.call("list", "-q").stdout == ""


def test_a_foreground_run_forwards_signals(bundle):
    bundle.shell("trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    bundle.call("state", "x")
    process = subprocess.Popen(
        [bundle.runtime, "--root", str(bundle.place / "state"), "run", bundle.id],
        cwd=bundle.place, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "caught\n"
    assert process.wait(timeout=60) == 5


def test_listing_shows_id_status_and_owner(bundle):
    bundle.spec["process"]["args"] = ["sleep", "100"]
    bundle.start()
    (found,) = json.loads(bundle.call("list", "--format", "json").stdout)
    assert (found["id"], found["status"], found["owner"]) == (bundle.id, "running", "root")
    assert bundle.call("list").stdout.split("\n")[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]


def test_an_id_cannot_name_another_directory(bundle):
    for name in ("../escape", "a/b", "..", ""):
        assert bundle.call("run", name).returncode == 1
    assert not (bundle.place / "escape").exists()


def test_the_rootfs_may_not_be_a_symbolic_link(bundle):
    (bundle.place / "rootfs").rename(bundle.place / "elsewhere")
    (bundle.place / "rootfs").symlink_to("elsewhere")
    done = bundle.call("run", bundle.id)
    assert done.returncode == 1 and "symlink" in done.stderr


def test_the_wanted_process_runs_from_a_sealed_copy(bundle):
    if os.path.basename(bundle.runtime) == "runc":
        pytest.skip("runc seals its own way")
    bundle.spec["process"]["args"] = ["sleep", "100"]
    bundle.spec["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"readlink /proc/$PPID/exe > {bundle.place}/exe"]}]
    }
    bundle.start()
    assert (bundle.place / "exe").read_text().startswith("/memfd:")
