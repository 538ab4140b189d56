"""Forking the stage: a container's first process, and further ones (exec). Raises OSError.

Whoever calls is, or is made, the parent of the process: it must be child subreaper, because with a user namespace an
intermediate process has to enter it before the pid namespace can be made, and leaves. Read alongside: stage.py.
"""

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import _socket as socket
import errno
import marshal
import os
from collections.abc import Callable

from tiffin.linux import clone, fds, mounts, namespaces
from tiffin.runtime import controls, plan_memory
from tiffin.runtime.stage import Plan, Stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from tiffin.runtime.ahead import Ahead

Stdio = tuple[int, int, int] | None
_EXEC_FLAGS = (
    namespaces.CLONE_NEWNS
    | namespaces.CLONE_NEWCGROUP
    | namespaces.CLONE_NEWUTS
    | namespaces.CLONE_NEWIPC
    | namespaces.CLONE_NEWNET
)


class Refused(OSError):
    """The stage reported a failure before there was a process."""

    def __init__(self, step: str, number: int, path: bytes, text: str) -> None:
        super().__init__(number, text, path)
        self.step = step


def receive(channel: socket.socket) -> tuple[tuple[object, ...], list[int]]:
    """One message of the stage; () at the end of the stream. Refused where it is an error."""
    try:
        data, attached = fds.receive(channel)
    except ConnectionResetError:  # told once, and before what it has said: it left without reading something of ours
        data, attached = fds.receive(channel)
    message: tuple[object, ...] = marshal.loads(data) if data else ()
    if message and message[0] == "error":
        raise Refused(*message[1:])  # type: ignore[arg-type]
    return message, attached


def joined(plan: Plan, flag: int) -> bytes | None:
    """The path of the namespace of one kind that is to be joined."""
    for kind, path in plan["join"]:  # type: ignore[attr-defined]
        if kind == flag:
            return path  # type: ignore[no-any-return]
    return None


def enter_for_children(plan: Plan) -> None:
    """pid and time namespaces: they take effect for the children of whoever enters."""
    for flag in (namespaces.CLONE_NEWPID, namespaces.CLONE_NEWTIME):
        path = joined(plan, flag)
        if path is not None:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            namespaces.setns(fd, flag)
            os.close(fd)
    flags: int = plan["unshare"]  # type: ignore[assignment]
    flags &= namespaces.CLONE_NEWPID | namespaces.CLONE_NEWTIME
    if flags:
        namespaces.unshare(flags)
    if plan["time_offsets"] and flags & namespaces.CLONE_NEWTIME:
        fd = os.open(b"/proc/self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, plan["time_offsets"])  # type: ignore[arg-type]
        os.close(fd)


def _leave_for_children() -> None:
    """Our next children are the host's again: a hook, a compressor, must not live among the container's processes."""
    for flag in (namespaces.CLONE_NEWPID, namespaces.CLONE_NEWTIME):
        try:
            fd = os.open(f"/proc/self/ns/{namespaces.NAMES[flag]}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # a kernel without time namespaces
        try:
            namespaces.setns(fd, flag)
        finally:
            os.close(fd)


def has_user_namespace(plan: Plan) -> bool:
    """Whether the container lives in a user namespace that is not the engine's."""
    made: int = plan["unshare"] & namespaces.CLONE_NEWUSER  # type: ignore[operator]
    return bool(made) or joined(plan, namespaces.CLONE_NEWUSER) is not None


def fork(plan: Plan, fork_into: Callable[[int], int] = clone.fork_into) -> tuple[int, bytes]:
    """Fork a stage: its pid, and the cgroup.procs file of the group in which it was born, or b"".

    fork_into: makes it; of a cgroup2 directory's descriptor, or of none.
    """
    procs: tuple[bytes, ...] = plan["procs"]  # type: ignore[assignment]
    for path in procs[-1:]:  # the cgroup2 tree is the last
        directory = -1
        try:
            directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if mounts.magic(directory) == mounts.CGROUP2_SUPER_MAGIC:
                return fork_into(directory), path
        except OSError:
            pass  # the stage tries the other way, and says why it can't
        finally:
            if directory >= 0:
                os.close(directory)
    return fork_into(-1), b""


def begin(
    plan: Plan, stdio: Stdio, whole: int, ahead: "Ahead | None" = None, *, learns: bool = False
) -> tuple[int, socket.socket]:
    """Make the control groups, and a stage: `first`, or the one ahead, which has the plan. Refused for a group.

    With "later" the stage is at work already when most groups are made.
    """
    if ahead is None:
        make_groups(plan, birthplace=True)
        pid, channel = first(plan, stdio, whole, learns=learns)
    else:
        pid, channel = 0, ahead.channel
    try:
        make_groups(plan, birthplace=False)
    except Refused:
        pid = ahead.born() if ahead else pid
        os.kill(pid, _signal.SIGKILL)  # it waits for us, in a group that is to be removed
        os.waitpid(pid, 0)
        channel.close()
        raise
    if plan["later"]:
        try:
            fds.send(channel, b"go")
        except OSError:
            pass  # it is gone; what it has said tells why
    return ahead.born() if ahead else pid, channel


def make_groups(plan: Plan, *, birthplace: bool) -> None:
    """Those that are there before the stage is born, or the others, with "later". Refused."""
    place = os.path.dirname(plan["procs"][-1]) if plan["later"] else b""  # type: ignore[index]
    operations: tuple[controls.Operation, ...] = plan["cgroup"]  # type: ignore[assignment]
    for operation in operations:
        if operation[1].startswith(place) is not birthplace:  # type: ignore[attr-defined]
            continue
        try:
            controls.execute(operation)
        except OSError as error:
            path = error.filename if isinstance(error.filename, bytes) else operation[1]
            raise Refused("cgroup", error.errno or 0, path, str(error.strerror)) from None  # type: ignore[arg-type]


def first(plan: Plan, stdio: Stdio, whole: int = -1, *, learns: bool = False) -> tuple[int, socket.socket]:
    """Start a container's first process: its pid, and the channel on which its stage talks.

    whole: the memfd in which the stage finds the plan with all that only a stage needs, behind the monitor's part.
    learns: the stage is to say which pages it wrote to.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    user = has_user_namespace(plan)
    if not user:
        enter_for_children(plan)
    pid, born = fork(plan)
    if pid == 0:
        ours.close()
        if whole >= 0:
            plan = plan_memory.stage_part(whole)
        stage = Stage(plan, theirs, stdio)

        def become() -> None:
            stage.learns = learns
            stage.prepare(born)
            if user:
                stage.prepare_sources()
                _cross(plan, stage)
            stage.run()

        telling(stage, become)
    theirs.close()
    if user:
        pid = _crossed(plan, ours, pid)
    else:
        _leave_for_children()
    return pid, ours


def _cross(plan: Plan, stage: Stage) -> None:
    """The intermediate process enters the user namespace, then forks the one that stays."""
    stage.step, stage.path = "user", joined(plan, namespaces.CLONE_NEWUSER) or b""
    others = [(f, p) for f, p in plan["join"] if f != namespaces.CLONE_NEWUSER]  # type: ignore[attr-defined]
    if stage.path:
        fd = os.open(stage.path, os.O_RDONLY | os.O_CLOEXEC)
        # What is opened by path is opened as the host's root, what is entered is entered as the namespace's.
        opened = tuple((f, b"/proc/self/fd/%d" % os.open(p, os.O_RDONLY | os.O_CLOEXEC)) for f, p in others)
        namespaces.setns(fd, namespaces.CLONE_NEWUSER)
        os.close(fd)
    else:
        opened = tuple((f, b"/proc/self/fd/%d" % os.open(p, os.O_RDONLY | os.O_CLOEXEC)) for f, p in others)
        namespaces.unshare(namespaces.CLONE_NEWUSER)
    stage.say("map")
    stage.wait()
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    plan["join"] = opened
    enter_for_children(plan)
    _stay_behind(stage)


def _stay_behind(stage: Stage) -> None:
    """Fork the process that stays. The intermediate one says which and ends, before the other says or does anything."""
    ended, ending = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid:
        stage.say("pid", pid)
        os._exit(0)
    os.close(ending)
    os.read(ended, 1)
    os.close(ended)


def stayed(channel: socket.socket) -> int:
    """The pid of the process that is the stage from now on, as it is said by who was before."""
    message, _ = receive(channel)
    if not message:
        raise OSError(errno.ECHILD, "the stage ended before it had begun")
    return int(message[1])  # type: ignore[call-overload, no-any-return]


def _crossed(plan: Plan, channel: socket.socket, intermediate: int) -> int:
    """The other side: write the maps, learn the pid, reap the intermediate process."""
    try:
        receive(channel)
        if plan["unshare"] & namespaces.CLONE_NEWUSER:  # type: ignore[operator]
            user: tuple[bytes, bytes, bool] = plan["user"]  # type: ignore[assignment]
            uid_map, gid_map, deny_setgroups = user
            names = [(b"uid_map", uid_map), (b"gid_map", gid_map)]
            for name, content in ([(b"setgroups", b"deny")] if deny_setgroups else []) + names:
                fd = os.open(b"/proc/%d/%s" % (intermediate, name), os.O_WRONLY | os.O_CLOEXEC)
                try:
                    os.write(fd, content)
                finally:
                    os.close(fd)
        fds.send(channel, b"go")
        return stayed(channel)
    finally:
        try:
            os.waitpid(intermediate, 0)
        except ChildProcessError:
            pass


def telling(stage: Stage, become: Callable[[], None]) -> "NoReturn":
    """Be a stage: whatever it fails at is told."""
    try:
        become()
    except OSError as error:
        stage.step = error.step if isinstance(error, Refused) else stage.step
        stage.fail(error)
    except BaseException as error:  # a mistake of ours: it must not end without a word
        stage.fail(OSError(0, f"{type(error).__name__}: {error}"))
    finally:
        os._exit(127)


def further(plan: Plan, pidfd: int, stdio: Stdio) -> tuple[int, socket.socket]:
    """Start another process in a running container. plan: the container's, with this process and its stdio in place."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    user, pid = has_user_namespace(plan), -1
    if not user:
        namespaces.setns(pidfd, namespaces.CLONE_NEWPID)
    try:
        pid, born = fork(plan)
    finally:
        if not user and pid != 0:
            _leave_for_children()
    if pid == 0:
        ours.close()
        stage = Stage(plan, theirs, stdio)
        telling(stage, lambda: join(plan, stage, pidfd, born))
    theirs.close()
    if user:
        intermediate = pid
        try:
            pid = stayed(ours)
        finally:
            os.waitpid(intermediate, 0)
    return pid, ours


def join(plan: Plan, stage: Stage, pidfd: int, born: bytes) -> None:
    """In a further process, born in a group (see `fork`) and, but for a user namespace, in its pid namespace: be it."""
    user = has_user_namespace(plan)
    stage.prepare(born)
    stage.step = "join"
    flags = _EXEC_FLAGS
    if user:
        flags |= namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWPID
    if plan["unshare"] & namespaces.CLONE_NEWTIME:  # type: ignore[operator]
        flags |= namespaces.CLONE_NEWTIME
    namespaces.setns(pidfd, flags)
    if user:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        _stay_behind(stage)
    stage.join()
