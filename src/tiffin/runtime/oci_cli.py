"""The OCI runtime CLI's commands, their flags, and how it reports errors."""

import os
from collections.abc import Callable
from importlib import import_module

from tiffin import __version__
from tiffin.errors import TiffinError, Unsupported
from tiffin.runtime import oci_log, oci_options
from tiffin.runtime.oci_options import Command, Parsed, Usage, flag

ID = "<container-id>"
BUNDLE = flag("bundle, b", str, "path to the root of the bundle directory, defaults to the current directory")
CONSOLE = flag("console-socket", str, "path to an AF_UNIX socket that receives the master end of the terminal")
PID_FILE = flag("pid-file", str, "file to write the process id to")
DETACH = flag("detach, d", bool, "detach from the container's process")
PRESERVE = flag("preserve-fds", int, "pass N additional file descriptors (after stdio and $LISTEN_FDS)")
FORMAT = flag("format, f", str, "table or json", "table")
START = (
    BUNDLE,
    CONSOLE,
    PID_FILE,
    flag("no-pivot", bool, "enter the root file system without pivot_root, for one that lies on a ramdisk"),
    flag("no-new-keyring", bool, "let the container inherit the caller's session keyring"),
    PRESERVE,
)

GLOBAL = (
    flag("debug", bool, "enable debug logging"),
    flag("log", str, "file to write logs to (default is '/dev/stderr')"),
    flag("log-format", str, "format of logs: text or json", "text"),
    flag("root", str, "directory for the state of containers (should be in a tmpfs)"),
    flag("criu", str, "accepted and ignored", "criu"),
    flag("systemd-cgroup", bool, "not supported: control groups are made directly"),
    flag("rootless", str, "ignore control group permission errors: true, false or auto", "auto"),
    flag("version, v", bool, "print the version"),
)

# command, and where it is: module:function
COMMANDS: tuple[tuple[Command, str], ...] = (
    (Command("checkpoint", "not supported", ID), "oci_cli:unsupported"),
    (Command("create", "create a container", ID, START), "oci_run:create"),
    (
        Command("delete", "delete what a container holds", ID, (flag("force, f", bool, "kill it if it still runs"),)),
        "oci_commands:delete",
    ),
    (
        Command(
            "events",
            "display statistics and out-of-memory notices",
            ID,
            (
                flag("interval", str, "how often to print statistics", "5s"),
                flag("stats", bool, "print the statistics once, then exit"),
            ),
        ),
        "oci_events:events",
    ),
    (
        Command(
            "exec",
            "execute a new process inside the container",
            f"{ID} <command> [command options]  || -p process.json {ID}",
            (
                CONSOLE,
                flag("cwd", str, "current working directory in the container"),
                flag("env, e", list, "set an environment variable"),
                flag("tty, t", bool, "allocate a pseudo-TTY"),
                flag("user, u", str, "UID[:GID]"),
                flag("additional-gids, g", list, "additional gids"),
                flag("process, p", str, "path to a process.json"),
                DETACH,
                PID_FILE,
                flag("process-label", str, "SELinux label of the process"),
                flag("apparmor", str, "AppArmor profile of the process"),
                flag("no-new-privs", bool, "set no_new_privs"),
                flag("cap, c", list, "add a capability"),
                PRESERVE,
                flag("cgroup", list, "run in an existing sub-cgroup: [<controller>:]<cgroup>"),
                flag("ignore-paused", bool, "allow exec in a paused container"),
            ),
            at_most=None,
            stops=True,
        ),
        "oci_exec:execute",
    ),
    (Command("features", "show what is supported", "", at_least=0, at_most=0), "oci_documents:features"),
    (
        Command(
            "kill",
            "send a signal (default: SIGTERM) to the container's init process",
            f"{ID} [signal]",
            (flag("all, a", bool, "send it to all processes in the container"),),
            at_most=2,
        ),
        "oci_commands:kill",
    ),
    (
        Command(
            "list",
            "list the containers below the given root",
            "",
            (FORMAT, flag("quiet, q", bool, "display only ids")),
            at_least=0,
            at_most=0,
        ),
        "oci_commands:list_all",
    ),
    (Command("pause", "suspend all processes in the container", ID), "oci_commands:pause"),
    (
        Command(
            "ps", "display the processes in a container", f"{ID} [ps options]", (FORMAT,), at_most=None, stops=True
        ),
        "oci_commands:ps",
    ),
    (Command("restore", "not supported", ID), "oci_cli:unsupported"),
    (Command("resume", "resume what pause suspended", ID), "oci_commands:resume"),
    (
        Command(
            "run",
            "create and run a container",
            ID,
            (
                *START,
                DETACH,
                flag("keep", bool, "do not delete the container after it exits"),
                flag("no-subreaper", bool, "accepted and ignored"),
            ),
        ),
        "oci_run:run",
    ),
    (
        Command(
            "spec",
            "create a new specification file",
            "",
            (BUNDLE, flag("rootless", bool, "for a container without root")),
            at_least=0,
            at_most=0,
        ),
        "oci_documents:write_starter",
    ),
    (Command("start", "execute the user-defined process in a created container", ID), "oci_run:start"),
    (Command("state", "output the state of a container", ID), "oci_commands:state"),
    (
        Command(
            "update",
            "update resource constraints",
            ID,
            (
                flag("resources, r", str, "file with the resources to update, as OCI's linux.resources; - is stdin"),
                flag("blkio-weight", int, "weight, 10 to 1000"),
                flag("cpu-period", str, "CFS period in µs"),
                flag("cpu-quota", str, "CFS quota in µs for each period"),
                flag("cpu-burst", str, "CFS burst in µs"),
                flag("cpu-share", str, "relative weight"),
                flag("cpu-rt-period", str, "realtime period in µs"),
                flag("cpu-rt-runtime", str, "realtime quota in µs for each period"),
                flag("cpu-idle", str, "1 for SCHED_IDLE, 0 for the default"),
                flag("cpuset-cpus", str, "CPUs to use"),
                flag("cpuset-mems", str, "memory nodes to use"),
                flag("kernel-memory", str, "accepted and ignored"),
                flag("kernel-memory-tcp", str, "accepted and ignored"),
                flag("memory", str, "memory limit in bytes"),
                flag("memory-reservation", str, "soft limit in bytes"),
                flag("memory-swap", str, "limit of memory and swap together; -1 for unlimited swap"),
                flag("pids-limit", int, "number of processes"),
                flag("l3-cache-schema", str, "not supported"),
                flag("mem-bw-schema", str, "not supported"),
            ),
        ),
        "oci_commands:update",
    ),
)


def version(program: str) -> str:
    from tiffin.runtime.oci_documents import SPECIFICATION

    return f"{program} version {__version__}\ncommit: {__version__}\nspec: {SPECIFICATION}"


def unsupported(root: str, options: Parsed) -> int:
    raise Unsupported("checkpoint and restore are not supported")


def run(argv: list[str]) -> int:
    """The exit status of a whole command line. argv[0]: the program's name."""
    program = os.path.basename(argv[0])
    try:
        options = oci_options.parse(argv[1:], GLOBAL, stops=True)
        oci_log.configure(options.text("log"), options.text("log_format"), debug=options.on("debug"))
        return _dispatch(program, options)
    except (Usage, TiffinError, OSError, ValueError) as error:
        oci_log.error(_text(error))
        return getattr(error, "status", 1)
    except KeyboardInterrupt:
        return 130


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        return where + error.strerror[:1].lower() + error.strerror[1:]
    return str(error)


def _dispatch(program: str, options: Parsed) -> int:
    if options.on("version"):
        print(version(program))
        return 0
    known = {command.name: (command, place) for command, place in COMMANDS}
    name, *rest = options.arguments or ("help",)
    if options.help or name in ("help", "h"):
        print(oci_options.program_help(program, version(program), [command for command, _ in COMMANDS], GLOBAL), end="")
        return 0
    if name not in known:
        raise Usage(f"No help topic for '{name}'")
    command, place = known[name]
    own = oci_options.parse(rest, command.flags, stops=command.stops)
    if own.help:
        print(oci_options.command_help(program, command), end="")
        return 0
    try:
        oci_options.check_arguments(program, command, own.arguments)
    except Usage:
        print("Incorrect Usage.\n\n" + oci_options.command_help(program, command))
        raise
    if options.on("systemd_cgroup"):
        raise Unsupported("--systemd-cgroup is not supported: leave it out, and give linux.cgroupsPath as a path")
    module, _, function = place.partition(":")
    carry_out: Callable[[str, Parsed], int] = getattr(import_module("tiffin.runtime." + module), function)
    return carry_out(os.path.abspath(options.text("root") or _default_root()), own)


def _default_root() -> str:
    if os.geteuid() != 0 and os.environ.get("XDG_RUNTIME_DIR"):
        return os.environ["XDG_RUNTIME_DIR"] + "/tiffin-runtime"
    return "/run/tiffin-runtime"
