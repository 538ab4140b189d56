"""`tiffin top` and `tiffin port`."""

from __future__ import annotations

from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.container_list import host_and_port
from tiffin.cli.port_specs import port_range
from tiffin.cli.table import align
from tiffin.client.engine import quote


def top(call: Call) -> int:
    name, *options = call.operands
    answer = call.engine.get(f"/containers/{quote(name)}/top", ps_args=" ".join(options) or None)
    rows = ["\t".join(answer["Titles"]), *("\t".join(process) for process in answer["Processes"] or [])]
    call.say(align("\n".join(rows), least=20, gap=3))
    return 0


def port(call: Call) -> int:
    name = call.operands[0]
    container = call.engine.get(f"/containers/{quote(name)}/json")
    published: dict[str, list[dict[str, str]] | None] = (container.get("NetworkSettings") or {}).get("Ports") or {}
    if len(call.operands) == 1:
        lines = [
            f"{inner} -> {host_and_port(binding['HostIp'], binding['HostPort'])}"
            for inner, bindings in published.items()
            for binding in bindings or []
        ]
        for line in sorted(lines, key=_by_port):
            call.say(line)
        return 0
    number, _, protocol = call.operands[1].partition("/")
    try:
        port_range(number)
    except ValueError as error:
        raise Failed(f"Error: invalid port ({number}): {error}") from error
    wanted = f"{number}/{protocol or 'tcp'}"
    found = published.get(wanted)
    if not found:
        raise Failed(f"Error: No public port '{call.operands[1]}' published for {name}")
    for binding in found:
        call.say(host_and_port(binding["HostIp"], binding["HostPort"]))
    return 0


def _by_port(line: str) -> tuple[int, str]:
    return int(line.partition("/")[0]), line


COMMANDS = {
    "container top": Command("container top", top, "CONTAINER [ps OPTIONS]", least=1, most=None, interspersed=False),
    "container port": Command("container port", port, "CONTAINER [PRIVATE_PORT[/PROTO]]", least=1, most=2),
}
