"""Log options, as docker checks them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tiffin.errors import Invalid
from tiffin.model.container_host import LogConfig

_SIZE = re.compile(r"(-?\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_COMMON = frozenset(("mode", "max-buffer-size", "labels", "labels-regex", "env", "env-regex", "tag"))
_OPTIONS = {
    "json-file": _COMMON | {"max-size", "max-file", "compress"},
    "local": _COMMON | {"max-size", "max-file", "compress"},
    "journald": _COMMON,
    "none": frozenset[str](),
}
DRIVERS = frozenset(_OPTIONS)
_TAG = re.compile(r"\{\{\s*(?:\.(\w+)|.*?)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a log may say of its container. name: without the slash; image: as the user named it."""

    id: str
    name: str
    image: str
    image_id: str
    command: str
    labels: Mapping[str, str]
    env: tuple[str, ...]


def size(text: str) -> int:
    """`10m` in bytes; -1 for no limit. Raises Invalid."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise Invalid(f"invalid size: '{text}'")
    return int(float(match[1]) * 1024 ** _POWERS[match[2].lower()])


def check_options(config: LogConfig) -> None:
    """Raises Invalid for an unknown driver or option, or a value that can't be."""
    driver = config.type or "json-file"
    if driver not in _OPTIONS:
        raise Invalid(f"logger: no log driver named '{driver}' is registered")
    for key in config.config:
        if key not in _OPTIONS[driver]:
            after = f"for log driver {driver}" if driver == "local" else f"for {driver} log driver"
            raise Invalid(f"unknown log opt '{key}' {after}")
    settings(config)


def settings(config: LogConfig) -> tuple[int, int, bool]:
    """max-size in bytes (-1: no end), max-file, compress. Raises Invalid."""
    options = config.config
    default_files, default_compress = ("1", "false") if config.type == "json-file" else ("5", "true")
    max_size = size(options.get("max-size", "-1" if config.type == "json-file" else "20m"))
    if "max-size" in options and max_size < 0 and (options["max-size"] != "-1" or config.type == "local"):
        raise Invalid(f"invalid size: '{options['max-size']}'")
    text = options.get("max-file", default_files)
    if not text.isdigit() or int(text) < 1:
        raise Invalid(f"max-file cannot be less than 1, nor other than a number: '{text}'")
    mode = options.get("mode", "blocking")
    if mode not in ("blocking", "non-blocking"):
        raise Invalid(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" in options:
        if mode != "non-blocking":
            raise Invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        try:
            size(options["max-buffer-size"])
        except Invalid as error:
            raise Invalid(f"error parsing option max-buffer-size: {error}") from error
    compress = options.get("compress", default_compress)
    if compress not in ("true", "false"):
        raise Invalid(f"invalid value for compress: '{compress}'")
    if compress == "true" and "compress" in options and (int(text) < 2 or max_size < 0):
        raise Invalid("compress cannot be true when max-file is less than 2 or max-size is not set")
    return max_size, int(text), compress == "true"


def attributes(config: LogConfig, facts: Facts) -> dict[str, str]:
    """What `logs --details` shows: the labels and variables that the options name, and the tag."""
    options = config.config
    found: dict[str, str] = {}
    variables = dict(item.partition("=")[::2] for item in facts.env)
    for source, key in ((facts.labels, "labels"), (variables, "env")):
        for name in filter(None, options.get(key, "").split(",")):
            if name in source:
                found[name] = source[name]
        pattern = options.get(f"{key}-regex")
        if pattern:
            try:
                expression = re.compile(pattern)
            except re.error as error:
                raise Invalid(f"invalid log option {key}-regex: {error}") from error
            found.update({name: value for name, value in source.items() if expression.search(name)})
    if options.get("tag"):
        found["tag"] = tag(options["tag"], facts)
    return found


def tag(template: str, facts: Facts) -> str:
    """`--log-opt tag`: docker's fields (docs: log tags) in the form {{.Name}}. Raises Invalid for any other action."""
    fields = {
        "ID": facts.id[:12],
        "FullID": facts.id,
        "Name": facts.name,
        "ImageName": facts.image,
        "ImageID": facts.image_id.removeprefix("sha256:")[:12],
        "ImageFullID": facts.image_id,
        "Command": facts.command,
        "DaemonName": "docker",
    }

    def value(match: re.Match[str]) -> str:
        if match[1] not in fields:
            known = ", ".join(f".{name}" for name in fields)
            raise Invalid(f"invalid log option tag: {match[0]} is not one of {known}")
        return fields[match[1]]

    return _TAG.sub(value, template)


def journal_fields(config: LogConfig, facts: Facts) -> dict[str, str]:
    """The fields of each entry in the host's journal, as docker names them (docs: journald logging driver)."""
    name = tag(config.config.get("tag", "{{.ID}}"), facts)
    extra = attributes(replace(config, config={**config.config, "tag": ""}), facts)
    custom = {re.sub(r"[^A-Z0-9_]", "_", key.upper()).lstrip("_"): value for key, value in extra.items()}
    return {
        **{key: value for key, value in custom.items() if key},
        "CONTAINER_ID": facts.id[:12],
        "CONTAINER_ID_FULL": facts.id,
        "CONTAINER_NAME": facts.name,
        "CONTAINER_TAG": name,
        "IMAGE_NAME": facts.image,
        "SYSLOG_IDENTIFIER": name,
    }
