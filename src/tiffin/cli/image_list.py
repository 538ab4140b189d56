"""`tiffin images`."""

from __future__ import annotations

from tiffin.cli import flags, references, units
from tiffin.cli.command import Call, Command
from tiffin.cli.container_list import short_id
from tiffin.cli.flags import Flag
from tiffin.cli.formats import table_format
from tiffin.cli.kinds import FILTER
from tiffin.cli.table import Format, Row, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

HEADERS = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "VirtualSize": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
}
_COLUMNS = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
_DIGEST_COLUMNS = "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
_NONE = "<none>"


def _known_size(count: int | None) -> str:
    return "N/A" if count in (None, -1) else units.size(count or 0, 4)


def row(image: dict[str, Any], repository: str, tag: str, digest: str, full: bool) -> Row:
    created = image.get("Created") or 0
    shared, size = image.get("SharedSize", -1), image.get("Size", 0)
    containers = image.get("Containers", -1)
    values: dict[str, Any] = {
        "ID": image["Id"] if full else short_id(image["Id"]),
        "Repository": repository,
        "Tag": tag,
        "Digest": digest,
        "CreatedSince": units.ago(created),
        "CreatedAt": lambda: units.go_time(created),
        "Size": units.size(size),
        "Containers": "N/A" if containers in (None, -1) else str(containers),
        "VirtualSize": units.size(size, 4),
        "SharedSize": _known_size(shared),
        "UniqueSize": "N/A" if shared in (None, -1) or not size else units.size(size - shared, 4),
    }
    return Row(values, type_name="*formatter.imageContext")


def names(image: dict[str, Any], with_digest: bool) -> Iterator[tuple[str, str, str]]:
    """`(repository, tag, digest)` of each line an image takes."""
    tags: dict[str, list[str]] = {}
    digests: dict[str, list[str]] = {}
    for name in image.get("RepoTags") or []:
        if name != "<none>:<none>":
            repository, tag = references.split(name)
            tags.setdefault(repository, []).append(tag)
    for name in image.get("RepoDigests") or []:
        if name != "<none>@<none>":
            repository, digest = references.split(name)
            digests.setdefault(repository, []).append(digest)
    found = False
    for repository, names in tags.items():
        known = digests.pop(repository, [])
        for tag in names:
            for digest in known if with_digest and known else [_NONE]:
                found = True
                yield repository, tag, digest
    for repository, known in digests.items():
        for digest in known if with_digest else known[:1]:
            found = True
            yield repository, _NONE, digest if with_digest else _NONE
    if not found:
        yield _NONE, _NONE, _NONE


def rows(images: list[dict[str, Any]], full: bool, with_digest: bool) -> list[Row]:
    return [row(image, *name, full) for image in images for name in names(image, with_digest)]


def _raw(quiet: bool, digests: bool) -> str:
    if quiet:
        return "image_id: {{.ID}}"
    digest = "\ndigest: {{.Digest}}" if digests else ""
    return (
        f"repository: {{{{.Repository}}}}\ntag: {{{{.Tag}}}}{digest}\nimage_id: {{{{.ID}}}}\n"
        "created_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n"
    )


def run(call: Call) -> int:
    values = call.values
    filters: dict[str, list[str]] = dict(values.get("filter"))
    if call.operands:
        filters["reference"] = [call.operands[0]]
    if values.on("tree"):
        from tiffin.cli import image_tree

        return image_tree.show(call, filters)
    # docker hides untagged images' parents only; an explicit name shows them all
    images = call.engine.get("/images/json", all=values.on("all") or None, filters=filters or None)
    full, quiet = values.on("no-trunc"), values.on("quiet")
    text = values.text("format") or ("" if quiet else call.session.settings.text("imagesFormat"))
    digests = values.on("digests") or ".Digest" in text
    if quiet and not text:
        for item in images:
            for _ in names(item, digests):
                call.say(item["Id"] if full else short_id(item["Id"]))
        return 0
    columns = _DIGEST_COLUMNS if values.on("digests") else _COLUMNS
    if quiet and text.startswith("table"):
        text = "table {{.ID}}"
    form = Format(text or "table", columns, raw=_raw(quiet, values.on("digests")))
    show(call, form, HEADERS, rows(images, full, digests))
    return 0


COMMANDS = {
    "image ls": Command(
        "image ls",
        run,
        "[REPOSITORY[:TAG]]",
        (
            flags.switch("all", "Show all images (default hides intermediate images)", "a"),
            flags.switch("digests", "Show digests"),
            Flag("filter", FILTER, "Show only what these conditions fit", short="f"),
            table_format(),
            flags.switch("no-trunc", "Don't truncate output"),
            flags.switch("quiet", "Only show image IDs", "q"),
            flags.switch("tree", "List images of several platforms as a tree"),
        ),
        most=1,
    )
}
