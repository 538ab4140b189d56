"""A container's plan, and the same ahead of its start: made between the answers to create and to start, while nobody
waits for it. A plan is a function of its `Facts`; a start that finds them as they were foreseen need not make it again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tiffin.containers import spec
from tiffin.engine import container_external
from tiffin.engine.container_context import Context
from tiffin.linux import mounts
from tiffin.model.container import Container
from tiffin.model.mount import Mount
from tiffin.runtime import compile_machine
from tiffin.runtime.compile import compile_spec
from tiffin.runtime.plan import Operation, file, propagation, symlink

Plan = dict[str, Any]
_FORESEEN = 16  # plans; of containers that are created and not started the oldest are made again


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a plan depends on.

    networked   whether the engine gives it interfaces; `sysctls` are for them, `named` whether it has our name server
    log         as in plan.py
    """

    container: Container
    around: spec.Surroundings
    layers: tuple[Mount, ...]
    log: Mapping[str, Any] | None
    init: bool
    networked: bool
    named: bool
    sysctls: Mapping[str, str]


class Plans:
    def __init__(self, context: Context, root_at: Path) -> None:
        """root_at: the directory on which stages mount their root file systems."""
        self._context, self._root_at = context, root_at
        self._machine = compile_machine.detect()
        self._foreseen: dict[str, tuple[Facts, Plan]] = {}

    def foresee(self, facts: Facts) -> Plan:
        """Make the plan already, of a container that tiffin's own runtime starts. Raises Invalid."""
        while len(self._foreseen) >= _FORESEEN:
            del self._foreseen[next(iter(self._foreseen))]
        plan = self._compiled(facts, _document(facts), None)
        self._foreseen[facts.container.id] = facts, plan
        return plan

    def just_made(self, container: Container, networked: bool, named: bool, sysctls: Mapping[str, str]) -> Plan | None:
        """What was foreseen within the last second: these are the facts that may have changed since."""
        facts, plan = self._foreseen.get(container.id, (None, None))
        if facts is None or facts.container != container:
            return None
        if (facts.networked, facts.named, facts.sysctls) != (networked, named, sysctls):
            return None
        del self._foreseen[container.id]
        return plan

    def of(self, facts: Facts, undo: AsyncExitStack) -> Plan:
        """The plan for a start. Raises Invalid, OSError."""
        foreseen, plan = self._foreseen.pop(facts.container.id, (None, {}))
        if foreseen == facts:
            return plan
        document = _document(facts)
        external = container_external.prepare(self._context, facts.container, document, facts.layers, undo)
        return self._compiled(facts, document, external)

    def _compiled(self, facts: Facts, document: dict[str, Any], external: dict[str, Any] | None) -> Plan:
        container = facts.container
        state = str(self._context.state(container.id))
        plan: Plan = compile_spec(
            document,
            container_id=container.id,
            state_dir=state,
            bundle=state,
            stdio={"stdin": container.config.open_stdin, "stdin_once": container.config.stdin_once},
            log=facts.log,
            root=facts.layers[-1],
            root_at=str(self._root_at),
            machine=self._machine,
            init=facts.init,
            network=facts.networked,
            external=external,
        )
        plan["ephemeral"] = container.host.auto_remove
        if facts.named:
            plan["network"] = "resolver"
        operations = _with_mark(cast(tuple[Operation, ...], plan["operations"]))
        if document["linux"].get("rootfsPropagation") == "shared":
            operations = self._with_private_parent(operations)
        plan["operations"] = operations
        return plan

    def _with_private_parent(self, operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
        """pivot_root refuses a root below a shared mount: where everything is shared it gets one of its own."""
        at = os.fsencode(self._root_at)
        if not os.path.ismount(at):
            mounts.mount(at, at, None, mounts.MS_BIND)
        return (operations[0], propagation(mounts.MS_PRIVATE, at), *operations[1:])


def _document(facts: Facts) -> dict[str, Any]:
    document = spec.build(facts.container, facts.around)
    if facts.networked:
        document["linux"]["sysctl"] = {**document["linux"].get("sysctl", {}), **facts.sysctls}
    return document


def _with_mark(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """Docker's mark for programs that want to know where they are; its link for those that read the list of mounts."""
    entering = next(number for number, one in enumerate(operations) if one[0] in ("pivot", "move_root"))
    marks = file(b"/.dockerenv", b"", 0o755), symlink(b"/etc/mtab", b"/proc/mounts")
    return (*operations[:entering], *marks, *operations[entering:])
