"""`tiffin pull`, `tiffin push`, `tiffin search`."""

from __future__ import annotations

from tiffin.cli import flags, progress, references
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.container_list import ellipsis
from tiffin.cli.flags import Flag
from tiffin.cli.kinds import BOOL, FILTER
from tiffin.cli.table import Format, Row, show
from tiffin.client import settings
from tiffin.client.engine import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def authorization(call: Call, image: str) -> dict[str, str]:
    """The header with the credentials for an image's registry."""
    found = call.session.settings.credentials(settings.registry_of(image))
    return {"X-Registry-Auth": settings.encode(found)}


def pull_stream(
    call: Call, image: str, platform: str, all_tags: bool = False, referrers: bool = False
) -> Iterator[dict[str, Any]]:
    """The documents of POST /images/create."""
    name, tag = references.split(image)
    query = {"fromImage": name, "tag": None if all_tags else tag or "latest", "platform": platform or None}
    if referrers:
        query["referrers"] = "1"
    return call.engine.documents("POST", "/images/create", query, headers=authorization(call, image))


def _canonical(image: str) -> str:
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return image
    return f"docker.io/{image}" if slash else f"docker.io/library/{image}"


def pull(call: Call) -> int:
    values = call.values
    image = call.operands[0]
    references.check(image)
    all_tags, quiet = values.on("all-tags"), values.on("quiet")
    tag = references.split(image)[1]
    if all_tags and tag:
        raise Failed("tag can't be used with --all-tags/-a")
    if not all_tags and not tag:
        image += ":latest"
        if not quiet:
            call.say("Using default tag: latest")
            call.session.flush()
    stream = pull_stream(call, image, values.text("platform"), all_tags, values.on("referrers"))
    progress.show(call.session, stream, quiet=quiet)
    call.say(_canonical(image))
    return 0


def push(call: Call) -> int:
    values = call.values
    image = call.operands[0]
    references.check(image)
    name, tag = references.split(image)
    if values.on("all-tags") and tag:
        raise Failed("tag can't be used with --all-tags/-a")
    if not tag and not values.on("all-tags"):
        tag = "latest"
        if not values.on("quiet"):
            call.say(f"Using default tag: {tag}")
    query: dict[str, Any] = {"tag": tag or None}
    if values.text("platform"):
        from tiffin.cli.inspect import platform

        query["platform"] = platform(values.text("platform"))
        _note(
            call,
            "Using --platform pushes only the specified platform manifest of a multi-platform image index.",
            "Other components, like attestations, will not be included.",
            "To push the complete multi-platform image, remove the --platform flag.",
        )
    documents = call.engine.documents(
        "POST", f"/images/{quote(name, b'/:')}/push", query, headers=authorization(call, image)
    )
    asides: list[dict[str, Any]] = []
    progress.show(call.session, documents, quiet=values.on("quiet"), on_aux=asides.append)
    if values.on("quiet"):
        call.say(_canonical(f"{name}:{tag}" if tag else name))
    for aside in asides:
        if aside.get("manifestPushedInsteadOfIndex"):
            _note(
                call,
                "Not all multiplatform-content is present and only the available single-platform image was pushed",
                f"{aside['originalIndex']['digest']} -> {aside['selectedManifest']['digest']}",
            )
    return 0


def _note(call: Call, *lines: str) -> None:
    call.say("\n Info -> " + "\n         ".join(lines))


_SEARCH_HEADERS = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "StarCount": "STARS",
    "IsOfficial": "OFFICIAL",
}


def search(call: Call) -> int:
    values = call.values
    limit = values.number("limit")
    query = {"term": call.operands[0], "limit": limit or None, "filters": values.get("filter") or None}
    found = call.engine.call("GET", "/images/search", query, headers=authorization(call, call.operands[0]))
    rows = []
    for result in sorted(found, key=lambda result: -int(result.get("star_count", 0))):
        text = result.get("description", "").replace("\n", " ").replace("\r", " ")
        official = bool(result.get("is_official"))
        rows.append(
            Row(
                {
                    "Name": result["name"],
                    "Description": text if values.on("no-trunc") else ellipsis(text, 45),
                    "StarCount": str(result.get("star_count", 0)),
                    "IsOfficial": "[OK]" if official else "",
                },
                type_name="*registry.searchContext",
            )
        )
    columns = "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}"
    show(call, Format(values.text("format") or "table", columns), _SEARCH_HEADERS, rows)
    return 0


_TRUST = Flag("disable-content-trust", BOOL, "Skip image verification", default=True)
_QUIET = flags.switch("quiet", "Suppress verbose output", "q")

COMMANDS = {
    "image pull": Command(
        "image pull",
        pull,
        "NAME[:TAG|@DIGEST]",
        (
            flags.switch("all-tags", "Download all tagged images in the repository", "a"),
            _TRUST,
            flags.text("platform", "Set platform if the daemon can run several"),
            _QUIET,
            flags.switch("referrers", "Pull the signatures and attestations that refer to the image, too"),
        ),
        least=1,
        most=1,
    ),
    "image push": Command(
        "image push",
        push,
        "NAME[:TAG]",
        (
            flags.switch("all-tags", "Push all tags of an image to the repository", "a"),
            _TRUST,
            flags.text("platform", "Push this platform's manifest as an image of its own: 'os[/arch[/variant]]'"),
            _QUIET,
        ),
        least=1,
        most=1,
    ),
    "search": Command(
        "search",
        search,
        "TERM",
        (
            Flag("filter", FILTER, "Show only what these conditions fit", short="f"),
            flags.text("format", "Format output by a Go template"),
            flags.number("limit", "Max number of search results"),
            flags.switch("no-trunc", "Don't truncate output"),
        ),
        least=1,
        most=1,
    ),
}
