"""`tiffin manifest`: lists of manifests, made here, pushed to where they are. The daemon talks to the registry."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

from tiffin.cli import flags
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.flags import Flag
from tiffin.cli.kinds import STRINGS
from tiffin.cli.manifest_lists import Lists, index, made, platform
from tiffin.cli.transfer import authorization
from tiffin.client.engine import quote
from tiffin.errors import Invalid, NotFound, TiffinError
from tiffin.model.descriptor import INDEX_TYPES
from tiffin.model.digest import Digest
from tiffin.model.reference import Reference, parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# what docker lets a manifest be annotated with
_ARCHITECTURES = {
    "darwin": "386 amd64 arm arm64",
    "dragonfly": "amd64",
    "freebsd": "386 amd64 arm",
    "linux": "386 amd64 arm arm64 loong64 ppc64le mips mipsle mips64 mips64le riscv64 s390x",
    "netbsd": "386 amd64 arm",
    "openbsd": "386 amd64 arm",
    "plan9": "386 amd64",
    "solaris": "amd64",
    "windows": "386 amd64 arm arm64",
}


def _named(text: str, what: str = "") -> Reference:
    try:
        return parse_reference(text).with_default_tag()
    except Invalid as error:
        raise Failed(f"error parsing name for {what} {text}: {error}" if what else str(error)) from error


def _lists(call: Call) -> Lists:
    return Lists(call.session.settings.folder)


def _remote(call: Call, reference: Reference) -> dict[str, Any]:
    """What the registry has under a name. Raises Failed in docker's words where it has nothing."""
    query = {"insecure": "1"} if call.values.on("insecure") else None
    path = f"/distribution/{quote(str(reference), b'/:@')}/manifest"
    try:
        found: dict[str, Any] = call.engine.call("GET", path, query, headers=authorization(call, str(reference)))
    except NotFound as error:
        raise Failed(f"no such manifest: {reference}") from error
    return found


def create(call: Call) -> int:
    lists = _lists(call)
    target = _named(call.operands[0], "manifest list")
    if lists.entries(target) and not call.values.on("amend"):
        raise Failed("refusing to amend an existing manifest list with no --amend flag")
    for text in call.operands[1:]:
        reference = _named(text)
        if lists.entry(target, reference) is not None:
            continue
        remote = _remote(call, reference)
        if remote["MediaType"] in INDEX_TYPES:
            raise Failed(f"{reference} is a manifest list")
        lists.save(target, reference, made(reference, remote))
    call.say(f"Created manifest list {target}")
    return 0


def annotate(call: Call) -> int:
    values, lists = call.values, _lists(call)
    target = _named(call.operands[0], "manifest list")
    reference = _named(call.operands[1], "manifest")
    entry = lists.entry(target, reference)
    if entry is None:
        raise Failed(f"manifest for image {reference} does not exist in {target}")
    current = dict(entry["Descriptor"].get("platform") or {})
    for flag, key in (("os", "os"), ("arch", "architecture"), ("variant", "variant"), ("os-version", "os.version")):
        if values.text(flag):
            current[key] = values.text(flag)
    if values.list("os-features"):
        current["os.features"] = list(dict.fromkeys([*current.get("os.features", ()), *values.list("os-features")]))
    if current.get("architecture") not in _ARCHITECTURES.get(str(current.get("os")), "").split():
        given = f"{values.text('os')}/{values.text('arch')}"
        raise Failed(f"manifest entry for image has unsupported os/arch combination: {given}")
    entry["Descriptor"]["platform"] = platform(current)
    lists.save(target, reference, entry)
    return 0


def inspect(call: Call) -> int:
    lists, verbose = _lists(call), call.values.on("verbose")
    reference = _named(call.operands[-1])
    if len(call.operands) == 2:
        entry = lists.entry(_named(call.operands[0]), reference)
        return _show(call, entry if entry is not None else made(reference, _remote(call, reference)))
    entries = lists.entries(reference)
    if not entries:
        remote = _remote(call, reference)
        if remote["MediaType"] not in INDEX_TYPES:
            return _show(call, made(reference, remote))
        entries = _listed(call, reference, base64.b64decode(remote["Document"]), full=verbose)
    call.say(_pretty(entries) if verbose else index(entries)[1].decode())
    return 0


def _listed(call: Call, reference: Reference, raw: bytes, *, full: bool) -> list[dict[str, Any]]:
    """The entries of an index in a registry. full: with their documents."""
    entries = []
    for item in json.loads(raw).get("manifests") or []:
        of = item.get("platform") or {}
        entry = {"Descriptor": {**item, "platform": platform(of)}}
        if full:
            below = replace(reference, digest=Digest(item["digest"]))
            entry = made(below, _remote(call, below), of)
            if item.get("annotations"):
                described = entry["Descriptor"]
                entry["Descriptor"] = {**described, "annotations": item["annotations"], "platform": platform(of)}
        entries.append(entry)
    return entries


def _show(call: Call, entry: dict[str, Any]) -> int:
    if call.values.on("verbose"):
        call.say(_pretty(entry))
    else:
        call.say(_pretty(json.loads(base64.b64decode(entry["Raw"]))))
    return 0


def _pretty(value: Any) -> str:
    return json.dumps(value, indent="\t", ensure_ascii=False)


def push(call: Call) -> int:
    lists = _lists(call)
    target = _named(call.operands[0])
    entries = lists.entries(target)
    if not entries:
        raise Failed(f"No such manifest: {target}")
    sources = []
    for entry in entries:
        given = parse_reference(entry["Ref"])
        if given.domain != target.domain:
            raise Failed(
                "cannot use source images from a different registry than the target image: "
                f"{given.domain} != {target.domain}"
            )
        if given.name != target.name:
            sources.append(Reference(given.domain, given.path, digest=Digest(entry["Descriptor"]["digest"])))
    kind, raw = index(entries)
    body = {
        "MediaType": kind,
        "Document": base64.b64encode(raw).decode(),
        "Sources": [str(source) for source in dict.fromkeys(sources)],
    }
    query = {"insecure": "1"} if call.values.on("insecure") else None
    path = f"/distribution/{quote(str(target), b'/:@')}/manifest"
    done = call.engine.call("PUT", path, query, body, authorization(call, str(target)))
    for source in sources:
        call.say(f"Pushed ref {target.name}@{source.digest} with digest: {source.digest}")
    call.say(done["Digest"])
    if call.values.on("purge"):
        lists.remove(target)
    return 0


def remove(call: Call) -> int:
    lists, failures = _lists(call), []
    for text in call.operands:
        try:
            target = parse_reference(text).with_default_tag()
        except TiffinError as error:
            failures.append(str(error))
            continue
        if not lists.entries(target):
            failures.append(f"No such manifest: {target}")
        lists.remove(target)
    if failures:
        raise Failed("\n".join(failures))
    return 0


_INSECURE = flags.switch("insecure", "Allow a registry without TLS, or with a certificate that nobody vouches for")

COMMANDS = {
    "manifest create": Command(
        "manifest create",
        create,
        "MANIFEST_LIST MANIFEST [MANIFEST...]",
        (flags.switch("amend", "Amend an existing manifest list", "a"), _INSECURE),
        least=2,
        most=None,
    ),
    "manifest annotate": Command(
        "manifest annotate",
        annotate,
        "MANIFEST_LIST MANIFEST",
        (
            flags.text("arch", "Set architecture"),
            flags.text("os", "Set operating system"),
            Flag("os-features", STRINGS, "Set operating system feature"),
            flags.text("os-version", "Set operating system version"),
            flags.text("variant", "Set architecture variant"),
        ),
        least=2,
        most=2,
    ),
    "manifest inspect": Command(
        "manifest inspect",
        inspect,
        "[MANIFEST_LIST] MANIFEST",
        (_INSECURE, flags.switch("verbose", "Show layers and platforms too", "v")),
        least=1,
        most=2,
    ),
    "manifest push": Command(
        "manifest push",
        push,
        "MANIFEST_LIST",
        (_INSECURE, flags.switch("purge", "Remove the local manifest list after push", "p")),
        least=1,
        most=1,
    ),
    "manifest rm": Command("manifest rm", remove, "MANIFEST_LIST [MANIFEST_LIST...]", least=1, most=None),
}
