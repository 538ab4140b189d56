"""`tiffin info`."""

from __future__ import annotations

from tiffin import __version__
from tiffin.cli import units
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.formats import plain_format
from tiffin.cli.template import TemplateError, parse, render
from tiffin.cli.template_values import go_json, mark
from tiffin.errors import TiffinError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _if_set(info: dict[str, Any], *pairs: tuple[str, str]) -> Iterator[str]:
    for label, key in pairs:
        if info.get(key):
            yield f" {label}: {_text(info[key])}"


def _security(options: list[str]) -> Iterator[str]:
    yield " Security Options:"
    for option in options:
        fields = dict(item.partition("=")[::2] for item in option.split(","))
        yield f"  {fields.get('name', option)}"
        if fields.get("profile"):
            yield f"   Profile: {fields['profile']}"


def _containers(info: dict[str, Any]) -> Iterator[str]:
    yield f" Containers: {info.get('Containers', 0)}"
    yield f"  Running: {info.get('ContainersRunning', 0)}"
    yield f"  Paused: {info.get('ContainersPaused', 0)}"
    yield f"  Stopped: {info.get('ContainersStopped', 0)}"
    yield f" Images: {info.get('Images', 0)}"
    yield from _if_set(info, ("Server Version", "ServerVersion"), ("Storage Driver", "Driver"))
    for key, value in info.get("DriverStatus") or []:
        yield f"  {key}: {value}"
    yield from _if_set(
        info,
        ("Logging Driver", "LoggingDriver"),
        ("Cgroup Driver", "CgroupDriver"),
        ("Cgroup Version", "CgroupVersion"),
    )


def _plugins(info: dict[str, Any]) -> Iterator[str]:
    plugins = info.get("Plugins") or {}
    yield " Plugins:"
    for label in ("Volume", "Network", "Authorization", "Log"):
        if plugins.get(label) or label != "Authorization":
            yield f"  {label}: {' '.join(plugins.get(label) or [])}"
    if info.get("CDISpecDirs"):
        yield " CDI spec directories:"
        yield from (f"  {folder}" for folder in info["CDISpecDirs"])
    yield f" Swarm: {(info.get('Swarm') or {}).get('LocalNodeState') or 'inactive'}"


def _runtimes(info: dict[str, Any]) -> Iterator[str]:
    if info.get("Runtimes"):
        yield f" Runtimes: {' '.join(sorted(info['Runtimes']))}"
        yield f" Default Runtime: {info.get('DefaultRuntime', '')}"
    if info.get("OSType") == "linux":
        yield f" Init Binary: {info.get('InitBinary', '')}"
        for label, key in (("containerd", "ContainerdCommit"), ("runc", "RuncCommit"), ("init", "InitCommit")):
            yield f" {label} version: {(info.get(key) or {}).get('ID', '')}"
        if info.get("SecurityOptions"):
            yield from _security(info["SecurityOptions"])


def _machine(info: dict[str, Any]) -> Iterator[str]:
    yield from _if_set(
        info,
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
    )
    yield f" CPUs: {info.get('NCPU', 0)}"
    yield f" Total Memory: {units.memory(info.get('MemTotal', 0))}"
    yield from _if_set(info, ("Name", "Name"), ("ID", "ID"))
    yield f" Docker Root Dir: {info.get('DockerRootDir', '')}"
    yield f" Debug Mode: {_text(bool(info.get('Debug')))}"
    if info.get("Debug"):
        yield f"  File Descriptors: {info.get('NFd', 0)}"
        yield f"  Goroutines: {info.get('NGoroutines', 0)}"
        yield f"  System Time: {info.get('SystemTime', '')}"
        yield f"  EventsListeners: {info.get('NEventsListener', 0)}"


def _surroundings(info: dict[str, Any]) -> Iterator[str]:
    yield from _if_set(info, ("HTTP Proxy", "HttpProxy"), ("HTTPS Proxy", "HttpsProxy"), ("No Proxy", "NoProxy"))
    if info.get("Labels"):
        yield " Labels:"
        yield from (f"  {label}" for label in info["Labels"])
    yield f" Experimental: {_text(bool(info.get('ExperimentalBuild')))}"
    registries = info.get("RegistryConfig") or {}
    insecure = [name for name, entry in (registries.get("IndexConfigs") or {}).items() if not entry.get("Secure")]
    insecure += registries.get("InsecureRegistryCIDRs") or []
    if insecure:
        yield " Insecure Registries:"
        yield from (f"  {name}" for name in insecure)
    if registries.get("Mirrors"):
        yield " Registry Mirrors:"
        yield from (f"  {mirror}" for mirror in registries["Mirrors"])
    yield f" Live Restore Enabled: {_text(bool(info.get('LiveRestoreEnabled')))}"
    if info.get("DefaultAddressPools"):
        yield " Default Address Pools:"
        yield from (f"   Base: {pool['Base']}, Size: {pool['Size']}" for pool in info["DefaultAddressPools"])


def run(call: Call) -> int:
    failure = None
    info: dict[str, Any] = {}
    try:
        info = call.engine.get("/info")
    except TiffinError as error:
        failure = error
    client = {
        "Debug": call.session.options.on("debug"),
        "Context": call.session.context_name(),
        "Plugins": [],
        "Warnings": None,
    }
    form = call.values.text("format")
    if form:
        whole = {**info, "ClientInfo": client, "ServerErrors": [str(failure)] if failure else None}
        if form == "json":
            call.say(go_json(whole))
        else:
            try:
                template = parse(form.replace("\\t", "\t").replace("\\n", "\n"))
            except TemplateError as error:
                raise Failed(f"template parsing error: {error}", 64) from error
            try:
                call.say(render(template, mark(whole)))
            except TemplateError as error:
                raise Failed(str(error)) from error
        return 1 if failure else 0
    call.say(f"Client:\n Version:    {__version__}\n Context:    {client['Context']}")
    call.say(f" Debug Mode: {_text(client['Debug'])}\n\nServer:")
    if failure is not None:
        call.warn(failure)
        raise Failed("")
    for part in (_containers, _plugins, _runtimes, _machine, _surroundings):
        for line in part(info):
            call.say(line)
    call.say("")
    for warning in info.get("Warnings") or []:
        call.warn(warning)
    return 0


COMMANDS = {"system info": Command("system info", run, "", (plain_format("f"),))}
