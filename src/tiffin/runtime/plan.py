"""The plan: what the stage does between fork and exec, as builtins that marshal carries to it.

A plan is made by the compiler (from an OCI runtime specification) or by hand in tests, and executed by the stage one
operation after another. Nothing here decides; nothing in the stage does either. This module is imported by the
forkserver, so it may import nothing but builtins. Paths and texts are bytes: after a root file system is entered no
codec may be looked up.

    plan = {
        "id": str,                      # container id
        "state": str,                   # directory for monitor.sock and the exit file (mode 0700, exists)
        "unshare": int,                 # CLONE_NEW* flags; NEWPID, NEWUSER, NEWTIME included
        "join": ((flag, path), ...),    # namespaces to enter by path (/proc/PID/ns/net, a pinned file) instead
        "user": None | (uid_map: bytes, gid_map: bytes, deny_setgroups: bool),   # as in /proc/PID/uid_map
        "time_offsets": None | bytes,   # /proc/PID/timens_offsets, before the first process of the time namespace
        "cgroup": (operation, ...),     # run by the monitor on the host before the fork: mkdir, write, copy, …
        "procs": (path, ...),           # cgroup.procs files (one a v1 hierarchy) that the stage and every exec enter
        "oom": None | path,             # v1 memory.oom_control or v2 memory.events; read after exit, before rmdir
        "rmdir": (path, ...),           # cgroup directories to remove after exit, children first
        "operations": (operation, ...), # run by the stage in its namespaces, in this order; the constructors below
        "process": process,
        "stdio": {"terminal": bool, "stdin": bool, "stdin_once": bool, "size": (rows, columns) | None},
        "log": None | {"driver": "json-file" | "local" | "journald", "path": str, "max_size": int (bytes,
                       0 or less: unlimited), "max_file": int, "compress": bool, "attrs": bytes | None (a JSON object),
                       "journal": bytes (journald's fields that are the same for all entries; absent: no journal)},
        "ephemeral": bool,              # removed when it ends: its mounts are taken down after its exit is announced
        "eager": bool,                  # exec without waiting for the word: who kills by procs needs not be told before
        "prepared": bool,               # not wanted yet: all is done but the execve, which waits for "release"
        "later": bool,                  # the stage enters the groups but the last when told that the monitor made them
        "init": bool,                   # PID 1 is a reaper that forwards signals; the process is its child
        "network": bool | "resolver",   # stop after unshare, send netlink socket and netns up (and the sockets that a
                                        # name server takes), wait for the word
        "hooks": {name: ((path, argv, env, timeout in seconds or 0), ...)},   # bytes; OCI's names
        "hook_state": bytes,            # the OCI state on a hook's stdin, with %s for the status, %d for the pid
        "gate": None | bytes,           # a FIFO: before exec the stage blocks opening it for writing (OCI create/start)
        "external": None | {"runtime": path, "args": (bytes, ...), "root": path, "bundle": path},  # runc, crun instead
    }
    process = {
        "argv": (bytes, ...), "env": (bytes, ...),          # env as b"K=V"
        "path": (bytes, ...),           # executables to try, first that exists wins; empty: search argv[0] in PATH
        "cwd": bytes,                   # made if missing (0755, owner as the process) where "cwd_create"
        "cwd_create": bool,
        "uid": int, "gid": int, "groups": (int, ...), "umask": int | None,
        "capabilities": (bounding, permitted, inheritable, effective, ambient),  # ints, bit n is capability n
        "no_new_privileges": bool,
        "seccomp": None | bytes,        # packed struct sock_filter[]
        "seccomp_flags": int,
        "seccomp_notify": None | (listener path, metadata bytes),   # where the notify fd goes, as OCI's listenerPath
        "rlimits": ((resource, soft, hard), ...),           # RLIMIT_* numbers; -1 is infinity
        "oom_score_adj": int | None,
        "apparmor": bytes | None, "selinux": bytes | None,  # labels for /proc/thread-self/attr/…exec
        "keyring": bytes | None,        # name of a session keyring of its own
        "scheduler": None | (policy, flags, nice, priority, runtime, deadline, period),   # sched_setattr
        "io_priority": None | int,      # class << 13 | priority
        "personality": None | int,
        "memory_policy": None | (mode, node mask: int, bit n is node n),
        "affinity": None | (cpu, ...),
        "preserve": int,                # descriptors from 3 on that the program inherits (--preserve-fds, LISTEN_FDS)
    }

Keys of plan and process that are None, empty or False by default may be left out. `defaults` fills them in.

An operation is a tuple ``(name, *arguments)``; its constructor below documents it. Failure is reported as
``(step, errno, path)``, where step is the operation's name. Targets are paths *inside* the root file system: the stage
resolves each beneath the root (openat2 IN_ROOT, NO_MAGICLINKS), creates what is missing one component at a time, and
mounts by file descriptor. Sources are paths of the host.
"""

Operation = tuple[object, ...]
Kind = tuple[bytes, bytes, tuple[bytes, ...]]
"""Of a file system: type, source and options, which are all that tells a new one from another."""

_PLAN: dict[str, object] = {
    "unshare": 0,
    "join": (),
    "user": None,
    "time_offsets": None,
    "cgroup": (),
    "procs": (),
    "oom": None,
    "rmdir": (),
    "operations": (),
    "log": None,
    "ephemeral": False,
    "eager": False,
    "prepared": False,
    "later": False,
    "init": False,
    "network": False,
    "hooks": {},
    "hook_state": b'{"ociVersion":"1.2.0","status":"%s","pid":%d}',
    "gate": None,
    "external": None,
}
_PROCESS: dict[str, object] = {
    "env": (),
    "path": (),
    "cwd": b"/",
    "cwd_create": False,
    "uid": 0,
    "gid": 0,
    "groups": (),
    "umask": None,
    "no_new_privileges": False,
    "seccomp": None,
    "seccomp_flags": 0,
    "seccomp_notify": None,
    "rlimits": (),
    "oom_score_adj": None,
    "apparmor": None,
    "selinux": None,
    "keyring": None,
    "scheduler": None,
    "io_priority": None,
    "personality": None,
    "memory_policy": None,
    "affinity": None,
    "preserve": 0,
}


def defaults(plan: dict[str, object]) -> dict[str, object]:
    """The plan with every optional key present, its process included."""
    process = plan.get("process")
    stdio = {"terminal": False, "stdin": False, "stdin_once": False, "size": None, **dict(plan.get("stdio") or {})}  # type: ignore[call-overload]
    filled = {**_PLAN, **plan, "stdio": stdio}
    if isinstance(process, dict):
        filled["process"] = process_defaults(process)
    return filled


def process_defaults(process: dict[str, object]) -> dict[str, object]:
    """The process with every optional key present. "argv" and "capabilities" have no default."""
    return {**_PROCESS, **process}


# -- operations of the monitor, on the host, before the fork (plan["cgroup"]) ------------------------------------------


def mkdir(path: bytes, mode: int = 0o755, *, parents: bool = False) -> Operation:
    """Create a directory (with its parents); one that exists is left as it is."""
    return ("mkdir", path, mode, parents)


def write(path: bytes, data: bytes, *, ignore: tuple[int, ...] = ()) -> Operation:
    """Write `data` to an existing control file in one write(2); errnos in `ignore` are passed over."""
    return ("write", path, data, ignore)


def copy(source: bytes, target: bytes, *, ignore: tuple[int, ...] = ()) -> Operation:
    """Where the control file `target` is empty, write into it what `source` holds (v1 cpuset.cpus and cpuset.mems)."""
    return ("copy", source, target, ignore)


def device_filter(path: bytes, program: bytes) -> Operation:
    """Attach an eBPF program (struct bpf_insn[], BPF_PROG_TYPE_CGROUP_DEVICE) to the cgroup v2 directory `path`."""
    return ("device_filter", path, program)


# -- operations of the stage, in its namespaces (plan["operations"]) ---------------------------------------------------


def propagation(flags: int, path: bytes = b"/") -> Operation:
    """mount(2) with MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE, and MS_REC, on a path of the *host's* tree.

    The first operation: MS_SLAVE|MS_REC on / is what runc does by default; linux.rootfsPropagation says otherwise.
    """
    return ("propagation", flags, path)


def rootfs(
    kind: bytes,
    source: bytes,
    at: bytes,
    *,
    options: tuple[bytes, ...] = (),
    attributes: int = 0,
    recursive: bool = True,
    idmap: tuple[bytes, bytes] | None = None,
) -> Operation:
    """Mount the root file system on the empty directory `at` (or, for a bind, any directory) and open it.

    kind: b"bind" (source is a directory; `recursive` clones what is mounted below it as well) or a file system type
    such as b"overlay" with fsconfig options (b"lowerdir=a:b", b"upperdir=…"). attributes: MOUNT_ATTR_* to set. idmap:
    uid and gid maps as in `mount`. Every later target is resolved beneath it. Mounted before user namespaces are
    entered.
    """
    return ("rootfs", kind, source, at, options, attributes, recursive, idmap)


def mount(
    target: bytes,
    kind: bytes,
    source: bytes = b"",
    *,
    options: tuple[bytes, ...] = (),
    attributes: tuple[int, int] = (0, 0),
    recursive: tuple[int, int] = (0, 0),
    propagation: int = 0,
    bind: int = 0,
    copy_up: bool = False,
    create: bytes = b"directory",
    idmap: tuple[bytes, bytes] | None = None,
    idmap_recursive: bool = False,
    ignore: tuple[int, ...] = (),
    source_follow: bool = True,
    subpath: bytes = b"",
) -> Operation:
    """Mount something on `target`.

    kind: a file system type (b"proc", b"tmpfs", b"sysfs", b"mqueue", b"devpts", b"cgroup", b"cgroup2", …), b"bind",
    or b"remount" (only attributes and options of what is mounted on target change). options: fsconfig parameters,
    b"key=value" or b"key". attributes: (MOUNT_ATTR_* set, clear) of this mount alone; recursive: the same for its
    submounts too (rro, rnosuid, …). propagation: MS_* flags, MS_REC included, applied in the order given by the low
    to the high bit. bind: 1 this mount only, 2 with submounts (rbind). copy_up: what target held is copied into the
    new tmpfs (tmpcopyup). create: what a missing target becomes, b"directory", b"file" or b"" (fail with ENOENT);
    b"source" means like the bind's source. idmap: (uid_map, gid_map) in the format of /proc/PID/uid_map, or two empty
    bytes for the container's own user namespace. ignore: errnos of the mount that are passed over (a type the kernel
    lacks: ENODEV). subpath: what of a bind's source is mounted; links in it lead nowhere outside of the source.
    """
    return (
        "mount",
        target,
        kind,
        source,
        options,
        attributes,
        recursive,
        propagation,
        bind,
        copy_up,
        create,
        idmap,
        idmap_recursive,
        ignore,
        source_follow,
        subpath,
    )


def attributes(target: bytes, set: int, clear: int = 0, *, recursive: bool = False) -> Operation:
    """mount_setattr(2) on the mount at `target`.

    For one that is to be filled before it becomes read-only (/sys/fs/cgroup).
    """
    return ("attributes", target, set, clear, recursive)


def directory(target: bytes, mode: int = 0o755, uid: int = 0, gid: int = 0) -> Operation:
    """Create a directory with all its parents if it is missing.

    Mode and owner apply to the last when it was created.
    """
    return ("directory", target, mode, uid, gid)


def device(target: bytes, kind: bytes, major: int, minor: int, mode: int, uid: int = 0, gid: int = 0) -> Operation:
    """Make a device node (kind b"c", b"b", b"u", b"p"), in place of what is there.

    In a user namespace bind the host's node.
    """
    return ("device", target, kind, major, minor, mode, uid, gid)


def symlink(target: bytes, content: bytes) -> Operation:
    """Make the symbolic link `target` that reads `content`; what exists is left."""
    return ("symlink", target, content)


def file(target: bytes, data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Operation:
    """Write a regular file in place of what is there; a symbolic link is replaced, not followed."""
    return ("file", target, data, mode, uid, gid)


def mask(target: bytes) -> Operation:
    """Cover a file with the container's own /dev/null, a directory with an empty read-only tmpfs.

    A missing one is left out.
    """
    return ("mask", target)


def readonly(target: bytes) -> Operation:
    """Cover a path with a read-only, nosuid, nodev, noexec bind of itself, submounts included.

    A missing one is left out.
    """
    return ("readonly", target)


def console() -> Operation:
    """Open a pty in the container's own devpts, send the master up, cover /dev/console with the slave.

    After /dev/pts is mounted.
    """
    return ("console",)


def hook(name: str) -> Operation:
    """Run the hooks plan["hooks"][name]: createRuntime and prestart by the monitor on the host, others by the stage."""
    return ("hook", name)


def pivot() -> Operation:
    """pivot_root(2) into the root file system and detach the old root.

    Targets of later operations are under the new root.
    """
    return ("pivot",)


def move_root() -> Operation:
    """Enter the root by MS_MOVE and chroot (--no-pivot), where the old root is a ramfs."""
    return ("move_root",)


def propagation_root(flags: int) -> Operation:
    """Propagation of the container's / after the pivot (linux.rootfsPropagation shared, slave, unbindable)."""
    return ("propagation_root", flags)


def readonly_root() -> Operation:
    """Make the mount of / read-only (not its submounts). After the pivot, when everything in it exists."""
    return ("readonly_root",)


def sysctl(key: bytes, value: bytes) -> Operation:
    """Write a sysctl through the stage's own procfs; key with dots or slashes (net.ipv4.ip_forward.

    Net/ipv4/conf/eth0.1/…).
    """
    return ("sysctl", key, value)


def hostname(name: bytes) -> Operation:
    """sethostname(2)."""
    return ("hostname", name)


def domainname(name: bytes) -> Operation:
    """setdomainname(2)."""
    return ("domainname", name)


def loopback() -> Operation:
    """Bring `lo` up in the container's network namespace (runc does so for every new one)."""
    return ("loopback",)
