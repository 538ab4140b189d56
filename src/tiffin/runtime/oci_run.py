"""create, start, run and exec of the OCI runtime CLI."""

import os
import select
import shutil
import signal
from collections.abc import Callable
from typing import Any

from tiffin.errors import Conflict, Invalid, NotFound, TiffinError, Unsupported
from tiffin.linux import cgroups_live, namespaces
from tiffin.runtime import compile_machine, controls, hooks, oci_bundle, oci_launch, oci_log, oci_state, oci_terminal
from tiffin.runtime.compile import compile_spec
from tiffin.runtime.oci_options import Parsed

SIGNALLED = 128


def create(root: str, options: Parsed) -> int:
    """Everything but the process itself, which waits until `start` opens the FIFO."""
    _bring_up(root, options, detach=True, gate=True)
    return 0


def run(root: str, options: Parsed) -> int:
    """create and start; without --detach also wait and delete. The process's exit status."""
    detach = options.on("detach")
    container, launched, relay = _bring_up(root, options, detach=detach, gate=False)
    if not detach:
        hold_signals()
    try:
        launched.go()
        _hooks(container, launched.plan, "poststart", b"running")
    except TiffinError:
        if relay is not None:
            relay.restore()
        discard(container)
        raise
    if detach:
        return 0
    status = supervise(launched.pid, relay)
    if not options.on("keep"):
        destroy(container)
    return status


def start(root: str, options: Parsed) -> int:
    """Let a created container's process go."""
    container = oci_state.load(root, options.arguments[0])
    status = container.status()
    if status == "stopped":
        raise Conflict("cannot start a container that has stopped")
    if status != "created":
        raise Conflict("cannot start an already running container")
    _open_gate(container)
    os.unlink(container.fifo)
    compiled = _compile(container, machine=compile_machine.detect())
    _hooks(container, compiled, "poststart", b"running")
    return 0


def _open_gate(container: oci_state.Container) -> None:
    """Stay until the process has come by: a reader that leaves early would let it block for ever."""
    pidfd = namespaces.pidfd_open(container.pid)
    gate = os.open(container.fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        poll = select.poll()
        poll.register(gate, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        ready = [fd for fd, _ in poll.poll()]
    finally:
        os.close(gate)
        os.close(pidfd)
    if gate not in ready:
        raise Conflict("container process is already dead")


def _compile(container: oci_state.Container, machine: compile_machine.Machine, **more: Any) -> dict[str, Any]:
    return compile_spec(
        container.spec,
        container_id=container.id,
        state_dir=container.directory,
        bundle=container.bundle,
        machine=machine,
        **more,
    )


def _bring_up(
    root: str, options: Parsed, *, detach: bool, gate: bool
) -> tuple[oci_state.Container, oci_launch.Launched, oci_terminal.Relay | None]:
    pid_file = os.path.abspath(options.text("pid_file")) if options.text("pid_file") else ""
    bundle = os.path.abspath(options.text("bundle") or ".")
    spec = oci_bundle.load_spec(bundle)
    container_id = options.arguments[0]
    oci_state.check_id(container_id)
    terminal = bool(spec["process"].get("terminal"))
    oci_terminal.check(terminal, options.text("console_socket"), detach=detach)
    oci_bundle.check_rootfs(bundle, spec)
    kept = oci_bundle.inherited(options.number("preserve_fds"))
    container = oci_state.Container(
        directory=oci_state.reserve(root, container_id),
        id=container_id,
        bundle=bundle,
        rootfs=os.path.join(bundle, spec["root"]["path"]),
        spec=spec,
        created=oci_state.now(),
    )
    machine = compile_machine.detect()
    launched = relay = None
    try:
        compiled = _compile(
            container,
            machine,
            gate=container.fifo.encode() if gate else None,
            pivot=not options.on("no_pivot"),
            keyring=not options.on("no_new_keyring"),
        )
        oci_bundle.complete(compiled["process"], container.rootfs, kept)
        if gate and compiled["process"]["seccomp_notify"]:
            raise Unsupported("SCMP_ACT_NOTIFY needs `run`: between create and start nobody holds the listener")
        _remember_groups(container, machine)
        if gate:
            os.mkfifo(container.fifo, 0o622)
        console, relay = open_console(options.text("console_socket"), terminal)
        launched = oci_launch.first(compiled, None if terminal else (0, 1, 2))
        container.pid = launched.pid
        oci_log.debug(f"container process {launched.pid} prepares its file system")
        launched.until_ready(console)
        oci_log.debug(f"container process {launched.pid} is ready to execute {container.spec['process']['args']}")
        container.start_time = oci_state.process_start_time(launched.pid)
        container.save()
        if pid_file:
            write_pid(pid_file, launched.pid)
    except BaseException:
        if relay is not None:
            relay.restore()
        if launched is not None:
            discard(container)
        else:
            shutil.rmtree(container.directory, ignore_errors=True)
        raise
    return container, launched, relay


def _remember_groups(container: oci_state.Container, machine: compile_machine.Machine) -> None:
    from tiffin.runtime.compile import cgroups_path

    place = machine.hierarchies.place(cgroups_path(container.spec.get("linux") or {}, container.id))
    if cgroups_live.frozen(place):
        raise Conflict("container's cgroup unexpectedly frozen")
    if cgroups_live.exists(place):
        others = len(cgroups_live.pids(place))
        if others:
            oci_log.warning(f"container's cgroup is not empty: {others} process(es) found")
    container.groups, container.cgroup_version = place.directories, place.version


def open_console(socket_path: str, terminal: bool) -> tuple[Callable[[int], None], oci_terminal.Relay | None]:
    if not terminal:
        return os.close, None
    if socket_path:
        return oci_terminal.to_socket(socket_path), None
    relay = oci_terminal.Relay()
    return relay.take, relay


def write_pid(path: str, pid: int) -> None:
    temporary = os.path.join(os.path.dirname(path), "." + os.path.basename(path))
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    os.write(fd, str(pid).encode())
    os.close(fd)
    os.rename(temporary, path)


def _held() -> set[signal.Signals]:
    return oci_terminal.forwarded_signals() | {signal.SIGCHLD, signal.SIGWINCH}


def hold_signals() -> None:
    """Before the process goes: what arrives from then on is for it, and waits until `supervise` can pass it on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _held())


def supervise(pid: int, relay: oci_terminal.Relay | None) -> int:
    """Forward signals and, with a relay, bytes, until the process ends: its exit status, 128 + n for signal n."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in oci_terminal.forwarded_signals():
        signal.signal(number, lambda number, _: _pass_on(pid, number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGWINCH, lambda *_: relay.resize() if relay else None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _held())
    exited: list[int] = []

    def ended() -> bool:
        while True:
            try:
                found, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if found == pid:
                code = os.waitstatus_to_exitcode(status)
                exited.append(code if code >= 0 else SIGNALLED - code)
            if not found:
                return bool(exited)

    if relay is not None:
        try:
            relay.run(ended, reading)
        finally:
            relay.restore()
    else:
        while not ended():
            os.read(reading, 512)
    return exited[0] if exited else 255


def _pass_on(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _hooks(container: oci_state.Container, compiled: dict[str, Any], name: str, status: bytes) -> None:
    if name in compiled["hooks"]:
        try:
            hooks.run(compiled, name, status, container.pid)
        except OSError as error:
            path = os.fsdecode(error.filename or b"")
            raise oci_launch.StartFailed(f"error running hook {name}: {path}: {error.strerror}") from error


def discard(container: oci_state.Container) -> None:
    """Undo a start that failed: no hooks, nothing left."""
    if container.pid:
        _pass_on(container.pid, signal.SIGKILL)
    _remove(container)


def destroy(container: oci_state.Container) -> None:
    """Remove a container whose process has ended; what else lives in its groups is killed. poststop hooks run."""
    _remove(container)
    try:
        compiled = _compile(container, compile_machine.detect())
        _hooks(container, compiled, "poststop", b"stopped")
    except (Invalid, NotFound):
        pass  # the bundle may have changed; removing must work nevertheless


def _remove(container: oci_state.Container) -> None:
    if cgroups_live.exists(container.cgroup):
        cgroups_live.kill(container.cgroup)
        controls.kill(tuple(path.encode() for path in container.cgroup.procs()[-1:]))
        cgroups_live.remove(container.cgroup)
    shutil.rmtree(container.directory, ignore_errors=True)
