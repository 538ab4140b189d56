"""`tiffin version`."""

from __future__ import annotations

import platform
import sys

from tiffin import __version__
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.formats import plain_format
from tiffin.cli.table import align
from tiffin.cli.template import TemplateError, parse, render
from tiffin.cli.template_values import go_json, mark
from tiffin.client.engine import NEWEST_API
from tiffin.errors import TiffinError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def architecture() -> str:
    """This machine's architecture as images name it."""
    machine = platform.machine()
    return _MACHINES.get(machine, machine)


def client(call: Call, api_version: str) -> dict[str, Any]:
    return {
        "Version": __version__,
        "ApiVersion": api_version,
        "DefaultAPIVersion": ".".join(map(str, NEWEST_API)),
        "PythonVersion": platform.python_version(),
        "GitCommit": "",
        "GoVersion": "",
        "Os": sys.platform,
        "Arch": architecture(),
        "BuildTime": "",
        "Context": call.session.context_name(),
    }


def _client_lines(info: dict[str, Any]) -> list[str]:
    api, newest = info["ApiVersion"], info["DefaultAPIVersion"]
    return [
        "Client:",
        f" Version:\t{info['Version']}",
        f" API version:\t{api}" + (f" (downgraded from {newest})" if api != newest else ""),
        f" Python version:\t{info['PythonVersion']}",
        f" OS/Arch:\t{info['Os']}/{info['Arch']}",
        f" Context:\t{info['Context']}",
    ]


_ENGINE = (
    ("API version", "ApiVersion"),
    ("Go version", "GoVersion"),
    ("Python version", "PythonVersion"),
    ("Git commit", "GitCommit"),
    ("Built", "BuildTime"),
)


def _server_lines(server: dict[str, Any]) -> list[str]:
    name = (server.get("Platform") or {}).get("Name")
    lines = ["", f"Server: {name}" if name else "Server:"]
    components = server.get("Components") or [{"Name": "Engine", "Version": server.get("Version"), "Details": server}]
    for component in components:
        details = component.get("Details") or {}
        lines += [f" {component['Name']}:", f"  Version:\t{component['Version']}"]
        if component["Name"] == "Engine":
            for label, key in _ENGINE:
                text = details.get(key)
                if text and key == "ApiVersion":
                    text = f"{text} (minimum version {details.get('MinAPIVersion', '')})"
                if text:
                    lines.append(f"  {label}:\t{text}")
            lines.append(f"  OS/Arch:\t{details.get('Os', '')}/{details.get('Arch', '')}")
            lines.append(f"  Experimental:\t{details.get('Experimental', 'false')}")
        else:
            lines += [f"  {key}:\t{details[key]}" for key in sorted(details)]
    return lines


def run(call: Call) -> int:
    failure = None
    server = None
    api_version = ".".join(map(str, NEWEST_API))
    try:
        server = call.engine.get("/version")
        api_version = call.engine.version
    except TiffinError as error:
        failure = error
    info = client(call, api_version)
    form = call.values.text("format")
    if form == "json":
        call.say(go_json({"Client": info, "Server": server}))
    elif form:
        try:
            template = parse(form.replace("\\t", "\t").replace("\\n", "\n"))
        except TemplateError as error:
            text = str(error).replace("template: :", "template: version:", 1)  # docker's has that name
            raise Failed(f"template parsing error: {text}", 64) from error
        try:
            call.say(render(template, mark({"Client": info, "Server": server})))
        except TemplateError as error:
            if failure is None:
                raise Failed(str(error)) from error
    else:
        lines = _client_lines(info) + (_server_lines(server) if server else [])
        call.say(align("\n".join(lines), least=19, gap=1))
    if failure is not None:
        raise Failed(str(failure))
    return 0


COMMANDS = {"version": Command("version", run, "", (plain_format("f"),))}
