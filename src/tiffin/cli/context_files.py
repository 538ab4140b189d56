"""`tiffin context export` and `import`: a context as a tar archive, as docker writes it."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile

from tiffin.cli import terminal
from tiffin.cli.command import Call, Command, Failed
from tiffin.client.contexts import TLS_FILES, check_name

_LIMIT = 10 << 20


def export(call: Call) -> int:
    name = call.operands[0]
    contexts = call.session.contexts
    document = contexts.get(name)
    target = call.operands[1] if len(call.operands) > 1 else f"{name}.dockercontext"
    if target == "-" and terminal.is_terminal(terminal.STDOUT):
        raise Failed("cowardly refusing to export to a terminal, specify a file path")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        _add(archive, "meta.json", json.dumps(document, separators=(",", ":")).encode())
        for file_name in contexts.tls_files(name):
            with open(os.path.join(contexts.tls_path(name), "docker", file_name), "rb") as file:
                _add(archive, f"tls/docker/{file_name}", file.read())
    if target == "-":
        sys.stdout.buffer.write(buffer.getvalue())
        return 0
    try:
        # it holds private keys
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Failed(f"open {target}: {os.strerror(error.errno or 0).lower()}") from error
    with open(descriptor, "wb") as output:
        output.write(buffer.getvalue())
    call.warn(f'Written file "{target}"')
    return 0


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    archive.addfile(info, io.BytesIO(content))


def _members(data: bytes) -> dict[str, bytes]:
    """Files by name, from a tar or zip archive. Raises Failed."""
    found: dict[str, bytes] = {}
    if data[:4] == b"PK\x03\x04":
        import zipfile

        with zipfile.ZipFile(io.BytesIO(data)) as bundle:
            for item in bundle.infolist():
                if item.file_size <= _LIMIT and not item.is_dir():
                    found[item.filename] = bundle.read(item)
        return found
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for info in archive:
                file = archive.extractfile(info) if info.isreg() and info.size <= _LIMIT else None
                if file is not None:
                    found[info.name] = file.read()
    except tarfile.TarError as error:
        raise Failed(f"not a context's archive: {error}") from error
    return found


def import_context(call: Call) -> int:
    name, source = call.operands
    check_name(name)
    try:
        if source == "-":
            data = sys.stdin.buffer.read(_LIMIT + 1)
        else:
            with open(source, "rb") as stream:
                data = stream.read(_LIMIT + 1)
    except OSError as error:
        raise Failed(f"open {source}: {os.strerror(error.errno or 0).lower()}") from error
    if len(data) > _LIMIT:
        raise Failed("read exceeds the defined limit")
    members = _members(data)
    try:
        document = json.loads(members["meta.json"])
    except (KeyError, ValueError) as error:
        raise Failed("invalid context: no metadata found") from error
    document["Name"] = name
    files = {file: members[f"tls/docker/{file}"] for file in TLS_FILES if f"tls/docker/{file}" in members}
    call.session.contexts.create(document, files)
    call.say(name)
    call.warn(f'Successfully imported context "{name}"')
    return 0


COMMANDS = {
    "context export": Command("context export", export, "CONTEXT [FILE|-]", least=1, most=2),
    "context import": Command("context import", import_context, "CONTEXT FILE|-", least=2, most=2),
}
