"""`tiffin volume ls`, `create`, `rm`, `update`; and `copy`, `rename`, `export`, `import`, which docker has not."""

from __future__ import annotations

import sys

from tiffin.cli import flags, flags_process, terminal, units
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.container_files import receive, refuse_terminal
from tiffin.cli.container_list import labels_text
from tiffin.cli.flags import Flag
from tiffin.cli.formats import table_format
from tiffin.cli.image_files import open_file, pieces
from tiffin.cli.kinds import BYTES, FILTER, MAP, STRING
from tiffin.cli.table import Format, Row, show
from tiffin.client.engine import quote
from tiffin.errors import TiffinError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS = {
    "Name": "VOLUME NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Size": "SIZE",
    "Group": "GROUP",
    "Availability": "AVAILABILITY",
    "Status": "STATUS",
}


def row(volume: dict[str, Any]) -> Row:
    """A volume as templates see it; links and size only where /system/df told them."""
    labels = volume.get("Labels") or {}
    usage = volume.get("UsageData")
    return Row(
        {
            "Name": volume["Name"],
            "Driver": volume["Driver"],
            "Scope": volume.get("Scope", ""),
            "Mountpoint": volume.get("Mountpoint", ""),
            "Labels": labels_text(labels),
            "Links": str(usage["RefCount"]) if usage else "N/A",
            "Size": units.size(usage["Size"], 4) if usage and usage["Size"] >= 0 else "N/A",
            "Group": "N/A",
            "Availability": "N/A",
            "Status": "N/A",
        },
        {"Label": lambda name: labels.get(name, "")},
        "*formatter.volumeContext",
    )


_RAW = "name: {{.Name}}\ndriver: {{.Driver}}\n"


def list_volumes(call: Call) -> int:
    values = call.values
    if values.on("cluster"):
        raise Unsupported("cluster volumes are not supported by tiffin")
    volumes = call.engine.get("/volumes", filters=values.get("filter") or None).get("Volumes") or []
    volumes.sort(key=lambda volume: volume["Name"])
    text = values.text("format")
    if values.on("quiet") and not text:
        for volume in volumes:
            call.say(volume["Name"])
        return 0
    text = text or call.session.settings.text("volumesFormat") or "table"
    show(call, Format(text, "{{.Driver}}\t{{.Name}}", raw=_RAW), HEADERS, [row(volume) for volume in volumes])
    return 0


_CLUSTER = ("availability", "group", "limit-bytes", "required-bytes", "scope", "secret", "sharing", "type")


def create(call: Call) -> int:
    values = call.values
    if any(values.changed(name) for name in (*_CLUSTER, "topology-preferred", "topology-required")):
        raise Unsupported("cluster volumes are not supported by tiffin")
    name = call.operands[0] if call.operands else values.text("name")
    if call.operands and values.text("name"):
        raise Failed("conflicting options: cannot specify a volume-name through both --name and as a positional arg")
    body = {
        "Name": name,
        "Driver": values.text("driver"),
        "DriverOpts": values.map("opt"),
        "Labels": flags_process.as_map(values.list("label")),
    }
    call.say(call.engine.post("/volumes/create", body)["Name"])
    return 0


def remove(call: Call) -> int:
    force = call.values.on("force")

    def one(name: str) -> None:
        call.engine.delete(f"/volumes/{quote(name)}", force=force)

    return call.each(call.operands, one)


def copy(call: Call) -> int:
    source, target = call.operands
    body: dict[str, Any] = {"Name": target}
    if call.values.changed("label"):
        body["Labels"] = flags_process.as_map(call.values.list("label"))
    call.say(call.engine.post(f"/tiffin/volumes/{quote(source)}/copy", body, force=call.values.on("force"))["Name"])
    return 0


def rename(call: Call) -> int:
    name, new = call.operands
    call.engine.post(f"/tiffin/volumes/{quote(name)}/rename", {"Name": new})
    return 0


def export(call: Call) -> int:
    path = call.values.text("output")
    refuse_terminal(path, "")
    query = {"force": call.values.on("force") or None}
    receive(call, call.engine.request("GET", f"/tiffin/volumes/{quote(call.operands[0])}/export", query), path)
    return 0


def import_volume(call: Call) -> int:
    name, path = call.operands[0], call.operands[1] if len(call.operands) > 1 else "-"
    if path == "-" and terminal.is_terminal(terminal.STDIN):
        raise Failed("requested import from stdin, but stdin is a terminal: name a file or redirect")
    source = sys.stdin.buffer if path == "-" else open_file(path)
    query = {"label": call.values.list("label")}
    headers = {"Content-Type": "application/x-tar"}
    target = f"/tiffin/volumes/{quote(name)}/import"
    call.say(call.engine.call("POST", target, query, pieces(source), headers)["Name"])
    return 0


def update(call: Call) -> int:
    if not call.operands:
        raise TiffinError("only cluster volumes can be updated")
    raise Unsupported("cluster volumes are not supported by tiffin")


_AVAILABILITY = flags.text("availability", 'Cluster volume availability ("active", "pause", "drain")', default="active")

_FORCE = flags.switch("force", "Even though a running container may be writing to it", "f")

COMMANDS = {
    "volume ls": Command(
        "volume ls",
        list_volumes,
        "",
        (
            flags.switch("cluster", "Display only cluster volumes"),
            Flag("filter", FILTER, 'Show only what these conditions fit (e.g. "dangling=true")', short="f"),
            table_format(),
            flags.switch("quiet", "Only display volume names", "q"),
        ),
    ),
    "volume create": Command(
        "volume create",
        create,
        "[VOLUME]",
        (
            _AVAILABILITY,
            flags.text("driver", "Specify volume driver name", "d", "local"),
            flags.text("group", "Cluster volume group"),
            Flag("label", flags_process.LABELS, "Set a label on the volume"),
            Flag("limit-bytes", BYTES, "Maximum size of the cluster volume"),
            Flag("name", STRING, "Specify volume name", hidden=True),
            Flag("opt", MAP, "Set driver specific options", short="o"),
            Flag("required-bytes", BYTES, "Minimum size of the cluster volume"),
            flags.text("scope", 'Cluster volume access scope ("single", "multi")', default="single"),
            Flag("secret", MAP, "Cluster volume secrets"),
            flags.text("sharing", 'Cluster volume sharing ("none", "readonly", "onewriter", "all")', default="none"),
            flags.several("topology-preferred", "Where the cluster volume should be"),
            flags.several("topology-required", "Where the cluster volume must be"),
            flags.text("type", 'Cluster volume access type ("mount", "block")', default="block"),
        ),
        most=1,
    ),
    "volume rm": Command(
        "volume rm",
        remove,
        "VOLUME [VOLUME...]",
        (flags.switch("force", "Force the removal of one or more volumes", "f"),),
        least=1,
        most=None,
    ),
    "volume copy": Command(
        "volume copy",
        copy,
        "VOLUME NEW_VOLUME",
        (_FORCE, Flag("label", flags_process.LABELS, "Set a label, in place of those of the first volume")),
        least=2,
        most=2,
    ),
    "volume rename": Command("volume rename", rename, "VOLUME NEW_NAME", (), least=2, most=2),
    "volume export": Command(
        "volume export",
        export,
        "VOLUME",
        (_FORCE, flags.text("output", "Write to a file instead of STDOUT", "o")),
        least=1,
        most=1,
    ),
    "volume import": Command(
        "volume import",
        import_volume,
        "NEW_VOLUME [FILE|-]",
        (Flag("label", flags_process.LABELS, "Set a label on the volume"),),
        least=1,
        most=2,
    ),
    "volume update": Command("volume update", update, "[VOLUME]", (_AVAILABILITY,), most=1),
}
