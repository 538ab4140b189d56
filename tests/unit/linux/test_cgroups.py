import pytest

from tiffin.linux import cgroups, cgroups_v1, cgroups_v2

V1 = """\
30 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
34 30 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
35 30 0:33 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
36 30 0:34 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
"""
OWN_V1 = "4:name=systemd:/init.scope\n3:memory:/own\n2:cpu,cpuacct:/\n"


@pytest.fixture
def machine(tmp_path):
    """Writes mountinfo and cgroup files and detects from them."""

    def detect(mountinfo: str, own: str) -> cgroups.Hierarchies:
        (tmp_path / "mountinfo").write_text(mountinfo)
        (tmp_path / "cgroup").write_text(own)
        return cgroups.detect(str(tmp_path / "mountinfo"), str(tmp_path / "cgroup"))

    return detect


@pytest.fixture
def unified(tmp_path, machine):
    tree = tmp_path / "unified tree"
    tree.mkdir()
    (tree / "cgroup.controllers").write_text("cpu memory pids io\n")
    mounted = str(tree).replace(" ", "\\040")
    return machine(f"30 23 0:28 / {mounted} rw - cgroup2 cgroup2 rw,nsdelegate\n", "0::/user.slice/session.scope\n")


def v1(directory: str = "/c") -> cgroups.Cgroup:
    names = ("cpu", "cpuset", "memory", "pids", "blkio", "devices", "hugetlb")
    return cgroups.Cgroup({name: f"{directory}/{name}" for name in names}, 1)


def written(resources, **more):
    return [(path.removeprefix("/c/"), data) for path, data, _ in cgroups_v1.writes(v1(), resources, **more)]


def written_v2(resources, controllers=("cpu", "memory", "io", "pids")):
    return [(path.removeprefix("/c/"), data) for path, data, _ in cgroups_v2.writes("/c", resources, controllers)]


def test_v1_hierarchies_are_found_by_their_mounts(machine):
    found = machine(V1, OWN_V1)
    assert (found.version, found.unified) == (1, None)
    assert found.v1["cpu"] == found.v1["cpuacct"] == "/sys/fs/cgroup/cpu,cpuacct"
    assert found.v1["name=systemd"] == "/sys/fs/cgroup/systemd"


def test_co_mounted_controllers_share_one_directory(machine):
    place = machine(V1, OWN_V1).place("/docker/abc")
    assert place.directory("cpuacct") == "/sys/fs/cgroup/cpu,cpuacct/docker/abc"
    assert place.procs().count("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cgroup.procs") == 1


def test_a_relative_path_lies_below_the_processs_own_group(machine):
    place = machine(V1, OWN_V1).place("abc")
    assert place.directory("memory") == "/sys/fs/cgroup/memory/own/abc"
    assert place.directory("name=systemd") == "/sys/fs/cgroup/systemd/init.scope/abc"


@pytest.mark.parametrize("path", ["/../../etc", "/a/../../../etc", "/./etc"])
def test_no_path_leads_out_of_the_hierarchy(machine, path):
    assert machine(V1, OWN_V1).place(path).directory("memory") == "/sys/fs/cgroup/memory/etc"


def test_a_path_that_the_kernel_would_cut_short_is_refused(machine):
    with pytest.raises(OSError, match="NUL"):
        machine(V1, OWN_V1).place("/a\0b")


def test_v2_is_one_tree_even_where_its_mount_point_has_a_space(unified):
    assert unified.version == 2
    assert unified.controllers == ("cpu", "memory", "pids", "io")
    place = unified.place("/docker/abc")
    assert place.directory("memory") == place.directory("cpu") == unified.unified + "/docker/abc"


def test_on_v2_a_relative_path_becomes_a_sibling_of_the_caller(unified):
    assert unified.place("abc").directory("cpu") == unified.unified + "/user.slice/abc"


def test_every_parent_up_to_the_mount_hands_its_controllers_down(unified):
    parents = [parent for parent, _ in cgroups_v2.subtree_controls(unified.place("/a/b"), unified.unified, ("cpu",))]
    assert parents == [unified.unified, unified.unified + "/a"]


def test_a_machine_without_control_groups_is_an_error(machine):
    with pytest.raises(OSError, match="no cgroup file system"):
        machine("1 0 8:1 / / rw - ext4 /dev/sda rw\n", "")


def test_v1_limits_keep_the_kernels_names():
    resources = {
        "memory": {"limit": 64, "swap": 128, "reservation": 32, "swappiness": 10, "disableOOMKiller": True},
        "cpu": {"shares": 512, "quota": 5000, "period": 10000, "cpus": "0-1", "mems": "0"},
        "pids": {"limit": -1},
        "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1024}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4}],
    }
    assert written(resources) == [
        ("memory/memory.limit_in_bytes", "64"),
        ("memory/memory.memsw.limit_in_bytes", "128"),
        ("memory/memory.soft_limit_in_bytes", "32"),
        ("memory/memory.oom_control", "1"),
        ("memory/memory.swappiness", "10"),
        ("cpu/cpu.shares", "512"),
        ("cpu/cpu.cfs_period_us", "10000"),
        ("cpu/cpu.cfs_quota_us", "5000"),
        ("cpuset/cpuset.cpus", "0-1"),
        ("cpuset/cpuset.mems", "0"),
        ("pids/pids.max", "max"),
        ("blkio/blkio.throttle.read_bps_device", "8:0 1024"),
        ("hugetlb/hugetlb.2MB.limit_in_bytes", "4"),
    ]


def test_a_growing_limit_raises_memory_and_swap_first(tmp_path):
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.memsw.limit_in_bytes").write_text("100\n")
    files = [
        path.rsplit("/", 1)[1]
        for path, *_ in cgroups_v1.writes(v1(str(tmp_path)), {"memory": {"limit": 200, "swap": 300}}, live=True)
    ]
    assert files == ["memory.memsw.limit_in_bytes", "memory.limit_in_bytes"]


def test_a_limit_whose_controller_is_missing_is_refused():
    with pytest.raises(OSError, match="cannot set pids limit"):
        cgroups_v1.writes(cgroups.Cgroup({"memory": "/c"}, 1), {"pids": {"limit": 5}})


def test_unified_keys_are_refused_on_v1():
    with pytest.raises(OSError, match="cannot use unified on cgroup v1"):
        written({"unified": {"memory.high": "1"}})


def test_swappiness_has_a_range():
    with pytest.raises(OSError, match="valid range is 0-100"):
        written({"memory": {"swappiness": 101}})


def test_cpusets_are_prepared_from_the_top():
    place = cgroups.Cgroup({"cpuset": "/c/cpuset/docker/abc"}, 1)
    assert cgroups_v1.hierarchy_preparations(place, {"cpuset": "/c/cpuset"}) == [
        ("/c/cpuset", "/c/cpuset/docker"),
        ("/c/cpuset/docker", "/c/cpuset/docker/abc"),
    ]


def test_v2_limits_are_converted():
    resources = {
        "memory": {"limit": 64, "swap": 100, "reservation": 32},
        "cpu": {"shares": 1024, "quota": 5000},
        "pids": {"limit": 7},
        "blockIO": {
            "weight": 500,
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1024}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}],
        },
        "unified": {"memory.high": "60"},
    }
    assert written_v2(resources) == [
        ("memory.swap.max", "36"),
        ("memory.max", "64"),
        ("memory.low", "32"),
        ("io.max", "8:0 rbps=1024"),
        ("io.max", "8:0 wiops=max"),
        ("cpu.weight", "39"),
        ("cpu.max", "5000 100000"),
        ("pids.max", "7"),
        ("io.bfq.weight", "500"),
        ("io.weight", "4950"),
        ("memory.high", "60"),
    ]


@pytest.mark.parametrize(("shares", "weight"), [(0, 0), (1, 1), (2, 1), (1024, 39), (262144, 10000), (999999, 10000)])
def test_shares_become_a_weight(shares, weight):
    assert cgroups_v2.cpu_weight(shares) == weight


@pytest.mark.parametrize(
    ("swap", "memory", "expected"), [(0, 64, 0), (-1, 64, -1), (64, 64, 0), (100, 64, 36), (0, -1, -1), (-1, -1, -1)]
)
def test_memory_and_swap_become_swap_alone(swap, memory, expected):
    assert cgroups_v2.swap_max(swap, memory) == expected


@pytest.mark.parametrize(("swap", "memory"), [(64, 0), (64, -1), (32, 64)])
def test_swap_that_makes_no_sense_is_refused(swap, memory):
    with pytest.raises(OSError):
        cgroups_v2.swap_max(swap, memory)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("memory/high", "must be a file name"),
        ("high", "in the form CONTROLLER.PARAMETER"),
        ("rdma.max", "not available"),
    ],
)
def test_unified_keys_name_a_file_of_a_controller(key, reason):
    with pytest.raises(OSError, match=reason):
        written_v2({"unified": {key: "1"}})
