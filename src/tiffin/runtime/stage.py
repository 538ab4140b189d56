"""The stage: the code between fork and exec. It executes the plan's operations one by one and becomes the process.

It speaks with the monitor over a SEQPACKET socket (marshalled tuples, descriptors attached) that closes on exec:

    stage → monitor   ("sandbox",) + netlink socket, netns    ("console",) + pty master    ("hook", name)
                      ("pid", pid)   who talks is another process now, see ahead.py
                      ("written", pages)   see linux/pages.py
                      ("ready",)   everything is done but the tail; waits for the word
                      ("notify", listener path, metadata)  + seccomp notify fd
                      ("error", step, errno, path: bytes, text: str)
    monitor → stage   one message whenever the stage waits; the end of the stream means: leave.
"""

import _socket as socket  # socket itself loads enum
import marshal
import os

from tiffin.linux import credentials, fds, loopback, mounts, namespaces, pages, paths
from tiffin.runtime import doors, hooks, process, reaper
from tiffin.runtime.rootfs import Root

_WITHOUT_GROUPS = ("propagation", "rootfs")  # operations that may precede entering them, see plan["later"]
_NAMESPACED = namespaces.CLONE_NEWPID | namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWTIME
Plan = dict[str, object]


class Stage:
    """One run of a plan, in the process that will become PID 1."""

    def __init__(self, plan: Plan, channel: socket.socket, stdio: tuple[int, int, int] | None) -> None:
        """stdio: the process's ends; None with a terminal, which the operation `console` opens."""
        self.plan = plan
        self.process: process.Process = plan["process"]  # type: ignore[assignment]
        self.channel = channel
        self.stdio = stdio
        self.step, self.path = "start", b""
        user: tuple[bytes, bytes, bool] | None = plan["user"]  # type: ignore[assignment]
        self.root = Root(user[:2] if user else None)
        self.waited_for_network = not plan["network"]
        self.gate = self.proc = self.mounts = -1
        self.groups: tuple[bytes, ...] = ()  # still to be entered
        self.netns = -1  # one to enter in place of a new network namespace
        self.learns: bool | pages.Own = False  # whether to say which pages were written to

    # -- talking -----------------------------------------------------------------------------------------------------

    def say(self, *message: object, attach: tuple[int, ...] = ()) -> None:
        """Send one message up."""
        fds.send(self.channel, marshal.dumps(message), attach)  # type: ignore[arg-type]

    def wait(self) -> None:
        """Wait for the word; without a monitor there is nothing to become."""
        if not self.channel.recv(16):
            os._exit(1)

    def check(self) -> None:
        """Leave if there is no monitor any more; what it says is not waited for."""
        try:
            if not self.channel.recv(16, socket.MSG_DONTWAIT | socket.MSG_PEEK):
                os._exit(1)
        except BlockingIOError:
            pass

    def fail(self, error: OSError) -> None:
        """Report the first thing that failed and leave."""
        path = error.filename if error.filename is not None else self.path
        raw = os.fsencode(path) if isinstance(path, str) else path if isinstance(path, bytes) else b""
        try:
            self.say("error", self.step, error.errno or 0, raw, str(error.strerror or ""))
        finally:
            os._exit(127)

    # -- the order of things -----------------------------------------------------------------------------------------

    def prepare(self, born: bytes) -> None:
        """What needs the host's privileges, before any namespace is entered: cgroups but the one born in, limits."""
        process.reset_signals()
        self.groups = tuple(path for path in self.plan["procs"] if path != born)  # type: ignore[attr-defined]
        if not self.plan["later"]:
            self.enter_groups()
        self.step, self.path = "limits", b""
        if self.process["oom_score_adj"] is not None:
            process.oom_score(self.process["oom_score_adj"])  # type: ignore[arg-type]
        process.limits(self.process)
        if self.process["keyring"] is not None:
            self.step = "keyring"
            serial = credentials.join_session_keyring(self.process["keyring"])  # type: ignore[arg-type]
            credentials.keyring_permissions(serial, 0x3F080000 | 0x3F000000)

        if self.plan["gate"]:
            self.step = "gate"
            self.gate = os.open(self.plan["gate"], paths.O_PATH | os.O_CLOEXEC)  # type: ignore[arg-type]
            # The host's procfs: it reopens the FIFO when no path outside of the root can be named any more.
            self.proc = os.open(b"/proc", paths.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def enter_groups(self) -> None:
        """The control groups that it was not born in."""
        self.step = "cgroup"
        for path in self.groups:
            self.path = path
            join_cgroup(path)
        self.groups = ()

    def groups_made(self) -> None:
        """Where they were made meanwhile: wait for that, and enter them."""
        if self.groups:
            self.wait()
            self.enter_groups()

    def prepare_sources(self) -> None:
        """For a user namespace: clone what its root could not open."""
        self.step = "source"
        for operation in self.plan["operations"]:  # type: ignore[attr-defined]
            self.root.prepare(operation)

    def enter_namespaces(self) -> None:
        """Join by path what is to be joined, then make the rest. All descriptors first.

        Joining changes what paths mean.
        """
        self.step = "join"
        opened = []
        for flag, path in self.plan["join"]:  # type: ignore[attr-defined]
            if not flag & _NAMESPACED:
                self.path = path
                opened.append((os.open(path, os.O_RDONLY | os.O_CLOEXEC), flag))
        for fd, flag in opened:
            namespaces.setns(fd, flag)
            os.close(fd)
        self.step, self.path = "unshare", b""
        flags: int = self.plan["unshare"]  # type: ignore[assignment]
        if self.netns >= 0:
            namespaces.setns(self.netns, namespaces.CLONE_NEWNET)
            flags &= ~namespaces.CLONE_NEWNET
        namespaces.unshare(flags & ~_NAMESPACED)
        if self.plan["ephemeral"]:
            self.mounts = os.open(b"/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    def run(self) -> None:
        """Everything from the namespaces on; never returns."""
        try:
            os.setsid()
            os.umask(0)
            self.enter_namespaces()
            if self.plan["network"]:
                self.offer_network()
            for operation in self.plan["operations"]:  # type: ignore[attr-defined]
                if operation[0] not in _WITHOUT_GROUPS:
                    self.groups_made()
                self.step = operation[0]
                self.path = operation[1] if len(operation) > 1 and isinstance(operation[1], bytes) else b""
                self.execute(*operation)
            self.groups_made()
            self.become()
        except OSError as error:
            self.fail(error)
        finally:
            os._exit(127)

    def join(self) -> None:
        """The whole of an exec, once inside the namespaces; never returns."""
        try:
            os.setsid()
            os.umask(0o022)
            if self.plan["stdio"]["terminal"]:  # type: ignore[index]
                self.step = "console"
                root = os.open(b"/", paths.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                master, slave = process.open_terminal(root, self.plan["stdio"]["size"])  # type: ignore[index]
                os.close(root)
                self.say("console", attach=(master,))
                os.close(master)
                self.stdio = (slave, slave, slave)
            self.become()
        except OSError as error:
            self.fail(error)
        finally:
            os._exit(127)

    def offer_network(self) -> None:
        """Sockets made inside: the daemon configures the network through them without ever entering."""
        made = doors.make(doors.RESOLVER if self.plan["network"] == "resolver" else ())
        self.say("sandbox", attach=tuple(made))
        for fd in made:
            os.close(fd)

    def network_ready(self) -> None:
        """Wait until the network is configured; mounts went on meanwhile."""
        if not self.waited_for_network:
            self.step, self.path = "network", b""
            self.wait()
            self.waited_for_network = True

    def execute(self, name: str, *arguments: object) -> None:
        """One operation: of the root file system, or of the rest of the namespaces."""
        method = getattr(self.root, name, None) or getattr(self, "do_" + name)
        method(*arguments)

    # -- operations that are not about files -------------------------------------------------------------------------

    def do_propagation(self, flags: int, path: bytes) -> None:
        mounts.mount(b"none", path, None, flags)

    def do_propagation_root(self, flags: int) -> None:
        mounts.mount(b"none", b"/", None, flags)

    def do_readonly_root(self) -> None:
        mounts.set_attributes(self.root.fd, mounts.MOUNT_ATTR_RDONLY)

    def do_hostname(self, name: bytes) -> None:
        namespaces.sethostname(name)

    def do_domainname(self, name: bytes) -> None:
        namespaces.setdomainname(name)

    def do_loopback(self) -> None:
        if self.netns < 0:
            loopback.bring_up()

    def do_sysctl(self, key: bytes, value: bytes) -> None:
        # A procfs of our own, never the container's path: nothing can be mounted over it (CVE-2025-52881).
        name = key if b"/" in key else key.replace(b".", b"/")
        if name.split(b"/")[2:3] in ([b"conf"], [b"neigh"]):
            self.network_ready()  # an interface's own settings are there when it is
        if self.root.proc < 0:
            self.root.proc = mounts.create(b"proc")
        fd = paths.openat2(self.root.proc, b"sys/" + name, os.O_WRONLY, paths.BENEATH | paths.RESOLVE_NO_XDEV)
        try:
            os.write(fd, value)
        finally:
            os.close(fd)

    def do_console(self) -> None:
        size: tuple[int, int] | None = self.plan["stdio"]["size"]  # type: ignore[index]
        master, slave = process.open_terminal(self.root.fd, size)
        place = paths.ensure_file(self.root.fd, b"dev/console")
        tree = mounts.clone(slave)
        mounts.attach(tree, place)
        for fd in (tree, place):
            os.close(fd)
        self.say("console", attach=(master,))
        os.close(master)
        self.stdio = (slave, slave, slave)

    def do_hook(self, name: str) -> None:
        if name in ("prestart", "createRuntime"):
            self.network_ready()
            self.say("hook", name)
            self.wait()
        else:
            if name == "createContainer":
                os.fchdir(self.root.fd)  # runc's hooks expect the root's own directory; the pivot leaves it again
            hooks.run(self.plan, name, b"creating", os.getpid())

    # -- the end -----------------------------------------------------------------------------------------------------

    def become(self) -> None:
        """Become the process, or, with "init", its reaper."""
        which = self.process
        self.step, self.path = "process", b""
        if which["apparmor"] or which["selinux"]:
            self.step = "label"
            proc = mounts.create(b"proc")
            process.label(proc, which)
            os.close(proc)
        self.network_ready()
        if self.learns:
            self.tell_pages()
        for fd in (self.root.fd, self.root.proc):
            if fd >= 0:
                os.close(fd)  # a working directory of /proc/self/fd/N finds nothing (CVE-2024-21626)
        self.finish()

    def tell_pages(self) -> None:
        """Which ones were written to, for the stages of others to have them ahead of time."""
        try:
            written = self.learns.ranges() if isinstance(self.learns, pages.Own) else pages.own()
        except OSError:
            return  # in a root without procfs, or closed to who we are: the next one tells
        self.say("written", written)

    def finish(self) -> None:
        """The part an exec shares: directory, identity, executable, the word, the tail."""
        which = self.process
        self.step, self.path = "chdir", which["cwd"]  # type: ignore[assignment]
        entered = self._enter_directory()
        self.step, self.path = "identity", b""
        assert self.stdio is not None
        terminal = bool(self.plan["stdio"]["terminal"])  # type: ignore[index]
        process.take_stdio(self.stdio, which["uid"], terminal=terminal)  # type: ignore[arg-type]
        process.identity(which)
        if not entered:
            self.step, self.path = "chdir", which["cwd"]  # type: ignore[assignment]
            process.enter_directory(which)
        self.step = "exec"
        if which["umask"] is None:
            os.umask(0o022)
        tail = process.Tail(which)
        tail.find(which)
        if which["personality"] is not None:
            credentials.personality(which["personality"])  # type: ignore[arg-type]
        self.say("ready", attach=() if self.mounts < 0 else (self.mounts,))
        if self.plan["eager"]:
            self.check()
        else:
            self.wait_for_start()
        self.step = "seccomp"
        tail.enter()
        if "startContainer" in self.plan["hooks"]:  # type: ignore[operator]
            self.step = "hook"  # in the container's confinement, as runc has it
            hooks.run(self.plan, "startContainer", b"created", os.getpid())
        if tail.notify >= 0:
            self.say("notify", *which["seccomp_notify"], attach=(tail.notify,))  # type: ignore[misc]
        self.step = "exec"
        if self.plan["init"]:
            reaper.run(tail, self.channel)
        tail.replace()

    def wait_for_start(self) -> None:
        """Wait for the monitor's word, or, between OCI create and start, for someone to open the FIFO."""
        if self.gate < 0:
            return self.wait()
        self.step = "gate"
        os.close(os.open(b"self/fd/%d" % self.gate, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self.proc))
        os.close(self.gate)
        os.close(self.proc)

    def _enter_directory(self) -> bool:
        # As the engine first: a directory may be closed to the user by mode bits, which root passes. Then as the user:
        # on a file system that squashes root only the user may enter.
        try:
            process.enter_directory(self.process)
        except PermissionError as error:
            if error.filename is not None and error.strerror == os.strerror(13):
                return False
            raise
        return True


def join_cgroup(path: bytes) -> None:
    """Put the caller itself, which has one thread, into the group of a cgroup.procs file."""
    try:
        # v1: a thread that moves itself needs no lock on all processes, the wait for which takes milliseconds
        fd = os.open(path.removesuffix(b"cgroup.procs") + b"tasks", os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"0")
    finally:
        os.close(fd)
