"""Shells in steps that failed: the step's files, user, variables, directory and mounts, without its secrets."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from tiffin.build.solve.execution import Tools, finished
from tiffin.build.solve.failed import Failed
from tiffin.build.solve.ports import Process
from tiffin.build.solve.request import BuildRequest
from tiffin.build.solve.running import Running
from tiffin.build.solve.threads import in_thread
from tiffin.build.steps import RunCommand, SecretMount, SshMount
from tiffin.engine.builds_run import Runner
from tiffin.errors import Invalid
from tiffin.runtime.handles import Attachment

_SHELLS = ("sh", "ash", "bash", "dash", "ksh", "zsh")


class Shells:
    """Of all builds."""

    def __init__(self, tools: Tools, runner: Runner) -> None:
        self._tools, self._runner = tools, runner
        self._failed = tools.store.failed

    def listed(self) -> list[Failed]:
        """Newest first."""
        return self._failed.listed()

    def ids(self) -> Collection[str]:
        """Copies of layers that are builds', not containers'."""
        return self._failed.ids() | set(self._tools.store.copies)

    def take(self, id: str) -> Failed:
        """One of them, to be opened. `id`: its beginning; "" for the newest. NotFound."""
        return self._failed.take(id)

    def give_back(self, failed: Failed) -> None:
        """It was not opened after all."""
        self._failed.give_back(failed)

    async def open(self, failed: Failed, command: Sequence[str], client: Attachment, size: tuple[int, int]) -> int:
        """Run a command (or the step's shell) on the client's terminal; its exit status. The files go with its end.

        Raises Invalid for what can't be started: then they stay.
        """
        step = replace(
            failed.step,
            arguments=tuple(command) or (_shell(failed.step),),
            mounts=tuple(one for one in failed.step.mounts if not isinstance(one, SecretMount | SshMount)),
        )
        terminal = _Terminal(self._runner, client, size)
        tools, inputs = self._tools, list(failed.inputs)
        running = Running(tools.store, tools.directories, terminal, failed.request, tools.place / failed.id)
        started = True
        try:
            code, _ = await running.run(step, inputs, failed.id, failed.below, lambda stream, data: None)
            return code
        except Invalid:
            started = False
            self._failed.give_back(failed)
            raise
        finally:
            if not terminal.taken:
                os.close(client.fd)
            if started:
                await finished(in_thread(self._failed.done, failed))

    async def resize(self, id: str, height: int, width: int) -> None:
        await self._runner.resize(id, height, width)


@dataclass(slots=True)
class _Terminal:
    """Implements `build.solve.ports.Runner`: one process, on a client's terminal."""

    runner: Runner
    client: Attachment
    size: tuple[int, int]
    taken: bool = False

    @property
    def own(self) -> Collection[bytes]:
        return self.runner.own

    async def run(self, process: Process, request: BuildRequest, output: Callable[[int, bytes], None]) -> int:
        self.taken = True
        return await self.runner.shell(process, request, self.client, self.size)


def _shell(step: RunCommand) -> str:
    first = step.arguments[0] if step.arguments else ""
    return first if os.path.basename(first) in _SHELLS else "/bin/sh"
