"""Flags of run and create that bring files in: volumes, mounts, tmpfs."""

from __future__ import annotations

import os

from tiffin.cli import flags
from tiffin.cli.flags import Flag, Values
from tiffin.cli.kinds import BYTES, BadValue, Kind, parse_bool, ram_bytes, split_csv
from tiffin.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _absolute(path: str) -> str:
    """A path that begins with a dot is one of this machine's, from here."""
    return os.path.abspath(path) if path.startswith(".") else path


def _boolean(key: str, text: str) -> bool:
    try:
        return parse_bool(text)
    except BadValue as error:
        raise BadValue(f"invalid value for {key}: {text}") from error


def _assign(target: dict[str, str], text: str) -> None:
    key, _, value = text.partition("=")
    if key:
        target[key] = value


class _MountFields:
    """One --mount, field by field; `mount` is the API's Mount."""

    def __init__(self) -> None:
        self.mount: dict[str, Any] = {"Type": "volume"}

    def options(self, group: str) -> dict[str, Any]:
        found: dict[str, Any] = self.mount.setdefault(f"{group}Options", {})
        return found

    def driver(self) -> dict[str, Any]:
        config: dict[str, Any] = self.options("Volume").setdefault("DriverConfig", {})
        return config

    def take(self, field: str) -> None:
        key, equals, value = field.partition("=")
        key = key.lower()
        if not equals:
            if key not in ("readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src", "bind-idmap"):
                raise BadValue(f"invalid field '{field}' must be a key=value pair")
            value = "true"
        if not self._plain(key, value) and not self._bind(key, value) and not self._other(key, value):
            raise BadValue(f"unexpected key '{key}' in '{field}'")

    def _plain(self, key: str, value: str) -> bool:
        if key == "type":
            self.mount["Type"] = value.lower()
        elif key in ("source", "src"):
            self.mount["Source"] = _absolute(value)
        elif key in ("target", "dst", "destination"):
            self.mount["Target"] = value
        elif key in ("readonly", "ro"):
            self.mount["ReadOnly"] = _boolean(key, value)
        elif key == "consistency":
            self.mount["Consistency"] = value.lower()
        else:
            return False
        return True

    def _bind(self, key: str, value: str) -> bool:
        if key == "bind-propagation":
            self.options("Bind")["Propagation"] = value.lower()
        elif key == "bind-nonrecursive":
            self.options("Bind")["NonRecursive"] = _boolean(key, value)
        elif key == "bind-create-src":
            self.options("Bind")["CreateMountpoint"] = _boolean(key, value)
        elif key == "bind-idmap":
            source, _, user = value.partition(":")
            self.options("Bind")["IDMapping"] = {"Source": "match-user" if source == "true" else source, "User": user}
        elif key == "bind-recursive":
            setting = {
                "disabled": "NonRecursive",
                "writable": "ReadOnlyNonRecursive",
                "readonly": "ReadOnlyForceRecursive",
            }
            if value in setting:
                self.options("Bind")[setting[value]] = True
            elif value != "enabled":
                choices = '(must be "enabled", "disabled", "writable", or "readonly")'
                raise BadValue(f"invalid value for {key}: {value} {choices}")
        else:
            return False
        return True

    def _other(self, key: str, value: str) -> bool:
        if key == "volume-subpath":
            self.options("Volume")["Subpath"] = value
        elif key == "volume-nocopy":
            self.options("Volume")["NoCopy"] = _boolean(key, value)
        elif key == "volume-label":
            _assign(self.options("Volume").setdefault("Labels", {}), value)
        elif key == "volume-driver":
            self.driver()["Name"] = value
        elif key == "volume-opt":
            _assign(self.driver().setdefault("Options", {}), value)
        elif key == "image-subpath":
            self.options("Image")["Subpath"] = value
        elif key == "tmpfs-size":
            try:
                self.options("Tmpfs")["SizeBytes"] = ram_bytes(value)
            except BadValue as error:
                raise BadValue(f"invalid value for {key}: {value}") from error
        elif key == "tmpfs-mode":
            try:
                self.options("Tmpfs")["Mode"] = int(value, 8)
            except ValueError as error:
                raise BadValue(f"invalid value for {key}: {value}") from error
        else:
            return False
        return True

    def finish(self) -> dict[str, Any]:
        mount = self.mount
        if not mount["Type"]:
            raise BadValue("type is required")
        if not mount.get("Target"):
            raise BadValue("target is required")
        for group in ("volume", "image", "bind", "tmpfs"):
            if f"{group.title()}Options" in mount and mount["Type"] != group:
                raise BadValue(f"cannot mix '{group}-*' options with mount type '{mount['Type']}'")
        bind = mount.get("BindOptions", {})
        for setting, key in (("writable", "ReadOnlyNonRecursive"), ("readonly", "ReadOnlyForceRecursive")):
            if bind.get(key) and not mount.get("ReadOnly"):
                needed = "requires 'readonly' to be specified in conjunction"
                raise BadValue(f"option 'bind-recursive={setting}' {needed}")
        if bind.get("ReadOnlyForceRecursive") and bind.get("Propagation") != "rprivate":
            needed = "requires 'bind-propagation=rprivate' to be specified in conjunction"
            raise BadValue(f"option 'bind-recursive=readonly' {needed}")
        return mount


def parse_mount(raw: str, previous: list[dict[str, Any]]) -> list[dict[str, Any]]:
    fields = _MountFields()
    for field in split_csv(raw):
        fields.take(field)
    return [*previous, fields.finish()]


FLAGS = (
    Flag("mount", Kind("mount", parse_mount, list), "Attach a file system mount to the container"),
    Flag("shm-size", BYTES, "Size of /dev/shm"),
    flags.several("storage-opt", "Storage driver options for the container"),
    flags.several("tmpfs", "Mount a tmpfs directory"),
    flags.several("volume", "Bind mount a volume", "v"),
    flags.text("volume-driver", "Volume driver for the container"),
    flags.several("volumes-from", "Mount volumes from other containers"),
)


def volume(raw: str) -> tuple[str, str]:
    """`(bind, "")` for `source:target[:options]`, `("", target)` for an anonymous volume. Raises Invalid."""
    if not raw:
        raise Invalid("invalid empty volume spec")
    parts = raw.split(":")
    if len(parts) == 1:
        return "", raw
    if not all(parts):
        raise Invalid(f"invalid spec: {raw}: empty section between colons")
    return ":".join([_absolute(parts[0]), *parts[1:]]), ""


def fill(values: Values, config: dict[str, Any], host: dict[str, Any]) -> None:
    """Put these flags' part into the bodies of `Config` and `HostConfig`. Raises Invalid."""
    binds, anonymous = [], {}
    # a volume given twice counts once, as it does in docker
    for item in dict.fromkeys(values.list("volume")):
        bind, target = volume(item)
        if bind:
            binds.append(bind)
        else:
            anonymous[target] = dict[str, str]()
    options = {}
    for item in values.list("storage-opt"):
        key, equals, value = item.partition("=")
        if not equals:
            raise Invalid("invalid storage option")
        options[key] = value
    config["Volumes"] = anonymous
    host.update(
        Binds=binds or None,
        Mounts=values.get("mount") or None,
        ShmSize=values.number("shm-size"),
        StorageOpt=options or None,
        Tmpfs={target: rest for target, _, rest in (item.partition(":") for item in values.list("tmpfs"))} or None,
        VolumeDriver=values.text("volume-driver"),
        VolumesFrom=values.list("volumes-from") or None,
    )
