"""`tiffin build`: docker buildx's flags, against the daemon's builder."""

from __future__ import annotations

import base64
import json
import os

from tiffin.cli import flags
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.flags import Flag
from tiffin.cli.kinds import BOOL, BYTES, LIST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from tiffin.cli.build_options import Plan
    from tiffin.cli.build_progress import Display
    from tiffin.wire.grpc.status import StatusError

_SOURCE = "github.com/moby/buildkit/errdefs.Source+json"
_ENCODED = ("containerimage.descriptor", "buildx.build.provenance")


def build(call: Call) -> int:
    """Exit status 1 where the build, or with --check a check, fails."""
    from tiffin.cli import build_progress
    from tiffin.cli.build_options import make_plan

    plan = make_plan(call)
    asked = plan.attributes.get("requestid", "")
    chosen = call.values.text("progress")
    if not call.values.changed("progress"):
        chosen = os.environ.get("BUILDKIT_PROGRESS") or chosen
    try:
        display = build_progress.choose(chosen, call.values.on("quiet") or bool(asked))
    except ValueError as error:
        raise Failed(f"invalid progress mode {error}: give auto, plain, tty, rawjson, quiet or none") from error
    try:
        response = _run(call, plan, display)
    finally:
        if plan.folder is not None:
            plan.folder.cleanup()
    if asked:
        return _answered(call, response)
    _write_results(call, response)
    if plan.push:
        _push(call, response)
    if call.values.on("quiet"):
        call.say(response.get("containerimage.config.digest") or response.get("containerimage.digest", ""))
    return 0


def _run(call: Call, plan: Plan, display: Display) -> dict[str, str]:
    import asyncio

    from tiffin.client.buildkit import Build, Builder
    from tiffin.wire.grpc.status import StatusError

    wanted = Build(
        attributes=plan.attributes,
        services=plan.services(call),
        exporters=plan.exporters,
        entitlements=_granted(call),
        cache_from=plan.caches.sources,
        cache_to=plan.caches.targets,
    )
    builder = Builder(call.engine)
    try:
        response = asyncio.run(builder.build(wanted, display.update))
    except StatusError as error:
        display.close()
        text = f"{_excerpt(error)}ERROR: failed to build: failed to solve: {error.message}"
        if call.values.on("debug"):
            text = _debugged(call, error, text)
        raise Failed(text) from error
    display.close()
    plan.caches.tag(response)
    if plan.layout:
        _list_images(plan.layout, response)
    return response


def _list_images(layout: str, response: Mapping[str, str]) -> None:
    """Have the layout's index lead to what was written."""
    from tiffin.client import build_stores

    descriptor = json.loads(base64.b64decode(response["containerimage.descriptor"]))
    for name in response.get("image.name", "latest").split(","):
        build_stores.tag(layout, name, descriptor)


def _debugged(call: Call, error: StatusError, text: str) -> str:
    """Open a shell in the step that failed. What is still to be said: the text, or nothing."""
    from tiffin.cli import build_debug

    kept = next((one.value.decode() for one in error.details if one.type_url == build_debug.DETAIL), "")
    if not kept:
        return f"{text}\nNo shell: what has failed is not a command (RUN) with files of its own"
    if not build_debug.on_terminal():
        return f"{text}\n{build_debug.hint(kept)}"
    call.say(f"{text}\nA shell in the step that failed; its files go when it ends.")
    build_debug.open_shell(call, kept, [])
    return ""


def _granted(call: Call) -> list[str]:
    """Whoever asks for the machine's network for all of the build allows it, as in buildx."""
    host = ["network.host"] if call.values.text("network") == "host" else []
    return [*call.values.list("allow"), *host]


def _excerpt(error: StatusError) -> str:
    """The lines of the Dockerfile that an error is about."""
    found = [detail for detail in error.details if detail.type_url == _SOURCE]
    if not found:
        return ""
    source = json.loads(found[0].value)
    info, ranges = source.get("info") or {}, source.get("ranges") or []
    lines = base64.b64decode(info.get("data", "")).decode("utf-8", "replace").split("\n")
    marked = {number for one in ranges for number in range(one["start"]["line"], one["end"]["line"] + 1)}
    if not marked or not 1 <= min(marked) <= len(lines):
        return ""
    around = 4 if len(marked) == 1 else 2
    first, last = max(1, min(marked) - around // 2), min(len(lines), max(marked) + around // 2)
    text = f"{info.get('filename', 'Dockerfile')}:{min(marked)}\n--------------------\n"
    for number in range(first, last + 1):
        text += f" {number:3d} | {'>>>' if number in marked else '   '} {lines[number - 1]}\n"
    return text + "--------------------\n"


def _answered(call: Call, response: dict[str, str]) -> int:
    """What --check and --call print."""
    wants_json = call.values.text("call").partition(",")[2] == "format=json"
    text = response.get("result.json" if wants_json else "result.txt", "")
    code = int(response.get("result.statuscode") or 0)
    if not text and not code:
        text = "Check complete, no warnings found."
    elif "warnings" in response.get("result.json", "") and not wants_json:
        document = json.loads(response["result.json"])
        count = len(document.get("warnings") or [])
        found = "1 warning has" if count == 1 else f"{count} warnings have"
        head = f"Check complete, {found} been found!"
        failure = document.get("buildError")
        text = (f"{head}\n{text}" if count else "") + (f"ERROR: {failure['message']}" if failure else "")
    call.say(text.rstrip("\n"))
    return code


def _write_results(call: Call, response: dict[str, str]) -> None:
    file = call.values.text("iidfile")
    digest = response.get("containerimage.config.digest") or response.get("containerimage.digest")
    if file and digest:
        with open(file, "w", encoding="ascii") as target:
            target.write(digest)
    file = call.values.text("metadata-file")
    if file:
        document: dict[str, Any] = dict(response)
        for name in document:
            if name.startswith(_ENCODED):
                document[name] = json.loads(base64.b64decode(document[name]))
        with open(file, "w", encoding="utf-8") as target:
            json.dump(document, target, indent=2, sort_keys=True)


def _push(call: Call, response: dict[str, str]) -> None:
    from tiffin.cli import progress, references
    from tiffin.cli.transfer import authorization
    from tiffin.client.engine import quote

    for image in response.get("image.name", "").split(","):
        name, tag = references.split(image)
        path = f"/images/{quote(name, b'/:')}/push"
        documents = call.engine.documents("POST", path, {"tag": tag or None}, headers=authorization(call, image))
        progress.show(call.session, documents, quiet=call.values.on("quiet"), to_stderr=True)


def _hidden(name: str) -> Flag:
    """A flag of the classic builder that changes nothing here."""
    return Flag(name, BOOL, "", hidden=True)


FLAGS = (
    Flag("add-host", LIST, 'Add a custom host-to-IP mapping (format: "host:ip")'),
    flags.several("allow", 'Allow extra privileged entitlement (e.g., "network.host", "security.insecure")'),
    flags.several("annotation", "Add annotation to the image"),
    flags.several("attest", 'Attestation parameters (format: "type=sbom,generator=image")'),
    flags.several("build-arg", "Set build-time variables"),
    flags.several("build-context", "Additional build contexts (e.g., name=path)"),
    flags.several("cache-from", 'External cache sources (e.g., "user/app:cache")'),
    flags.several("cache-to", 'Cache export destinations (e.g., "user/app:cache")'),
    flags.text("call", 'Set method for evaluating build ("check", "outline", "targets")', default="build"),
    flags.text("cgroup-parent", 'Set the parent cgroup for the "RUN" instructions during build'),
    flags.switch("check", 'Shorthand for "--call=check"'),
    flags.switch("debug", "When a RUN fails, open a shell in what it has left (on a terminal)"),
    flags.switch("explain", "Say of each step why it was, or was not, taken from the cache"),
    flags.text("file", 'Name of the Dockerfile (default: "PATH/Dockerfile")', "f"),
    flags.text("iidfile", "Write the image ID to a file"),
    flags.several("label", "Set metadata for an image"),
    flags.switch("load", 'Shorthand for "--output=type=docker"'),
    flags.text("metadata-file", "Write build result metadata to a file"),
    flags.text("network", 'Set the networking mode for the "RUN" instructions during build', default="default"),
    flags.switch("no-cache", "Do not use cache when building the image"),
    flags.several("no-cache-filter", "Do not cache specified stages"),
    flags.several("output", 'Output destination (format: "type=local,dest=path")', "o"),
    flags.several("platform", "Set target platform for build"),
    flags.text(
        "progress",
        'Set type of progress output ("auto", "none", "plain", "quiet", "rawjson", "tty"). Use plain to show container '
        "output",
        default="auto",
    ),
    flags.text("provenance", 'Shorthand for "--attest=type=provenance"'),
    flags.switch("pull", "Always attempt to pull all referenced images"),
    flags.switch("push", 'Shorthand for "--output=type=registry"'),
    flags.switch("quiet", "Suppress the build output and print image ID on success", "q"),
    flags.text("sbom", 'Shorthand for "--attest=type=sbom"'),
    flags.several("secret", 'Secret to expose to the build (format: "id=mysecret[,src=/local/secret]")'),
    Flag("shm-size", BYTES, "Shared memory size for build containers"),
    flags.several("ssh", 'SSH agent socket to expose to the build (format: "default|<id>[=<socket>]")'),
    flags.several("tag", 'Name and optionally a tag (format: "name:tag")', "t"),
    flags.text("target", "Set the target build stage to build"),
    flags.several("ulimit", "Ulimit options"),
    *(_hidden(name) for name in ("compress", "force-rm", "rm", "squash")),
)


def _command(path: str) -> Command:
    return Command(path, build, "PATH | URL | -", FLAGS, least=1, most=1)


COMMANDS = {path: _command(path) for path in ("image build", "builder build")}
