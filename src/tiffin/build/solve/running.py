"""RUN: what is mounted into it, secrets and agents included, and the process between two layers."""

import asyncio
import os
import secrets as random
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tiffin.build.solve import placing
from tiffin.build.solve.directories import Directories
from tiffin.build.solve.ports import Bind, Process, Runner
from tiffin.build.solve.request import BuildRequest
from tiffin.build.solve.store import Store
from tiffin.build.solve.threads import in_thread
from tiffin.build.solve.values import EMPTY, Files, Stack, Value
from tiffin.build.steps import BindMount, CacheMount, RunCommand, SecretMount, SshMount, TmpfsMount
from tiffin.errors import Forbidden, Invalid
from tiffin.linux import mounts, paths
from tiffin.snapshots import trees

Output = Callable[[int, bytes], None]
_AGENT = "/run/buildkit/ssh_agent.{}"


def check(step: RunCommand, request: BuildRequest) -> None:
    """Forbidden for what the client did not allow."""
    if step.network == "host" and "network.host" not in request.entitlements:
        raise Forbidden("granting entitlement network.host is not allowed by build daemon configuration")
    if step.security == "insecure" and "security.insecure" not in request.entitlements:
        raise Forbidden("granting entitlement security.insecure is not allowed by build daemon configuration")
    if any(required for _, required in step.devices):
        raise Invalid("RUN --device: CDI devices are not supported")


@dataclass(slots=True)
class Running:
    """One RUN. `place` is a directory of the engine's own, where others may not look."""

    store: Store
    directories: Directories
    runner: Runner
    request: BuildRequest
    place: Path

    async def run(
        self, step: RunCommand, inputs: list[Value], key: str, below: Stack, output: Output
    ) -> tuple[int, Process]:
        """The exit status, in a working copy `key` of the base."""
        check(step, self.request)
        async with AsyncExitStack() as undo:
            self.place.mkdir(mode=0o700, parents=True)
            undo.callback(clear, self.place)
            process = Process(key, below.chain, step, ())
            given = {name for name, _ in step.environment}
            environment = [
                f"{name}={value}"
                for name, value in (*step.environment, *(item for item in step.settings.proxy if item[0] not in given))
            ]
            binds: list[Bind] = []
            tmpfs: list[tuple[str, int]] = []
            agents = 0
            for mount in step.mounts:
                match mount:
                    case BindMount():
                        binds.append(await self._bind(mount, inputs[mount.input], undo))
                    case CacheMount():
                        value = None if mount.input is None else inputs[mount.input]
                        binds.append(await self._cache(mount, value, undo))
                    case TmpfsMount():
                        tmpfs.append((mount.target, mount.size))
                    case SecretMount():
                        bind = await self._secret(mount, environment, undo)
                        binds += [bind] if bind else []
                    case SshMount():
                        bind = await self._agent(mount, agents, undo)
                        if bind is not None:
                            if not agents and "SSH_AUTH_SOCK" not in given:
                                environment.append(f"SSH_AUTH_SOCK={bind.target}")
                            binds.append(bind)
                            agents += 1
            process = replace(process, environment=tuple(environment), binds=tuple(binds), tmpfs=tuple(tmpfs))
            if binds or tmpfs:
                targets = await in_thread(self._targets, key, process)
                process = replace(process, targets=targets)
            return await self.runner.run(process, self.request, output), process

    def _targets(self, key: str, process: Process) -> tuple[bytes, ...]:
        root = self.store.mounted(key)
        try:
            wanted = (*(bind.target for bind in process.binds), *(target for target, _ in process.tmpfs))
            return tuple(b"/" + b"/".join(placing.resolved(root, os.fsencode(target))) for target in wanted)
        finally:
            os.close(root)

    async def _bind(self, mount: BindMount, value: Value, undo: AsyncExitStack) -> Bind:
        source = await in_thread(self._attached, value, mount.read_only, undo)
        await in_thread(_must_exist, source, mount.source)
        return Bind(source, mount.target, mount.source.strip("/"), mount.read_only)

    def _attached(self, value: Value, read_only: bool, undo: AsyncExitStack) -> str:
        """The value as a directory of this machine. What is written to it is thrown away."""
        if isinstance(value, Files):
            if read_only:
                return str(value.path)
            value = self.store.layer_of(value, self.store.holds.take)
            undo.callback(self.store.holds.release, value)
        if read_only:
            root = undo.enter_context(self.store.opened(value))
        else:
            _, root = undo.enter_context(self.store.working(value))
        target = self.place / random.token_hex(4)
        target.mkdir(mode=0o700)
        self._attach(root, target, undo)
        return str(target)

    def _attach(self, tree: int, target: Path, undo: AsyncExitStack) -> None:
        place = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            mounts.attach(tree, place)
        finally:
            os.close(place)
        undo.callback(mounts.umount, os.fsencode(target), mounts.MNT_DETACH)

    async def _cache(self, mount: CacheMount, value: Value | None, undo: AsyncExitStack) -> Bind:
        path = await undo.enter_async_context(self.directories.mount(mount.id, mount.sharing))
        if value is not None and value != EMPTY:
            await in_thread(self._fill, path, value, mount.source)
        return Bind(str(path), mount.target, "", mount.read_only)

    def _fill(self, path: Path, value: Value, source: str) -> None:
        if any(path.iterdir()):
            return
        with self.store.opened(value) as root:
            try:
                given = paths.open_in(root, os.fsencode(source.lstrip("/")), os.O_RDONLY | os.O_DIRECTORY)
            except (FileNotFoundError, NotADirectoryError):
                raise Invalid(f"{source}: no such directory to fill a cache mount from") from None
            target = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                trees.copy(given, target)
            finally:
                os.close(given)
                os.close(target)

    async def _secret(self, mount: SecretMount, environment: list[str], undo: AsyncExitStack) -> Bind | None:
        value = await self.request.client.secret(mount.id)
        if value is None:
            if mount.required:
                raise Invalid(f"secret {mount.id}: not found")
            return None
        if mount.env is not None:
            environment.append(f"{mount.env}={value.decode('utf-8', 'surrogateescape')}")
        if mount.target is None:
            return None
        # in memory: a secret touches no disk
        target = self.place / random.token_hex(4)
        target.mkdir(mode=0o700)
        tmpfs = mounts.create(b"tmpfs", (b"mode=0700", b"size=%d" % max(len(value) + 4096, 1 << 16)))
        try:
            self._attach(tmpfs, target, undo)
        finally:
            os.close(tmpfs)
        file = target / "secret"
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as writing:
            writing.write(value)
            os.fchown(fd, mount.uid, mount.gid)
            os.fchmod(fd, mount.mode)
        return Bind(str(file), mount.target)

    async def _agent(self, mount: SshMount, number: int, undo: AsyncExitStack) -> Bind | None:
        client = self.request.client
        if not await client.has_agent(mount.id):
            if mount.required:
                raise Invalid(f"unset ssh forward key {mount.id}")
            return None
        path = self.place / f"agent.{number}"
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        undo.callback(listening.close)
        listening.setblocking(False)
        directory = os.open(self.place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # a socket's name has room for 107 bytes, which a data root may take up
            listening.bind(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)
        os.chown(path, mount.uid, mount.gid)
        os.chmod(path, mount.mode)
        listening.listen(16)
        task = asyncio.create_task(_serve(listening, lambda one: client.agent(mount.id, one)), name="ssh agent")

        async def end() -> None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        undo.push_async_callback(end)
        return Bind(str(path), mount.target or _AGENT.format(number), read_only=False)


async def _serve(listening: socket.socket, relay: Callable[[socket.socket], object]) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as relays:
        while True:
            connection, _ = await loop.sock_accept(listening)
            relays.create_task(_relayed(connection, relay))


async def _relayed(connection: socket.socket, relay: Callable[[socket.socket], object]) -> None:
    with connection:
        try:
            await relay(connection)  # type: ignore[misc]
        except Exception:
            return  # the other end went away: the process sees its connection end


def _must_exist(directory: str, inside: str) -> None:
    root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(paths.open_in(root, os.fsencode(inside.strip("/"))))
    except (FileNotFoundError, NotADirectoryError):
        raise Invalid(f'"{inside}": not found') from None
    finally:
        os.close(root)


def clear(place: Path) -> None:
    """Remove what was made to mount a RUN's sources on: never what is mounted there, or was."""
    for path in place.iterdir():
        while os.path.ismount(path):
            mounts.umount(os.fsencode(path), mounts.MNT_DETACH)
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
    place.rmdir()
