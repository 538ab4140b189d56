"""`tiffin system df`."""

from __future__ import annotations

from tiffin.cli import container_list, flags, image_list, units, volume
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.formats import table_format
from tiffin.cli.table import Format, Row, align, header, lines, show
from tiffin.cli.template_values import go_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}


def _row(name: str, total: int, active: int, size: int, reclaimable: int, shares: bool = True) -> Row:
    text = units.size(reclaimable, 4)
    if shares and size > 0:
        text += f" ({reclaimable * 100 // size}%)"
    return Row(
        {
            "Type": name,
            "TotalCount": str(total),
            "Active": str(active),
            "Size": units.size(size, 4),
            "Reclaimable": text,
        },
        type_name="*formatter.diskUsageContext",
    )


def summary(usage: dict[str, Any]) -> list[Row]:
    """The four lines."""
    images, containers = usage.get("Images") or [], usage.get("Containers") or []
    volumes, cache = usage.get("Volumes") or [], usage.get("BuildCache") or []
    used = sum(
        image["Size"] - max(image.get("SharedSize", 0), 0)
        for image in images
        if image.get("Containers", 0) > 0 and image.get("Size", -1) != -1
    )
    layers = usage.get("LayersSize", 0)
    running = [item for item in containers if item["State"] in ("running", "paused", "restarting")]
    container_size = sum(item.get("SizeRw") or 0 for item in containers)
    held = [item for item in volumes if (item.get("UsageData") or {}).get("RefCount", 0) > 0]
    sizes = {item["Name"]: max((item.get("UsageData") or {}).get("Size", 0), 0) for item in volumes}
    cache_size = sum(item.get("Size", 0) for item in cache if not item.get("Shared"))
    cache_used = sum(item.get("Size", 0) for item in cache if item.get("InUse") and not item.get("Shared"))
    return [
        _row("Images", len(images), sum(image.get("Containers", 0) > 0 for image in images), layers, layers - used),
        _row(
            "Containers",
            len(containers),
            len(running),
            container_size,
            container_size - sum(item.get("SizeRw") or 0 for item in running),
        ),
        _row(
            "Local Volumes",
            len(volumes),
            len(held),
            sum(sizes.values()),
            sum(sizes.values()) - sum(sizes[item["Name"]] for item in held),
        ),
        _row(
            "Build Cache",
            len(cache),
            sum(bool(item.get("InUse")) for item in cache),
            cache_size,
            cache_size - cache_used,
            False,
        ),
    ]


_IMAGE = (
    "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.VirtualSize}}\t{{.SharedSize}}\t{{.UniqueSize}}\t"
    "{{.Containers}}"
)
_CONTAINER = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}"
_VOLUME = "{{.Name}}\t{{.Links}}\t{{.Size}}"


def _section(call: Call, columns: str, headers: dict[str, str], rows: list[Row]) -> None:
    form = Format("table", columns)
    call.say(align("\n".join([header(form, headers), *lines(form, rows)])))


def _documents(usage: dict[str, Any]) -> dict[str, Any]:
    """The rows of the detailed tables, with whole IDs."""
    images = [(image, name) for image in usage.get("Images") or [] for name in list(image_list.names(image, False))[:1]]
    rows = {
        "Images": [image_list.row(image, *name, True) for image, name in images],
        "Containers": [container_list.row({**item, "SizeRootFs": 0}, True) for item in usage.get("Containers") or []],
        "Volumes": [volume.row(item) for item in usage.get("Volumes") or []],
        "BuildCache": [_cache_row(item) for item in usage.get("BuildCache") or []],
    }
    return {key: [one.document() for one in found] for key, found in rows.items()}


def _cache_row(item: dict[str, Any]) -> Row:
    created, used = units.parse_stamp(item.get("CreatedAt", "")), units.parse_stamp(item.get("LastUsedAt") or "")
    return Row(
        {
            "CacheType": item.get("Type", ""),
            "CreatedAt": item.get("CreatedAt", ""),
            "CreatedSince": units.ago(created),
            "Description": item.get("Description", ""),
            "ID": item["ID"],
            "InUse": "true" if item.get("InUse") else "false",
            "LastUsedAt": item.get("LastUsedAt") or "",
            "LastUsedSince": units.ago(used) if used else "",
            "Parent": item.get("Parent", ""),
            "Shared": "true" if item.get("Shared") else "false",
            "Size": units.size(item.get("Size", 0)),
            "UsageCount": str(item.get("UsageCount", 0)),
        }
    )


def verbose(call: Call, usage: dict[str, Any]) -> None:
    images = [
        image_list.row(image, *name, False)
        for image in usage.get("Images") or []
        for name in [next(iter(image_list.names(image, False)))]
    ]
    containers = [container_list.row({**item, "SizeRootFs": 0}, False) for item in usage.get("Containers") or []]
    call.say("Images space usage:\n")
    _section(call, _IMAGE, image_list.HEADERS, images)
    call.say("\nContainers space usage:\n")
    _section(call, _CONTAINER, container_list.HEADERS, containers)
    call.say("\nLocal Volumes space usage:\n")
    _section(call, _VOLUME, volume.HEADERS, [volume.row(item) for item in usage.get("Volumes") or []])
    cache = usage.get("BuildCache") or []
    call.say(f"\nBuild cache usage: {units.size(sum(item.get('Size', 0) for item in cache), 4)}\n")
    titles = "CACHE ID\tCACHE TYPE\tSIZE\tCREATED\tLAST USED\tUSAGE\tSHARED"
    call.say(align("\n".join([titles, *(_cache_line(item) for item in cache)])))


def _cache_line(item: dict[str, Any]) -> str:
    created = units.parse_stamp(item.get("CreatedAt", ""))
    used = units.parse_stamp(item.get("LastUsedAt") or "")
    cells = [
        item["ID"][:12],
        item.get("Type", ""),
        units.size(item.get("Size", 0)),
        units.ago(created),
        units.ago(used) if used else "",
        str(item.get("UsageCount", 0)),
        "true" if item.get("Shared") else "false",
    ]
    return "\t".join(cells)


_RAW = "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: {{.Reclaimable}}\n"


def run(call: Call) -> int:
    values = call.values
    form = values.text("format")
    usage = call.engine.get("/system/df")
    if values.on("verbose"):
        if form and form not in ("json", "{{json .}}"):
            raise Failed("the verbose format takes no template: use --format json or none")
        if form:
            call.say(go_json(_documents(usage)))
        else:
            verbose(call, usage)
        return 0
    columns = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}"
    show(call, Format(form or "table", columns, raw=_RAW), HEADERS, summary(usage))
    return 0


COMMANDS = {
    "system df": Command(
        "system df", run, "", (table_format(), flags.switch("verbose", "Show detailed information on space usage", "v"))
    )
}
