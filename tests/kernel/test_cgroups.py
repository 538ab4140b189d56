"""Control groups of this machine, whichever shape they have."""

import os
import subprocess
import uuid

import pytest

from rig import eventually
from tiffin.linux import bpf_program, cgroups, cgroups_devices, cgroups_live, cgroups_stats
from tiffin.runtime import compile_cgroups, controls

pytestmark = pytest.mark.root
DENY_ALL = {"allow": False, "access": "rwm"}


class Group:
    def __init__(self, resources=None, rules=(DENY_ALL, *cgroups_devices.DEFAULT)) -> None:
        self.parent = f"/tiffin-test-{uuid.uuid4().hex[:12]}"
        self.hierarchies = cgroups.detect()
        self.compiled = compile_cgroups.compile_groups(self.hierarchies, self.parent + "/box", resources or {}, rules)
        self.place = self.compiled.cgroup
        self.processes: list[subprocess.Popen[bytes]] = []
        for operation in self.compiled.operations:
            controls.execute(operation)

    def run(self, *argv: str) -> "subprocess.Popen[bytes]":
        """A process that has joined before it executes."""

        def join() -> None:
            for path in self.compiled.procs:
                with open(path, "w") as file:
                    file.write("0")

        process = subprocess.Popen(argv, preexec_fn=join, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.processes.append(process)
        return process

    def read(self, controller: str, file: str) -> str:
        with open(f"{self.place.directory(controller)}/{file}") as opened:
            return opened.read().strip()

    def close(self) -> None:
        above = self.hierarchies.place(self.parent)
        cgroups_live.kill(above)
        for process in self.processes:
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        cgroups_live.remove(above)


@pytest.fixture
def group():
    made = []

    def make(*arguments, **more) -> Group:
        made.append(Group(*arguments, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_processes_are_found_in_groups_below_too(group):
    box = group()
    first = box.run("sleep", "100")
    below = box.place.unique()[-1] + "/below"
    os.mkdir(below)
    second = box.run("sleep", "100")
    with open(below + "/cgroup.procs", "w") as file:
        file.write(str(second.pid))
    found = cgroups_live.pids(cgroups.Cgroup({cgroups.UNIFIED: box.place.unique()[-1]}, box.place.version))
    assert found == sorted((first.pid, second.pid))


def test_a_frozen_group_stands_still_until_it_is_thawed(group):
    box = group()
    process = box.run("sh", "-c", "while :; do :; done")
    cgroups_live.freeze(box.place)
    assert cgroups_live.frozen(box.place)
    before = cpu_time(process.pid)
    assert cpu_time(process.pid) == before
    cgroups_live.thaw(box.place)
    assert not cgroups_live.frozen(box.place)
    eventually(lambda: cpu_time(process.pid) > before)


def cpu_time(pid: int) -> int:
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0])


def test_killing_reaches_everyone_even_frozen(group):
    box = group()
    processes = [box.run("sh", "-c", "trap '' TERM; sleep 100 & wait") for _ in range(3)]
    cgroups_live.freeze(box.place)
    cgroups_live.kill(box.place)
    assert [process.wait(timeout=30) for process in processes] == [-9] * 3
    eventually(lambda: cgroups_live.pids(box.place) == [])


def test_limits_read_back_as_they_were_set(group):
    resources = {"memory": {"limit": 64 << 20}, "cpu": {"quota": 20000, "period": 50000}, "pids": {"limit": 33}}
    box = group(resources)
    if box.place.version == 1:
        assert box.read("memory", "memory.limit_in_bytes") == str(64 << 20)
        assert (box.read("cpu", "cpu.cfs_quota_us"), box.read("cpu", "cpu.cfs_period_us")) == ("20000", "50000")
    else:
        assert box.read("memory", "memory.max") == str(64 << 20)
        assert box.read("cpu", "cpu.max") == "20000 50000"
    assert box.read("pids", "pids.max") == "33"


def test_limits_of_a_living_group_change_in_both_directions(group):
    box = group({"memory": {"limit": 64 << 20, "swap": 128 << 20}})
    box.run("sleep", "100")
    file = "memory.limit_in_bytes" if box.place.version == 1 else "memory.max"
    for limit in (256 << 20, 32 << 20):
        resources = {
            "memory": {"limit": limit, "swap": 2 * limit},
            "cpu": {"period": limit >> 12, "quota": limit >> 13},
        }
        cgroups_live.write_all(compile_cgroups.update(box.hierarchies, box.place, resources))
        assert box.read("memory", file) == str(limit)


def test_a_process_beyond_its_pids_limit_cannot_fork(group):
    box = group({"pids": {"limit": 1}})
    output, _ = box.run("sh", "-c", "sleep 0 & wait; echo no").communicate()
    assert b"fork" in output


def test_the_out_of_memory_kill_is_counted(group):
    box = group({"memory": {"limit": 16 << 20, "swap": 16 << 20}})
    process = box.run("python3", "-c", "b = bytearray(200 << 20)")
    assert process.wait(timeout=60) == -9
    assert controls.oom_killed(box.compiled.oom)


def test_devices_outside_of_the_rules_cannot_be_opened(group):
    box = group(rules=[DENY_ALL, *cgroups_devices.DEFAULT, {"allow": False, "type": "c", "major": 1, "minor": 5}])
    script = "head -c 1 /dev/zero; head -c 1 /dev/urandom >/dev/null && echo fine"
    output, _ = box.run("sh", "-c", script).communicate()
    assert b"Operation not permitted" in output and output.endswith(b"fine\n")


def test_statistics_count_what_a_process_used(group):
    box = group({"memory": {"limit": 64 << 20}})
    process = box.run("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; sleep 100")
    assert process.stdout is not None
    process.stdout.readline()
    stats = cgroups_stats.read(box.place)
    assert stats["cpu"]["total"] > 0
    assert 0 < stats["memory"]["usage"] <= stats["memory"]["max_usage"]
    assert stats["memory"]["limit"] == 64 << 20
    assert stats["pids"]["current"] >= 1 and stats["pids"]["limit"] == 0


def test_statistics_of_a_group_that_is_gone_are_an_error(group):
    box = group()
    cgroups_live.remove(box.place)
    with pytest.raises(FileNotFoundError):
        cgroups_stats.read(box.place)


def test_only_groups_below_the_parent_are_made(group):
    box = group()
    roots = {cgroups.UNIFIED: box.hierarchies.unified, **box.hierarchies.v1}
    made = [os.fsdecode(operation[1]) for operation in box.compiled.operations if operation[0] == "mkdir"]
    assert all(any(path.startswith(f"{root}{box.parent}") for root in roots.values()) for path in made)


def test_an_attached_device_program_replaces_the_one_before():
    hierarchies = cgroups.detect()
    if hierarchies.unified is None:
        pytest.skip("no cgroup2 tree is mounted")
    directory = f"{hierarchies.unified}/tiffin-test-{uuid.uuid4().hex[:12]}"
    os.mkdir(directory)
    fd = os.open(directory, os.O_RDONLY)
    try:
        ids = []
        for rules in (
            [DENY_ALL],
            [{"allow": True, "access": "rwm"}, {"allow": False, "type": "c", "major": 1, "minor": 5}],
        ):
            bpf_program.attach_device_filter(directory, cgroups_devices.program(cgroups_devices.policy(rules)))
            ids.append(bpf_program.attached(fd))
        assert [len(one) for one in ids] == [1, 1] and ids[0] != ids[1]
        script = f"echo $$ > {directory}/cgroup.procs; head -c 1 /dev/full | wc -c; head -c 1 /dev/zero"
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
        assert "Operation not permitted" in done.stderr and done.stdout.startswith("1")
    finally:
        os.close(fd)
        eventually(lambda: not open(directory + "/cgroup.procs").read())
        os.rmdir(directory)
