"""`tiffin context create`, `update`, `ls`, `use`, `show`, `inspect`, `rm`."""

from __future__ import annotations

import os

from tiffin.cli import flags
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.container_list import ellipsis
from tiffin.cli.flags import Flag
from tiffin.cli.formats import plain_format, table_format
from tiffin.cli.inspect import print_all
from tiffin.cli.kinds import PAIRS, BadValue, parse_bool
from tiffin.cli.table import Format, Row, show
from tiffin.client.contexts import TLS_FILES, check_name
from tiffin.client.endpoint import Endpoint, default_host, from_environment
from tiffin.errors import Conflict, Invalid, TiffinError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "DockerEndpoint": "DOCKER ENDPOINT",
    "Current": "CURRENT",
    "Error": "ERROR",
}


def default(call: Call) -> dict[str, Any]:
    """The context that is not stored: what the environment says, or the user's own daemon."""
    host = (call.session.hosts or [""])[0] or from_environment()[0] or default_host()
    return {
        "Name": "default",
        "Metadata": {},
        "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}},
        "TLSMaterial": {},
        "Storage": {"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"},
    }


_ENDPOINT_KEYS = ("from", "host", "ca", "cert", "key", "skip-tls-verify")


def endpoint(call: Call, given: dict[str, str]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The stored endpoint and TLS files that --docker describes. Raises Failed."""
    for key in given:
        if key not in _ENDPOINT_KEYS:
            raise Failed(f"unable to create docker endpoint config: unrecognized config key: {key}")
    if "from" in given:
        return _copied(call, given["from"])
    host = given.get("host", "")
    if host:
        try:
            Endpoint(host)
        except Invalid as error:
            raise Failed(f"unable to create docker endpoint config: {error}") from error
    try:
        skip = parse_bool(given.get("skip-tls-verify", "false"))
    except BadValue as error:
        raise Failed(f"unable to create docker endpoint config: skip-tls-verify: {error}") from error
    files = {}
    for key, name in zip(("ca", "cert", "key"), TLS_FILES, strict=True):
        if given.get(key):
            try:
                with open(os.path.expanduser(given[key]), "rb") as file:
                    files[name] = file.read()
            except OSError as error:
                reason = f"open {given[key]}: {os.strerror(error.errno or 0).lower()}"
                raise Failed(f"unable to create docker endpoint config: {reason}") from error
    return {"Host": host, "SkipTLSVerify": skip}, files


def _copied(call: Call, name: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    if name == "default":
        return dict(default(call)["Endpoints"]["docker"]), {}
    contexts = call.session.contexts
    stored = contexts.get(name)["Endpoints"]["docker"]
    files = {}
    for file_name in contexts.tls_files(name):
        with open(os.path.join(contexts.tls_path(name), "docker", file_name), "rb") as file:
            files[file_name] = file.read()
    return stored, files


def create(call: Call) -> int:
    values = call.values
    name = call.operands[0]
    check_name(name)
    given = values.map("docker")
    if values.text("from") and given:
        raise Failed("cannot use --docker flag when --from is set")
    contexts = call.session.contexts
    if contexts.exists(name):
        raise Conflict(f'context "{name}" already exists')
    if values.text("from"):
        docker, files = _copied(call, values.text("from"))
    elif given:
        docker, files = endpoint(call, given)
    else:
        docker, files = _copied(call, call.session.context_name())
    metadata = {"Description": values.text("description")} if values.text("description") else {}
    contexts.create({"Name": name, "Metadata": metadata, "Endpoints": {"docker": docker}}, files)
    call.say(name)
    call.warn(f'Successfully created context "{name}"')
    return 0


def update(call: Call) -> int:
    values = call.values
    name = call.operands[0]
    check_name(name)
    contexts = call.session.contexts
    document = contexts.get(name)
    if values.text("description"):
        document.setdefault("Metadata", {})["Description"] = values.text("description")
    files = None
    if values.map("docker"):
        document.setdefault("Endpoints", {})["docker"], files = endpoint(call, values.map("docker"))
    contexts.put(document, files)
    call.say(name)
    call.warn(f'Successfully updated context "{name}"')
    return 0


def list_contexts(call: Call) -> int:
    values = call.values
    try:
        current = call.session.context_name()
    except Failed:
        current = "default"
    rows = [_row("default", "Current DOCKER_HOST based configuration", default(call), current)]
    seen = {"default"}
    for document in call.session.contexts.all():
        seen.add(document["Name"])
        description = (document.get("Metadata") or {}).get("Description", "")
        rows.append(_row(document["Name"], description, document, current))
    if current not in seen:
        missing = _row(current, "", {"Endpoints": {}}, current)
        missing.values["Error"] = f'context "{current}": context not found'
        rows.append(missing)
    rows.sort(key=lambda row: str(row.values["Name"]))
    text = values.text("format")
    if values.on("quiet") and not text:
        for row in rows:
            call.say(row.values["Name"])
        _warn_of_host(call)
        return 0
    for row in rows:
        if not text or text.startswith("table"):
            row.values["Description"] = ellipsis(row.values["Description"], 60)
    columns = "{{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}"
    form = Format(text or "table", columns)
    if not text or text == "table":
        # the mark of the current one has no place in the header
        show(call, form, {**HEADERS, "Current": ""}, rows)
    else:
        show(call, form, HEADERS, rows)
    _warn_of_host(call)
    return 0


def _warn_of_host(call: Call) -> None:
    if os.environ.get("DOCKER_HOST"):
        call.warn(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use a context, either set the "
            "global --context flag, or unset DOCKER_HOST environment variable."
        )


def _row(name: str, description: str, document: dict[str, Any], current: str) -> Row:
    docker = (document.get("Endpoints") or {}).get("docker") or {}
    return Row(
        {
            "Name": name,
            "Description": description,
            "DockerEndpoint": docker.get("Host", ""),
            "Current": name == current,
            "Error": "",
        },
        type_name="*formatter.clientContextContext",
    )


def use(call: Call) -> int:
    name = call.operands[0]
    settings = call.session.settings
    if name == "default":
        settings.values.pop("currentContext", None)
    else:
        check_name(name)
        call.session.contexts.get(name)
        settings.values["currentContext"] = name
    settings.save()
    call.say(name)
    call.warn(f'Current context is now "{name}"')
    if name != "default" and os.environ.get("DOCKER_HOST"):
        call.warn(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use "
            f'"{name}", either set the global --context flag, or unset DOCKER_HOST environment variable.'
        )
    return 0


def show_current(call: Call) -> int:
    call.say(call.session.context_name())
    return 0


def inspect(call: Call) -> int:
    contexts = call.session.contexts

    def get(name: str) -> dict[str, Any]:
        if name == "default":
            return default(call)
        files = contexts.tls_files(name)
        return {
            **contexts.get(name),
            "TLSMaterial": {"docker": files} if files else {},
            "Storage": {"MetadataPath": contexts.meta_path(name), "TLSPath": contexts.tls_path(name)},
        }

    return print_all(call, call.operands or [call.session.context_name()], get)


def remove(call: Call) -> int:
    contexts, force = call.session.contexts, call.values.on("force")
    current = call.session.context_name()

    def one(name: str) -> None:
        if name == "default":
            raise Invalid('context "default" cannot be removed')
        if not contexts.exists(name):
            if force:
                return
            raise TiffinError(f'context "{name}" does not exist')
        if name == current:
            if not force:
                raise Conflict(f'context "{name}" is in use, set -f flag to force remove')
            call.session.settings.values.pop("currentContext", None)
            call.session.settings.save()
        contexts.remove(name)

    return call.each(call.operands, one)


_DETAILS = """

Docker endpoint config:

NAME                DESCRIPTION
from                Copy the endpoint of another context
host                Where the daemon listens
ca                  Trust certificates signed by this CA only
cert                Path of the client's certificate
key                 Path of the client's key
skip-tls-verify     Don't check the daemon's certificate

Example:

$ tiffin context {verb} my-context --docker "host=tcp://myserver:2376,ca=~/ca-file,cert=~/cert-file,key=~/key-file\""""
_DESCRIPTION = flags.text("description", "Description of the context")
_DOCKER = Flag("docker", PAIRS, "Set the docker endpoint")

COMMANDS = {
    "context create": Command(
        "context create",
        create,
        "CONTEXT",
        (_DESCRIPTION, _DOCKER, flags.text("from", "Create the context from a named one")),
        least=1,
        most=1,
        details="Create a context" + _DETAILS.replace("{verb}", "create"),
    ),
    "context update": Command(
        "context update",
        update,
        "CONTEXT",
        (_DESCRIPTION, _DOCKER),
        least=1,
        most=1,
        details="Update a context" + _DETAILS.replace("{verb}", "update"),
    ),
    "context ls": Command(
        "context ls", list_contexts, "", (table_format(), flags.switch("quiet", "Only show context names", "q"))
    ),
    "context use": Command("context use", use, "CONTEXT", least=1, most=1),
    "context show": Command("context show", show_current),
    "context inspect": Command("context inspect", inspect, "[CONTEXT] [CONTEXT...]", (plain_format("f"),), most=None),
    "context rm": Command(
        "context rm",
        remove,
        "CONTEXT [CONTEXT...]",
        (flags.switch("force", "Force the removal of a context in use", "f"),),
        least=1,
        most=None,
    ),
}
