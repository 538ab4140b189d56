"""`tiffin inspect` and the inspect of each kind of object."""

from __future__ import annotations

from tiffin.cli import flags
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.flags import Flag
from tiffin.cli.formats import plain_format
from tiffin.cli.kinds import STRING
from tiffin.cli.template import TemplateError, parse, render
from tiffin.cli.template_values import go_json, mark
from tiffin.client.engine import quote
from tiffin.errors import Invalid, NotFound, TiffinError, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PATHS = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
}
_ELSEWHERE = ("node", "service", "task", "plugin", "secret", "config")
_KEPT = b"/:@"


def fetch(call: Call, kind: str, name: str) -> Any:
    """One object's document. Raises TiffinError."""
    values = call.values
    query: dict[str, Any] = {}
    if kind == "container" and values.has("size"):
        query["size"] = values.on("size")
    if kind == "network":
        query = {"scope": values.text("scope") or None if values.has("scope") else None}
        query["verbose"] = values.has("verbose") and values.on("verbose")
    if kind == "image" and values.has("platform") and values.text("platform"):
        query["platform"] = platform(values.text("platform"))
    if kind == "image" and not name:
        raise NotFound("Error: No such image: ")
    return call.engine.get(_PATHS[kind].format(quote(name, _KEPT)), **query)


def platform(text: str) -> dict[str, str]:
    """`os/arch/variant` as the API's platform object. Raises Invalid."""
    from tiffin.model.platform import parse_platform

    parsed = parse_platform(text)
    found = {"os": parsed.os, "architecture": parsed.architecture}
    return found | {"variant": parsed.variant} if parsed.variant else found


def asked_platform(text: str) -> dict[str, str] | None:
    """What --platform says, None for nothing. Raises Invalid."""
    try:
        return platform(text) if text else None
    except Invalid as error:
        raise Invalid(f"invalid platform: {error}") from error


def _any(call: Call, name: str) -> Any:
    for kind in _PATHS:
        try:
            return fetch(call, kind, name)
        except NotFound:
            continue
        except Unavailable:
            raise
        except TiffinError as error:
            if "invalid reference format" not in str(error):
                raise
    raise NotFound(f"Error: No such object: {name}")


_IMAGE_CONFIG = (
    *("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal"),
    *("ArgsEscaped", "Healthcheck", "OnBuild", "Shell"),
)


def _typed(document: Any) -> Any:
    """As docker's templates see it: an image's Config in the order of OCI's, without what is empty."""
    if isinstance(document, dict) and "RootFS" in document and isinstance(document.get("Config"), dict):
        config = document["Config"]
        return {**document, "Config": {key: config[key] for key in _IMAGE_CONFIG if config.get(key)}}
    return document


def print_all(call: Call, names: list[str], get: Callable[[str], Any]) -> int:
    """Each object, as one JSON array or through the template; those that fail are reported at the end."""
    form = call.values.text("format")
    template = None
    if form and form != "json":
        try:
            template = parse(form.replace("\\t", "\t").replace("\\n", "\n"))
        except TemplateError as error:
            raise Failed(f"template parsing error: {error}", 64) from error
    failures, documents = [], []
    for name in names:
        try:
            document = get(name)
            documents.append(document if template is None else render(template, mark(_typed(document))))
        except TiffinError as error:
            failures.append(str(error))
        except TemplateError as error:
            failures.append(f"template parsing error: {error}")
            break
    if template is not None:
        for text in documents or [""]:  # docker ends the line it would have printed
            call.say(text)
    elif form == "json":
        call.say(go_json(documents))
    else:
        call.say(go_json(documents, "    "))
    if failures:
        raise Failed("\n".join(failures))
    return 0


def inspect(call: Call) -> int:
    kind = call.values.text("type")
    if call.values.changed("type") and not kind:
        raise Failed(
            'type is empty: must be one of "config", "container", "image", "network", "node", "plugin", '
            '"secret", "service", "task", "volume"'
        )
    if kind and kind not in _PATHS:
        if kind in _ELSEWHERE:
            raise Failed(f"tiffin knows no {kind}s: inspect a container, image, network or volume")
        raise Failed(
            f'unknown type: "{kind}": must be one of "config", "container", "image", "network", "node", '
            '"plugin", "secret", "service", "task", "volume"'
        )
    if kind and kind != "container" and call.values.on("size"):
        call.warn(f"WARNING: --size ignored for {kind}")
    return print_all(call, call.operands, lambda name: fetch(call, kind, name) if kind else _any(call, name))


def _inspect_kind(kind: str) -> Callable[[Call], int]:
    def inspect(call: Call) -> int:
        if call.values.has("platform") and call.values.text("platform"):
            platform(call.values.text("platform"))  # refused before anything is shown
        return print_all(call, call.operands, lambda name: fetch(call, kind, name))

    return inspect


_FORMAT = plain_format("f")
_SIZE = flags.switch("size", "Display total file sizes", "s")

COMMANDS = {
    "inspect": Command(
        "inspect",
        inspect,
        "NAME|ID [NAME|ID...]",
        (
            _FORMAT,
            flags.switch("size", "Display total file sizes if it is a container", "s"),
            flags.text("type", "Only inspect objects of this type"),
        ),
        least=1,
        most=None,
    ),
    "container inspect": Command(
        "container inspect",
        _inspect_kind("container"),
        "CONTAINER [CONTAINER...]",
        (_FORMAT, _SIZE),
        least=1,
        most=None,
    ),
    "image inspect": Command(
        "image inspect",
        _inspect_kind("image"),
        "IMAGE [IMAGE...]",
        (_FORMAT, flags.text("platform", "Inspect this platform of the image: 'os[/arch[/variant]]'")),
        least=1,
        most=None,
    ),
    "network inspect": Command(
        "network inspect",
        _inspect_kind("network"),
        "NETWORK [NETWORK...]",
        (
            _FORMAT,
            Flag("scope", STRING, "Scope of the network", hidden=True),
            flags.switch("verbose", "Verbose output for diagnostics", "v"),
        ),
        least=1,
        most=None,
    ),
    "volume inspect": Command(
        "volume inspect", _inspect_kind("volume"), "VOLUME [VOLUME...]", (_FORMAT,), least=1, most=None
    ),
}
