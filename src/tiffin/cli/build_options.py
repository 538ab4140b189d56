"""From the flags of `build` to what the daemon is asked for: attributes, exporters, what the session serves."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tiffin.cli.build_caches import Caches, read_caches
from tiffin.cli.command import Call, Failed
from tiffin.client.build_session import Services, agent_socket
from tiffin.client.build_stores import Stores, tagged

_ARCHIVES = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
_TAR_MAGIC = slice(257, 262)
_ANNOTATED = re.compile(r"(?:index|manifest)(?:-descriptor)?(?:\[[A-Za-z0-9_/-]+\])?", re.ASCII)
_EPOCH = "SOURCE_DATE_EPOCH"
_CALLS = {"check": "lint", "lint": "lint", "outline": "outline", "targets": "targets", "build": ""}


@dataclass(slots=True)
class Plan:
    """What a command line asks for. `folder` holds what was read from standard input."""

    attributes: dict[str, str] = field(default_factory=dict)
    directories: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, IO[bytes]] = field(default_factory=dict)
    secrets: dict[str, Path | bytes] = field(default_factory=dict)
    agents: dict[str, str] = field(default_factory=dict)
    exporters: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    outputs: dict[int, Callable[[Iterator[bytes]], None]] = field(default_factory=dict)
    caches: Caches = field(default_factory=Caches)
    layouts: dict[str, str] = field(default_factory=dict)
    """OCI layouts that are contexts, by the name of their store."""
    layout: str = ""
    """A directory that becomes one: `tar=false`."""
    shared_key: str = ""
    push: bool = False
    folder: tempfile.TemporaryDirectory[str] | None = None

    def services(self, call: Call) -> Services:
        return Services(
            shared_key=self.shared_key,
            directories=self.directories,
            secrets=self.secrets,
            agents=self.agents,
            uploads=self.uploads,
            credentials=call.session.settings.credentials,
            outputs=self.outputs,
            stores=Stores(self.caches.stores | self.layouts | ({"export": self.layout} if self.layout else {})),
        )

    def kept(self, name: str, data: bytes) -> str:
        """A directory of our own that holds one file."""
        if self.folder is None:
            self.folder = tempfile.TemporaryDirectory(prefix="tiffin-build-")
        (Path(self.folder.name) / name).write_bytes(data)
        return self.folder.name


def read_context(call: Call, plan: Plan, stdin: IO[bytes]) -> None:
    """PATH | URL | - and --file. Raises Failed in docker's words."""
    (context,), file = call.operands, call.values.text("file")
    if file == "-" and context == "-":
        raise Failed("invalid argument: can't use stdin for both build context and dockerfile")
    if file == "-":
        plan.directories["dockerfile"] = plan.kept("Dockerfile", stdin.read())
        plan.attributes["dockerfilekey"] = "dockerfile"
        file = ""
        own = True
    else:
        own = False
    if context == "-":
        _read_stdin(plan, stdin, file)
    elif is_remote(context):
        plan.attributes["context"] = context
        if file:
            plan.attributes["filename"] = file
    else:
        _read_directory(plan, context, file, own)


def _read_stdin(plan: Plan, stdin: IO[bytes], file: str) -> None:
    head = stdin.peek(512)[:512] if hasattr(stdin, "peek") else b""
    if head.startswith(_ARCHIVES) or head[_TAR_MAGIC] == b"ustar":
        name = os.urandom(13).hex()
        plan.uploads[name] = stdin
        plan.attributes["context"] = f"http://buildkit-session/{name}"
        if file:
            plan.attributes["filename"] = file
        return
    if file:
        raise Failed("ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles")
    plan.directories["dockerfile"] = plan.kept("Dockerfile", stdin.read())
    empty = os.path.join(plan.directories["dockerfile"], "context")
    os.mkdir(empty)
    plan.directories["context"] = empty


def _read_directory(plan: Plan, context: str, file: str, own: bool) -> None:
    if not os.path.isdir(context):
        why = "not a directory" if os.path.exists(context) else "no such file or directory"
        raise Failed(f"unable to prepare context: path {context!r} not found: {why}".replace("'", '"'))
    plan.directories["context"] = os.path.realpath(context)
    plan.shared_key = hashlib.sha256(f"{socket.gethostname()}\0{plan.directories['context']}".encode()).hexdigest()
    if own:
        return
    path = file or os.path.join(context, "Dockerfile")
    if not os.path.lexists(path) and not file and os.path.lexists(os.path.join(context, "dockerfile")):
        path = os.path.join(context, "dockerfile")
    if not os.path.lexists(path):
        why = f"lstat {path}: no such file or directory"
        raise Failed(f"unable to prepare context: unable to evaluate symlinks in Dockerfile path: {why}")
    plan.directories["dockerfile"] = os.path.realpath(os.path.dirname(path) or ".")
    plan.attributes["filename"] = os.path.basename(path)


def is_remote(text: str) -> bool:
    prefixes = ("http://", "https://", "git://", "ssh://", "git@", "github.com/")
    return text.startswith(prefixes)


def read_attributes(call: Call, plan: Plan) -> None:
    """Everything that goes to the frontend as it stands."""
    values, attributes = call.values, plan.attributes
    for text in values.list("build-arg"):
        name, equals, value = text.partition("=")
        if equals or name in os.environ:
            attributes[f"build-arg:{name}"] = value if equals else os.environ[name]
    if os.environ.get(_EPOCH):
        attributes.setdefault(f"build-arg:{_EPOCH}", os.environ[_EPOCH])
    for text in values.list("label"):
        name, _, value = text.partition("=")
        attributes[f"label:{name}"] = value
    if values.on("no-cache"):
        attributes["no-cache"] = ""
    elif values.list("no-cache-filter"):
        attributes["no-cache"] = ",".join(values.list("no-cache-filter"))
    if values.on("pull"):
        attributes["image-resolve-mode"] = "pull"
    if values.text("target"):
        attributes["target"] = values.text("target")
    if values.list("platform"):
        attributes["platform"] = ",".join(values.list("platform"))
    if values.text("network") not in ("", "default"):
        attributes["force-network-mode"] = values.text("network")
    if values.list("add-host"):
        attributes["add-hosts"] = ",".join(_host(call, text) for text in values.list("add-host"))
    if values.get("shm-size"):
        attributes["shm-size"] = str(values.get("shm-size"))
    if values.list("ulimit"):
        attributes["ulimit"] = ",".join(values.list("ulimit"))
    if values.text("cgroup-parent"):
        attributes["cgroup-parent"] = values.text("cgroup-parent")
    if values.on("explain"):
        attributes["explain"] = "true"
    chosen = "check" if values.on("check") else values.text("call").partition(",")[0]
    if chosen not in _CALLS:
        raise Failed(f"invalid --call {chosen!r}: give build, check, outline or targets")
    if _CALLS[chosen]:
        attributes["requestid"] = f"frontend.{_CALLS[chosen]}"
    _read_contexts(call, plan)
    _read_attestations(call, attributes)


def _host(call: Call, text: str) -> str:
    name, separator, address = text.partition("=") if "=" in text else text.partition(":")
    if not separator:
        raise Failed(f'bad format for add-host: "{text}"')
    if address == "host-gateway":
        pools = call.engine.get("/networks/bridge")["IPAM"]["Config"]
        address = pools[0].get("Gateway", "") if pools else ""
    return f"{name}={address.strip('[]')}"


def _read_contexts(call: Call, plan: Plan) -> None:
    for text in call.values.list("build-context"):
        name, equals, value = text.partition("=")
        if not equals:
            raise Failed(f"invalid context value: {text}, expected key=value")
        if value.startswith("oci-layout://"):
            plan.attributes[f"context:{name}"] = _offered_layout(plan, value)
            continue
        if is_remote(value) or value.startswith("docker-image://"):
            plan.attributes[f"context:{name}"] = value
            continue
        if not os.path.isdir(value):
            raise Failed(f"failed to get build context path {{{value} <nil>}}: not a directory")
        plan.directories[name] = os.path.realpath(value)
        plan.attributes[f"context:{name}"] = f"local:{name}"


def _offered_layout(plan: Plan, value: str) -> str:
    """`oci-layout://DIRECTORY[:TAG][@DIGEST]` as the daemon is told of it. The directory is offered as a store."""
    directory, _, digest = value.removeprefix("oci-layout://").partition("@")
    tag = "latest"
    if not os.path.isdir(directory) and ":" in directory:
        directory, _, tag = directory.rpartition(":")
    try:
        digest = digest or tagged(directory, tag)
    except LookupError as error:
        raise Failed(f'oci-layout reference "{value}" could not be resolved: {error}') from error
    store = os.urandom(13).hex()
    plan.layouts[f"oci:{store}"] = directory
    return f"oci-layout://{store}@{digest}"


def _read_attestations(call: Call, attributes: dict[str, str]) -> None:
    if os.environ.get("BUILDX_NO_DEFAULT_ATTESTATIONS", "") not in ("1", "true"):
        # as buildx: of images, not of files and archives
        attributes["attest:provenance"] = "mode=min,inline-only=true"
    given = [f"type={kind},{value}" for kind in ("provenance", "sbom") if (value := call.values.text(kind))]
    for text in [*call.values.list("attest"), *given]:
        fields, lone = _fields(text), [part for part in text.split(",") if "=" not in part]
        kind = fields.pop("type", "")
        if not kind:
            raise Failed("attestation type not specified")
        if "false" in lone or fields.get("disabled") == "true":
            attributes.pop(f"attest:{kind}", None)
        else:
            attributes[f"attest:{kind}"] = ",".join(f"{name}={value}" for name, value in fields.items())


def _fields(text: str) -> dict[str, str]:
    parts = (part.partition("=") for part in next(csv.reader([text]), []))
    return {name.strip().lower(): value for name, equals, value in parts if equals}


def read_secrets(call: Call, plan: Plan) -> None:
    """--secret and --ssh."""
    for text in call.values.list("secret"):
        fields = _fields(text)
        name, kind = fields.get("id", ""), fields.get("type", "")
        if not name:
            raise Failed(f"invalid secret {text!r}: it needs an id")
        file, variable = fields.get("src") or fields.get("source") or "", fields.get("env", "")
        if not file and not variable:
            file, variable = ("", name) if name in os.environ and kind != "file" else (name, "")
        if kind == "env" and file and not variable:
            file, variable = "", file
        if variable:
            plan.secrets[name] = os.environ.get(variable, "").encode()
        elif not os.path.isfile(file):
            raise Failed(f"failed to stat {file}: stat {file}: no such file or directory")
        else:
            plan.secrets[name] = Path(file)
    for text in call.values.list("ssh"):
        name, _, path = text.partition("=")
        agent = agent_socket(path)
        if not agent:
            raise Failed("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set")
        if not _is_socket(agent):
            raise Failed(
                f"--ssh {text}: {agent} is no agent's socket; add the key to ssh-agent, keys themselves are not sent"
            )
        plan.agents[name or "default"] = agent


def _is_socket(path: str) -> bool:
    import stat

    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def read_outputs(call: Call, plan: Plan, stdout: IO[bytes]) -> None:
    """--output, --load, --push, --tag, --annotation."""
    values = call.values
    texts = list(values.list("output"))
    if values.on("push"):
        texts.append("type=registry")
    if values.on("load") or (not texts and not plan.attributes.get("requestid")):
        texts.append("type=image")
    common = {"name": ",".join(values.list("tag"))} if values.list("tag") else {}
    common |= dict(pair for text in values.list("annotation") for pair in _annotations(text))
    for text in texts:
        fields = _output(text)
        kind = fields.pop("type", "")
        destination = fields.pop("dest", "")
        attributes = {**common, **fields}
        number = len(plan.exporters)
        if kind in ("image", "registry") or (kind == "docker" and not destination):
            pushes = kind == "registry" or attributes.pop("push", "") in ("true", "1")
            plan.push = plan.push or pushes
            if pushes and not attributes.get("name"):
                raise Failed("tag is needed when pushing to registry")
            plan.exporters.append(("moby", attributes))
        elif kind in ("oci", "docker") and attributes.get("tar") in ("false", "0"):
            if not destination or plan.layout:
                raise Failed(f"dest directory, and only one, is required for {kind} exporter with tar=false")
            plan.exporters.append((kind, attributes))
            plan.layout = destination
        elif kind in ("local", "tar", "oci", "docker"):
            plan.exporters.append(("tar" if kind == "local" else kind, attributes))
            plan.outputs[number] = _taker(kind, destination, stdout)
        else:
            raise Failed(f"exporter {kind!r} is not known: give image, registry, local, tar, oci or docker")


def _annotations(text: str) -> Iterator[tuple[str, str]]:
    """`KEY=VALUE`, `index,manifest[linux/arm64]:KEY=VALUE`, as exporters have them."""
    name, equals, value = text.partition("=")
    if not equals:
        raise Failed(f'invalid annotation "{text}": expected key=value')
    kinds, colon, key = name.partition(":")
    listed = kinds.split(",") if colon else []
    if not listed or any(_ANNOTATED.fullmatch(kind) is None for kind in listed):
        # a colon may be part of the key
        yield f"annotation.{name}", value
        return
    for kind in listed:
        yield f"annotation-{kind}.{key}", value


def _output(text: str) -> dict[str, str]:
    if "=" not in text:
        return {"type": "tar", "dest": "-"} if text == "-" else {"type": "local", "dest": text}
    fields = _fields(text)
    if "type" not in fields:
        raise Failed("type is required for output")
    return fields


def _taker(kind: str, destination: str, stdout: IO[bytes]) -> Callable[[Iterator[bytes]], None]:
    if kind == "local":
        if not destination:
            raise Failed("dest is required for local output")
        from tiffin.cli.copy_archive import extract

        def unpack(pieces: Iterator[bytes]) -> None:
            os.makedirs(destination, exist_ok=True)
            extract(pieces, destination, "", False)

        return unpack
    if not destination and kind == "oci":
        destination = "-"
    if destination in ("", "-"):
        if stdout.isatty():
            raise Failed(f"dest file is required for {kind} exporter. refusing to write to console")
        return lambda pieces: _write(stdout, pieces)
    if os.path.isdir(destination):
        raise Failed(f"destination file {destination} is a directory")

    def save(pieces: Iterator[bytes]) -> None:
        with open(destination, "wb") as file:
            _write(file, pieces)

    return save


def _write(file: IO[bytes], pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        file.write(piece)
    file.flush()


def make_plan(call: Call) -> Plan:
    """Raises Failed."""
    plan = Plan()
    read_context(call, plan, sys.stdin.buffer)
    read_attributes(call, plan)
    read_secrets(call, plan)
    plan.caches = read_caches(call)
    plan.attributes |= plan.caches.attributes()
    read_outputs(call, plan, sys.stdout.buffer)
    return plan
