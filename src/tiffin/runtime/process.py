"""The last steps before execve, the same for a container's first process and for every exec. Raises OSError.

The tail is exactly close_range, seccomp, capset, execve: whatever the filter forbids has been done before it, and every
buffer exists. Nothing here imports, looks up a codec or a name: the root file system may be hostile by now.
"""

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import errno
import os
import stat
from fcntl import ioctl

from tiffin.linux import credentials, fds, mounts, paths, signals

_ALL = (1 << 64) - 1
_SEARCH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TIOCSCTTY, _TIOCSPTLCK, _TIOCGPTPEER, _TIOCSWINSZ = 0x540E, 0x40045431, 0x5441, 0x5414
_DEVPTS_MAGIC = 0x1CD1
Process = dict[str, object]


class NotExecutable(OSError):
    """No candidate can be executed; `text` says why in the words of Go's os/exec, which clients look for."""

    def __init__(self, number: int, text: str, path: bytes) -> None:
        super().__init__(number, text, path)


def reset_signals() -> None:
    """Undo what Python did (it ignores SIGPIPE and SIGXFSZ) and who started the engine: what is ignored stays so."""
    _signal.set_wakeup_fd(-1)  # the monitor's
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    for number in range(1, 65):
        if _signal.getsignal(number) == _signal.SIG_IGN:
            _signal.signal(number, _signal.SIG_DFL)
    signals.default_reserved()
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def open_terminal(root: int, size: tuple[int, int] | None) -> tuple[int, int]:
    """A pty of the devpts that is mounted in a root: (master, slave). size: rows, columns."""
    master = paths.open_in(root, b"dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
    if mounts.magic(master) != _DEVPTS_MAGIC:
        raise OSError(errno.ENXIO, "not a devpts", b"/dev/pts")
    ioctl(master, _TIOCSPTLCK, b"\0\0\0\0")
    slave = ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if size:
        resize(master, *size)
    return master, slave


def resize(terminal: int, rows: int, columns: int) -> None:
    """Set the window size; the kernel sends SIGWINCH to the foreground group."""
    ioctl(terminal, _TIOCSWINSZ, rows.to_bytes(2, "little") + columns.to_bytes(2, "little") + b"\0\0\0\0")


def take_stdio(stdio: tuple[int, int, int], uid: int, *, terminal: bool) -> None:
    """Make three descriptors 0, 1 and 2, owned by the process's user so that it can open /dev/stderr again."""
    for number, fd in enumerate(stdio):
        os.dup2(fd, number, inheritable=True)
    if terminal:
        ioctl(0, _TIOCSCTTY, 0)
    for number in (0, 1, 2):
        status = os.fstat(number)
        if status.st_uid == uid or status.st_rdev == os.makedev(1, 3):
            continue
        try:
            os.fchown(number, uid, -1)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EPERM, errno.EROFS):
                raise


def limits(process: Process) -> None:
    """rlimits, oom_score_adj, scheduling: what is inherited and needs the host's privileges."""
    rlimits: tuple[tuple[int, int, int], ...] = process["rlimits"]  # type: ignore[assignment]
    if rlimits:
        import resource

        for number, soft, hard in rlimits:
            try:
                resource.prlimit(0, number, (soft, hard))
            except ValueError as error:
                raise OSError(errno.EPERM, "rlimit above the hard limit of the engine") from error
    if process["scheduler"] is not None:
        credentials.sched_setattr(*process["scheduler"])  # type: ignore[misc]
    if process["io_priority"] is not None:
        credentials.ioprio_set(process["io_priority"])  # type: ignore[arg-type]
    if process["memory_policy"] is not None:
        credentials.set_mempolicy(*process["memory_policy"])  # type: ignore[misc]
    if process["affinity"] is not None:
        os.sched_setaffinity(0, process["affinity"])  # type: ignore[arg-type]


def oom_score(value: int) -> None:
    """Written through the host's /proc, before the root is entered."""
    fd = os.open(b"/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"%d" % value)
    finally:
        os.close(fd)


def label(proc: int, process: Process) -> None:
    """The AppArmor or SELinux label for the next execve, through our own procfs."""
    for key, name in (("apparmor", b"apparmor/exec"), ("selinux", b"exec")):
        value = process[key]
        if value:
            text = b"exec " + value if key == "apparmor" else value  # type: ignore[operator]
            path = b"thread-self/attr/" + name
            fd = paths.openat2(proc, path, os.O_WRONLY, paths.RESOLVE_NO_MAGICLINKS | paths.RESOLVE_BENEATH)
            try:
                os.write(fd, text)  # type: ignore[arg-type]
            finally:
                os.close(fd)


def enter_directory(process: Process) -> None:
    """chdir to the working directory, made where asked; refused when it is not below the root (CVE-2024-21626)."""
    cwd: bytes = process["cwd"]  # type: ignore[assignment]
    try:
        os.chdir(cwd)
    except FileNotFoundError:
        if not process["cwd_create"]:
            raise
        root = os.open(b"/", paths.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        place, made = paths.ensure_directory(root, cwd)
        os.fchdir(place)
        if made:
            os.chown(b".", process["uid"], process["gid"])  # type: ignore[arg-type]
        os.close(place)
        os.close(root)
    check_directory(cwd)


def check_directory(cwd: bytes) -> None:
    """Refuse a working directory outside of the root: getcwd(2) says "(unreachable)" then, which os.getcwdb reports."""
    try:
        inside = os.getcwdb().startswith(b"/")
    except FileNotFoundError:
        inside = False
    if not inside:
        raise OSError(errno.EPERM, "current working directory is outside of container mount namespace root", cwd)


def identity(process: Process) -> None:
    """Bounding set, groups, gid, uid, as the process will have them; permitted capabilities are kept for the tail."""
    bounding = process["capabilities"][0]  # type: ignore[index]
    credentials.drop_bounding(bounding)
    uid: int = process["uid"]  # type: ignore[assignment]
    gid: int = process["gid"]  # type: ignore[assignment]
    groups: tuple[int, ...] = process["groups"]  # type: ignore[assignment]
    credentials.prctl(credentials.PR_SET_KEEPCAPS, 1, 0, 0, 0)
    # setgroups even when empty: the engine's own groups must not stay (CVE-2022-36109).
    try:
        credentials.setgroups(groups)
    except PermissionError:
        if groups:
            raise
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if process["umask"] is not None:
        os.umask(process["umask"])  # type: ignore[arg-type]


def _usable(path: bytes) -> None:
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory", path)
    if not os.access(path, os.X_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, "permission denied", path)


def find(process: Process) -> bytes:
    """The executable, by the rules and in the words of Go's exec.LookPath, as the process's user."""
    candidates: tuple[bytes, ...] = process["path"]  # type: ignore[assignment]
    name: bytes = process["argv"][0]  # type: ignore[index]
    if not candidates and b"/" in name:
        try:
            _usable(name)
        except OSError as error:
            prefix = b"stat " + name + b": " if isinstance(error, FileNotFoundError | NotADirectoryError) else b""
            reason = prefix.decode("utf-8", "replace") + os.strerror(error.errno or 0).lower()
            raise NotExecutable(error.errno or 0, reason, name) from None
        return name
    denied = False
    search = candidates or tuple(
        (directory or b".") + b"/" + name
        for directory in _path_of(process["env"]).split(b":")  # type: ignore[arg-type]
    )
    for candidate in search if name else ():
        try:
            _usable(candidate)
        except PermissionError:
            denied = True
        except OSError:
            pass
        else:
            return candidate
    if denied:
        raise NotExecutable(errno.EACCES, "permission denied", name)
    raise NotExecutable(errno.ENOENT, "executable file not found in $PATH", name)


def _path_of(environment: tuple[bytes, ...]) -> bytes:
    for item in reversed(environment):
        if item.startswith(b"PATH="):
            return item[5:]
    return _SEARCH


class Tail:
    """What follows `identity`: everything is computed here, so that `enter` and `replace` are only system calls."""

    def __init__(self, process: Process) -> None:
        sets: tuple[int, int, int, int, int] = process["capabilities"]  # type: ignore[assignment]
        _, permitted, inheritable, effective, self.ambient = sets
        self.no_new_privileges = bool(process["no_new_privileges"])
        program: bytes | None = process["seccomp"]  # type: ignore[assignment]
        self.filter = credentials.Filter.of(program) if program else None
        self.flags: int = process["seccomp_flags"]  # type: ignore[assignment]
        if process["seccomp_notify"]:
            self.flags |= credentials.SECCOMP_FILTER_FLAG_NEW_LISTENER
        held = credentials.permitted()
        uid: int = process["uid"]  # type: ignore[assignment]
        effective, permitted = effective & held, permitted & held
        if uid != 0:
            # execve as a user without ambient capabilities clears them anyway; clear them before, as Docker shows them.
            keep = self.ambient
            permitted, effective = permitted & keep, effective & keep
        self.full = credentials.capability_sets(held, 0, held)
        self.sets = credentials.capability_sets(permitted, inheritable & held, effective)
        self.argv: list[bytes] = list(process["argv"])  # type: ignore[call-overload]
        self.environment = dict(item.split(b"=", 1) for item in process["env"] if b"=" in item)  # type: ignore[attr-defined]
        self.executable = b""
        self.notify = -1
        self.first_closed: int = 3 + process.get("preserve", 0)  # type: ignore[operator]

    def find(self, process: Process) -> None:
        """Resolve the executable: before the filter, which may forbid stat."""
        self.executable = find(process)

    def enter(self) -> None:
        """close_range, seccomp, capset.

        close_range only marks (the error pipe must live until execve succeeds), and comes first because a filter need
        not allow it. Without no_new_privs loading the filter needs CAP_SYS_ADMIN, so it precedes capset; with it the
        filter comes last, since it may forbid capset.
        """
        fds.close_range(self.first_closed, 0xFFFFFFFF, fds.CLOSE_RANGE_CLOEXEC)
        if self.no_new_privileges:
            credentials.prctl(credentials.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            self._capabilities()
            self._filter()
            return
        credentials.capset(self.full)
        self._filter()
        self._capabilities()

    def _capabilities(self) -> None:
        credentials.capset(self.sets)
        if self.ambient:
            credentials.raise_ambient(self.ambient)

    def _filter(self) -> None:
        if self.filter is not None:
            listener = credentials.load_filter(self.filter, self.flags)
            if self.flags & credentials.SECCOMP_FILTER_FLAG_NEW_LISTENER:
                self.notify = listener

    def replace(self) -> None:
        """execve."""
        os.execve(self.executable, self.argv, self.environment)
