"""The plan: what the stage does between fork and exec, as builtins that marshal carries to it.

A plan is made by the compiler (from an OCI runtime specification) or by hand in tests, and executed by the stage one
operation after another. Nothing here decides; nothing in the stage does either. This module is imported by the
forkserver, so it may import nothing but builtins.

    plan = {
        "id": str,                      # container id
        "state": str,                   # directory for monitor.sock and the exit file (mode 0700, exists)
        "unshare": int,                 # CLONE_NEW* flags; NEWPID and NEWUSER included
        "join": ((flag, path), ...),    # namespaces to enter by path (/proc/PID/ns/net, a pinned file) instead
        "user": None | (uid_map: bytes, gid_map: bytes, deny_setgroups: bool),
        "cgroup": (operation, ...),     # run by the monitor, on the host, before the fork: mkdir, write, device_filter
        "procs": (path, ...),           # cgroup.procs files (tasks of v1 included) that the stage and every exec enter
        "oom": None | path,             # v1 memory.oom_control or v2 memory.events; read after exit, before rmdir
        "rmdir": (path, ...),           # cgroup directories to remove after exit, children first
        "operations": (operation, ...), # run by the stage in its namespaces, in this order; the constructors below
        "process": process,
        "stdio": {"terminal": bool, "stdin": bool, "stdin_once": bool, "size": (rows, columns) | None},
        "log": None | {"driver": "json-file" | "local" | "journald", "path": str, "max_size": int, "max_file": int,
                       "compress": bool, "attrs": bytes | None},
        "init": bool,                   # PID 1 is a reaper that forwards signals; the process is its child
        "network": bool,                # stop after unshare, send (netlink socket, netns fd) up, wait for the word to go on
        "hooks": {name: ((path, argv, env, timeout), ...)},
    }
    process = {
        "argv": (bytes, ...), "env": (bytes, ...),          # env as b"K=V"
        "path": (bytes, ...),           # candidate executables, first that exists wins; empty: search argv[0] in PATH of env
        "cwd": bytes,                   # made if missing (0755, owner as the process) where "cwd_create"
        "cwd_create": bool,
        "uid": int, "gid": int, "groups": (int, ...), "umask": int | None,
        "capabilities": (bounding, permitted, inheritable, effective, ambient),  # ints, bit n is capability n
        "no_new_privileges": bool,
        "seccomp": None | bytes,        # packed struct sock_filter[]
        "seccomp_flags": int,
        "rlimits": ((resource, soft, hard), ...),
        "oom_score_adj": int | None,
        "apparmor": bytes | None, "selinux": bytes | None,
        "keyring": bool,                # a session keyring of its own
    }

An operation is a tuple ``(name, *arguments)``; its constructor below documents it. Failure is reported as
``(step, errno, path)``, where step is the operation's name.
"""
