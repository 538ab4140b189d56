"""The compiler on a machine that is made up: a pure function's plans."""

import copy

import pytest

from tiffin.errors import Invalid
from tiffin.linux import cgroups, mounts, namespaces
from tiffin.model.mount import Mount
from tiffin.runtime.compile import compile_exec, compile_spec
from tiffin.runtime.compile_machine import Machine
from tiffin.runtime.oci_documents import starter

V1 = cgroups.Hierarchies(
    {"cpu": "/cg/cpu,cpuacct", "cpuacct": "/cg/cpu,cpuacct", "memory": "/cg/memory", "devices": "/cg/devices"}, None
)
V2 = cgroups.Hierarchies({}, "/cg", ("cpu", "memory", "pids"))
EVERYTHING = (1 << 41) - 1
RDONLY = mounts.MOUNT_ATTR_RDONLY


def compiled(change=lambda spec: None, hierarchies=V1, **more):
    spec = copy.deepcopy(starter())
    spec["linux"]["cgroupsPath"] = "/docker/abc"
    change(spec)
    more.setdefault("machine", Machine(hierarchies, more.pop("capabilities", EVERYTHING)))
    return compile_spec(spec, container_id="abc", state_dir="/run/abc", bundle="/bundle", **more)


def operations(plan, name):
    return [operation for operation in plan["operations"] if operation[0] == name]


def mount(plan, target):
    (found,) = [operation for operation in operations(plan, "mount") if operation[1] == target]
    names = """
        target kind source options attributes recursive propagation bind copy_up create idmap idmap_recursive
    """
    return dict(zip(names.split(), found[1:], strict=False))


def bind(*options, **more):
    def change(spec):
        spec["mounts"].append({"destination": "/data", "source": "data", "options": list(options), **more})

    return change


def test_the_order_is_root_mounts_devices_pivot_then_covers():
    names = [operation[0] for operation in compiled()["operations"]]
    order = ["propagation", "rootfs", "mount", "device", "console", "pivot", "hostname", "readonly", "mask"]
    assert [names.index(name) for name in order] == sorted(names.index(name) for name in order)
    assert names[-1] == "readonly_root"


def test_namespaces_are_made_or_joined():
    def change(spec):
        spec["linux"]["namespaces"] = [{"type": "mount"}, {"type": "network", "path": "/proc/1/ns/net"}]
        del spec["hostname"]

    plan = compiled(change)
    assert plan["unshare"] == namespaces.CLONE_NEWNS
    assert plan["join"] == ((namespaces.CLONE_NEWNET, b"/proc/1/ns/net"),)
    assert operations(plan, "loopback") == []


def test_a_new_network_namespace_gets_its_loopback():
    assert operations(compiled(), "loopback") == [("loopback",)]


def test_the_root_is_a_snapshots_mount_or_the_bundles_directory():
    assert operations(compiled(), "rootfs")[0][1:4] == (b"bind", b"/bundle/rootfs", b"/bundle/rootfs")
    root = Mount("overlay", "overlay", ("lowerdir=/a:/b", "upperdir=/u", "workdir=/w"))
    (found,) = operations(compiled(root=root, root_at="/run/abc/rootfs"), "rootfs")
    assert found[1:5] == (
        b"overlay",
        b"overlay",
        b"/run/abc/rootfs",
        (b"lowerdir=/a:/b", b"upperdir=/u", b"workdir=/w"),
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["bind"], {"bind": 1, "attributes": (0, 0)}),
        (["rbind", "ro"], {"bind": 2, "attributes": (RDONLY, 0), "recursive": (0, 0)}),
        (["rbind", "rro"], {"bind": 2, "attributes": (0, 0), "recursive": (RDONLY, 0)}),
        (["bind", "ro", "rw"], {"attributes": (0, RDONLY)}),
        (["bind", "nosuid", "dev"], {"attributes": (mounts.MOUNT_ATTR_NOSUID, mounts.MOUNT_ATTR_NODEV)}),
        (["bind", "noatime"], {"attributes": (mounts.MOUNT_ATTR_NOATIME, mounts.MOUNT_ATTR__ATIME)}),
        (["rbind", "rslave"], {"propagation": mounts.MS_SLAVE | mounts.MS_REC}),
        (["bind", "shared"], {"propagation": mounts.MS_SHARED}),
        (["bind", "idmap"], {"idmap": (b"", b""), "idmap_recursive": False}),
        (["rbind", "ridmap"], {"idmap": (b"", b""), "idmap_recursive": True}),
    ],
)
def test_bind_options(options, expected):
    found = mount(compiled(bind(*options)), b"/data")
    assert {key: found[key] for key in expected} == expected
    assert (found["kind"], found["source"], found["create"]) == (b"bind", b"/bundle/data", b"source")


def test_a_mounts_own_maps_make_it_idmapped():
    maps = {"uidMappings": [{"containerID": 0, "hostID": 1000, "size": 5}]}
    found = mount(compiled(bind("bind", gidMappings=maps["uidMappings"], **maps)), b"/data")
    assert found["idmap"] == (b"0 1000 5\n", b"0 1000 5\n")


def test_a_read_only_tmpfs_is_filled_first():
    def change(spec):
        spec["mounts"].append(
            {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "size=1m", "tmpcopyup"]}
        )

    plan = compiled(change)
    found = mount(plan, b"/t")
    assert (found["attributes"], found["copy_up"], found["options"]) == ((0, 0), True, (b"size=1m",))
    names = [operation[0] for operation in plan["operations"]]
    late = [at for at, one in enumerate(plan["operations"]) if one[:3] == ("attributes", b"/t", RDONLY)]
    assert late and late[0] > names.index("pivot")


@pytest.mark.parametrize("destination", ["/proc/1/ns", "/proc/sys", "proc//self/../../proc/acpi"])
def test_nothing_is_mounted_inside_proc(destination):
    with pytest.raises(Invalid, match="inside /proc"):
        compiled(bind("bind", destination=destination))


def test_only_procfs_is_mounted_on_proc():
    with pytest.raises(Invalid, match="not of type proc"):
        compiled(bind("bind", destination="/proc"))
    assert mount(
        compiled(lambda spec: spec["mounts"].pop(0) and bind("bind", destination="/proc", source="/proc")(spec)),
        b"/proc",
    )


def test_v1_shows_each_hierarchy_and_names_for_shared_ones():
    plan = compiled()
    assert mount(plan, b"/sys/fs/cgroup/memory")["source"] == b"/cg/memory/docker/abc"
    assert mount(plan, b"/sys/fs/cgroup/cpu,cpuacct")["attributes"][0] & RDONLY
    assert ("symlink", b"/sys/fs/cgroup/cpu", b"cpu,cpuacct") in plan["operations"]
    assert ("attributes", b"/sys/fs/cgroup", RDONLY, 0, False) in plan["operations"]


def test_in_a_cgroup_namespace_the_file_system_itself_is_mounted():
    def change(spec):
        spec["linux"]["namespaces"].append({"type": "cgroup"})

    found = mount(compiled(change), b"/sys/fs/cgroup/cpu,cpuacct")
    assert (found["kind"], found["options"]) == (b"cgroup", (b"cpu", b"cpuacct"))
    assert mount(compiled(change, V2), b"/sys/fs/cgroup")["kind"] == b"cgroup2"


def test_groups_are_made_limited_and_removed():
    def change(spec):
        spec["linux"]["resources"] |= {"memory": {"limit": 4096}}

    plan = compiled(change)
    assert ("mkdir", b"/cg/memory/docker/abc", 0o755, True) in plan["cgroup"]
    assert ("write", b"/cg/memory/docker/abc/memory.limit_in_bytes", b"4096", ()) in plan["cgroup"]
    assert plan["cgroup"].index(("write", b"/cg/devices/docker/abc/devices.deny", b"a", ())) < len(plan["cgroup"]) - 1
    assert plan["oom"] == b"/cg/memory/docker/abc/memory.oom_control"
    assert plan["procs"] == tuple(path + b"/cgroup.procs" for path in plan["rmdir"])


def test_on_v2_parents_hand_controllers_down_and_devices_are_a_program():
    plan = compiled(hierarchies=V2)
    names = [operation[0] for operation in plan["cgroup"]]
    assert plan["cgroup"][0][:3] == ("write", b"/cg/cgroup.subtree_control", b"+cpu")
    assert ("mkdir", b"/cg/docker", 0o755, False) in plan["cgroup"]
    assert names[-1] == "device_filter"
    assert plan["oom"] == b"/cg/docker/abc/memory.events"


def test_every_container_may_use_the_default_devices():
    lines = [operation[2] for operation in compiled()["cgroup"] if operation[1].endswith(b"devices.allow")]
    assert {b"c 1:3 rwm", b"c *:* m", b"c 136:* rwm"} <= set(lines)


def test_a_device_of_the_specification_replaces_a_default_one():
    def change(spec):
        spec["linux"]["devices"] = [
            {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 5}
        ]

    (found,) = [one for one in operations(compiled(change), "device") if one[1] == b"/dev/null"]
    assert found == ("device", b"/dev/null", b"c", 1, 3, 0o600, 5, 0)


def test_a_dev_bound_from_the_host_is_left_alone():
    def change(spec):
        spec["mounts"][1] = {"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind"]}

    assert operations(compiled(change), "device") == []
    assert all(one[1].startswith(b"/sys/") for one in operations(compiled(change), "symlink"))


def test_where_nodes_cannot_be_made_the_machines_are_bound():
    plan = compiled(machine=Machine(V1, EVERYTHING, in_user_namespace=True))
    assert operations(plan, "device") == []
    assert (mount(plan, b"/dev/null")["source"], mount(plan, b"/dev/null")["create"]) == (b"/dev/null", b"file")


def test_capabilities_that_cannot_be_granted_are_left_out():
    def change(spec):
        spec["process"]["capabilities"] = {
            name: ["CAP_CHOWN", "CAP_SYS_RESOURCE", "CAP_FROM_THE_FUTURE"]
            for name in ("bounding", "permitted", "effective", "inheritable", "ambient")
        }

    without = EVERYTHING & ~(1 << 24)
    assert compiled(change, capabilities=without)["process"]["capabilities"] == (1,) * 5


def test_the_effective_set_stays_within_the_permitted():
    def change(spec):
        spec["process"]["capabilities"] = {"bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"]}

    assert compiled(change)["process"]["capabilities"] == (1, 0, 0, 0, 0)


def test_the_process_is_bytes_and_numbers():
    def change(spec):
        spec["process"] |= {
            "user": {"uid": 5, "gid": 6, "additionalGids": [7], "umask": 0o27},
            "oomScoreAdj": -10,
            "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1}],
            "scheduler": {"policy": "SCHED_BATCH", "nice": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        }
        spec["linux"] |= {"personality": {"domain": "LINUX32"}, "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-1"}}

    process = compiled(change)["process"]
    expected = {
        "uid": 5, "gid": 6, "groups": (7,), "umask": 0o27, "oom_score_adj": -10, "rlimits": ((4, 0, -1),),
        "scheduler": (3, 1, 3, 0, 0, 0, 0), "io_priority": 2 << 13 | 4, "personality": 8, "memory_policy": (2, 3),
        "argv": (b"sh",), "cwd": b"/", "no_new_privileges": True, "keyring": b"_ses.abc",
    }  # fmt: skip
    assert {key: process[key] for key in expected} == expected


def test_a_user_namespace_has_its_maps():
    def change(spec):
        spec["linux"]["namespaces"].append({"type": "user"})
        spec["linux"]["uidMappings"] = spec["linux"]["gidMappings"] = [
            {"containerID": 0, "hostID": 100000, "size": 65536}
        ]

    assert compiled(change)["user"] == (b"0 100000 65536\n", b"0 100000 65536\n", False)


def test_hooks_have_a_state_to_read_and_a_place_in_the_order():
    def change(spec):
        spec["annotations"] = {"load": "100%"}
        spec["hooks"] = {
            "prestart": [{"path": "/bin/hook", "args": ["hook", "a"], "env": ["K=V"], "timeout": 3}],
            "poststop": [{"path": "/bin/hook"}],
        }

    plan = compiled(change)
    assert plan["hooks"]["prestart"] == ((b"/bin/hook", (b"hook", b"a"), (b"K=V",), 3),)
    assert operations(plan, "hook") == [("hook", "prestart")]
    assert b'"status": "created", "pid": 7' in plan["hook_state"] % (b"created", 7)
    assert b"100%" in plan["hook_state"] % (b"created", 7)


def test_propagation_of_the_root_reaches_the_container():
    def change(spec):
        spec["linux"]["rootfsPropagation"] = "shared"

    plan = compiled(change)
    assert operations(plan, "propagation") == [("propagation", mounts.MS_SHARED, b"/")]
    assert operations(plan, "propagation_root") == [("propagation_root", mounts.MS_SHARED)]


def set_linux(**values):
    return lambda spec: spec["linux"].update(values)


def set_process(**values):
    return lambda spec: spec["process"].update(values)


def without(*names):
    def change(spec):
        spec["linux"]["namespaces"] = [one for one in spec["linux"]["namespaces"] if one["type"] not in names]

    return change


def both(*changes):
    def change(spec):
        for one in changes:
            one(spec)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("uts"), "unable to set hostname without a private UTS namespace"),
        (set_linux(namespaces=[{"type": "mount"}, {"type": "moon"}]), 'namespace "moon" does not exist'),
        (set_linux(namespaces=[{"type": "mount"}, {"type": "mount"}]), "duplicated ns"),
        (set_linux(uidMappings=[{"containerID": 0, "hostID": 1, "size": 1}]), "USER namespace isn't enabled"),
        (set_linux(intelRdt={"closID": "x"}), "intelRdt is specified in config"),
        (set_linux(rootfsPropagation="wide"), "rootfsPropagation=wide is not supported"),
        (set_linux(sysctl={"kernel.panic": "1"}), "is not in a separate kernel namespace"),
        (set_linux(sysctl={"kernel.hostname": "x"}), "conflicts with the OCI"),
        (both(without("network"), set_linux(sysctl={"net.ipv4.ip_forward": "1"})), "host network namespace"),
        (both(without("ipc"), set_linux(sysctl={"kernel.shmmax": "1"})), "not allowed in the hosts ipc namespace"),
        (set_linux(timeOffsets={"monotonic": {"secs": 1}}), "new time namespace isn't enabled"),
        (set_linux(mountLabel="x"), "selinux is disabled"),
        (set_linux(seccomp={"defaultAction": "SCMP_ACT_NOTIFY"}), "cannot be used as default action"),
        (set_linux(seccomp={"defaultAction": "ALLOW"}), "not a valid action"),
        (set_process(cwd=""), "Cwd property must not be empty"),
        (set_process(cwd="tmp"), "Cwd must be an absolute path"),
        (set_process(args=[]), "args must not be empty"),
        (set_process(args=["a\0b"]), "NUL"),
        (set_process(user={"uid": 2**32 - 1}), "out of range"),
        (set_process(user={"uid": -1}), "out of range"),
        (set_process(rlimits=[{"type": "RLIMIT_FUN", "soft": 1, "hard": 1}]), "invalid rlimit type"),
        (set_process(rlimits=[{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]), "exceeds the hard limit"),
        (set_process(selinuxLabel="x"), "selinux is disabled"),
        (set_process(apparmorProfile="x"), "apparmor not supported"),
        (set_process(scheduler={"policy": "SCHED_OTHER", "nice": 99}), "invalid scheduler.nice"),
        (set_process(ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 8}), "invalid ioPriority.Priority"),
        (lambda spec: spec.pop("process"), "process property must not be empty"),
        (bind("bind", destination=""), "mount destination is empty"),
        (bind("idmap", "ridmap", "bind"), "exclude each other"),
        (lambda spec: spec["linux"]["resources"].update(memory={"swappiness": 500}), "swappiness"),
    ],
)
def test_what_makes_no_sense_is_refused_in_runcs_words(change, words):
    with pytest.raises(Invalid, match=words):
        compiled(change)


def test_slashes_and_dots_both_separate_a_sysctl():
    plan = compiled(set_linux(sysctl={"net/ipv4/conf/eth0.1/forwarding": "1", "net.core.somaxconn": "9"}))
    assert operations(plan, "sysctl") == [
        ("sysctl", b"net/ipv4/conf/eth0.1/forwarding", b"1"),
        ("sysctl", b"net.core.somaxconn", b"9"),
    ]
    with pytest.raises(Invalid, match="separate kernel namespace"):
        compiled(set_linux(sysctl={"kernel/net.x": "1"}))


def test_an_exec_shares_filter_and_namespaces_with_its_container():
    spec = starter()
    spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    process = compile_exec({"args": ["ls"], "cwd": "/"}, spec, machine=Machine(V1, EVERYTHING))
    assert process["seccomp"] and process["argv"] == (b"ls",)
    assert process["cwd_create"] is False


def test_a_plan_is_builtins_that_marshal_carries():
    import marshal

    plan = compiled()
    assert marshal.loads(marshal.dumps(plan)) == plan
