"""`tiffin ps`."""

from __future__ import annotations

from tiffin.cli import flags, units
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.flags import Flag
from tiffin.cli.formats import table_format
from tiffin.cli.kinds import FILTER
from tiffin.cli.table import Format, Row, lines, show
from tiffin.cli.template_values import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS = {
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Labels": "LABELS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Mounts": "MOUNTS",
    "Names": "NAMES",
    "Networks": "NETWORKS",
    "Platform": "PLATFORM",
    "Ports": "PORTS",
    "RunningFor": "CREATED",
    "Size": "SIZE",
    "State": "STATE",
    "Status": "STATUS",
}
_COLUMNS = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"


def ellipsis(text: str, limit: int) -> str:
    """Cut to `limit` characters, the last of them `…`."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def short_id(identifier: str) -> str:
    return identifier.removeprefix("sha256:")[:12]


def _image(container: dict[str, Any], full: bool) -> str:
    image: str = container.get("Image", "")
    if not image:
        return "<no image>"
    if full:
        return image
    short = short_id(container.get("ImageID", ""))
    if short and short == short_id(image):
        return short
    return image.partition("@")[0] if not image.startswith("sha256:") else image


def host_and_port(address: str, port: Any) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _port_group(key: tuple[str, str], first: int, last: int) -> str:
    address, protocol = key
    figure = str(first) if first == last else f"{first}-{last}"
    if address:
        figure = f"{host_and_port(address, figure)}->{figure}"
    return f"{figure}/{protocol}"


def ports(published: list[dict[str, Any]]) -> str:
    """`0.0.0.0:8000-8001->8000-8001/tcp, 9000/udp`: neighbours that map to themselves are drawn together."""
    groups: dict[tuple[str, str], list[int]] = {}
    result, mapped = [], []
    order = sorted(
        published,
        key=lambda port: (port["PrivatePort"], port.get("IP", ""), port.get("PublicPort", 0), port.get("Type", "")),
    )
    for port in order:
        private, address, protocol = port["PrivatePort"], port.get("IP", ""), port.get("Type", "tcp")
        if address and port.get("PublicPort") != private:
            mapped.append(f"{host_and_port(address, port.get('PublicPort', 0))}->{private}/{protocol}")
            continue
        key = (address, protocol)
        if key not in groups:
            groups[key] = [private, private]
        elif private == groups[key][1] + 1:
            groups[key][1] = private
        else:
            result.append(_port_group(key, *groups[key]))
            groups[key] = [private, private]
    result += [_port_group(key, first, last) for key, (first, last) in groups.items()]
    return ", ".join(result + mapped)


def _size(container: dict[str, Any]) -> str:
    text = units.size(container.get("SizeRw") or 0)
    virtual = container.get("SizeRootFs") or 0
    return f"{text} (virtual {units.size(virtual)})" if virtual > 0 else text


def _mounts(container: dict[str, Any], full: bool) -> str:
    names = [mount.get("Name") or mount.get("Source", "") for mount in container.get("Mounts") or []]
    return ",".join(names if full else [ellipsis(name, 15) for name in names])


def _names(container: dict[str, Any], full: bool) -> str:
    names = [name.removeprefix("/") for name in container.get("Names") or []]
    return ",".join(names if full else [name for name in names if "/" not in name])


def labels_text(labels: dict[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items()))


def row(container: dict[str, Any], full: bool) -> Row:
    """A container of the list as templates see it."""
    labels = container.get("Labels") or {}
    command = container.get("Command", "")
    networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
    values: dict[str, Any] = {
        "Command": quoted(command if full else ellipsis(command, 20)),
        "CreatedAt": lambda: units.go_time(container["Created"]),
        "ID": container["Id"] if full else short_id(container["Id"]),
        "Image": _image(container, full),
        "Labels": labels_text(labels),
        "LocalVolumes": str(sum(mount.get("Driver") == "local" for mount in container.get("Mounts") or [])),
        "Mounts": _mounts(container, full),
        "Names": _names(container, full),
        "Networks": ",".join(sorted(networks)),
        "Platform": (container.get("ImageManifestDescriptor") or {}).get("platform"),
        "Ports": ports(container.get("Ports") or []),
        "RunningFor": units.ago(container["Created"]),
        "Size": _size(container),
        "State": container.get("State", ""),
        "Status": container.get("Status", ""),
    }
    return Row(values, {"Label": lambda name: labels.get(name, "")}, "*formatter.ContainerContext")


_RAW = (
    "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n"
    "state: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\n"
    "labels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n"
)


def _check_fields(form: Format) -> None:
    """Raises Failed for a field that no container has, be there any or none."""
    try:
        list(lines(form, [row({"Id": "", "Created": 0}, False)]))
    except Failed as failure:
        if "can't evaluate field" in str(failure):
            raise


def run(call: Call) -> int:
    values = call.values
    text = values.text("format")
    quiet = values.on("quiet")
    if not text:
        text = "table" if quiet else call.session.settings.text("psFormat") or "table"
    columns = _COLUMNS + ("\t{{.Size}}" if values.on("size") else "")
    # sizes are costly: asked for only when something shows them
    size = values.on("size") or (not quiet and (".Size" in text or "json ." in text))
    last = 1 if values.on("latest") else values.number("last")
    query = {
        "all": values.on("all") or last > 0,
        "limit": last if last > 0 else None,
        "size": size,
        "filters": values.get("filter") or None,
    }
    raw = _RAW + ("size: {{.Size}}\n" if values.on("size") else "")
    form = Format(text, columns, raw=raw, complaint="failed to execute template")
    if values.text("format") and not quiet:
        _check_fields(form)
    containers = call.engine.get("/containers/json", **query)
    full = values.on("no-trunc")
    if quiet:
        if values.text("format"):
            call.warn("WARNING: Ignoring custom format, because both --format and --quiet are set.")
        for container in containers:
            identifier = container["Id"] if full else short_id(container["Id"])
            call.say(f"container_id: {identifier}" if text == "raw" else identifier)
        return 0
    show(call, form, HEADERS, [row(container, full) for container in containers])
    return 0


COMMANDS = {
    "container ls": Command(
        "container ls",
        run,
        "",
        (
            flags.switch("all", "Show all containers (default shows just running)", "a"),
            Flag("filter", FILTER, "Show only what these conditions fit", short="f"),
            table_format(),
            flags.number("last", "Show the containers created last, this many, in any state", "n", -1),
            flags.switch("latest", "Show the container created last, in any state", "l"),
            flags.switch("no-trunc", "Don't truncate output"),
            flags.switch("quiet", "Only display container IDs", "q"),
            flags.switch("size", "Display total file sizes", "s"),
        ),
    )
}
