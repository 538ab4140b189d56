"""`tiffin volume ls`, `create`, `rm`, `update`."""

from __future__ import annotations

from tiffin.cli import flags, flags_process, units
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.container_list import labels_text
from tiffin.cli.flags import Flag
from tiffin.cli.formats import table_format
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
    show(call, Format(text, "{{.Driver}}\t{{.Name}}"), HEADERS, [row(volume) for volume in volumes])
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


def update(call: Call) -> int:
    if not call.operands:
        raise TiffinError("only cluster volumes can be updated")
    raise Unsupported("cluster volumes are not supported by tiffin")


_AVAILABILITY = flags.text("availability", 'Cluster volume availability ("active", "pause", "drain")', default="active")

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
    "volume update": Command("volume update", update, "[VOLUME]", (_AVAILABILITY,), most=1),
}
