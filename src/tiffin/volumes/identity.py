"""What volumes are called, and whether one that is there is the one that is meant."""

import re
from collections.abc import Mapping
from dataclasses import replace

from tiffin.errors import Conflict, Invalid
from tiffin.model.volume import Volume
from tiffin.volumes.drivers import Driver, Found

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", re.ASCII)
_NAME_LENGTH = 255


def taken(name: str) -> Conflict:
    """The refusal of a name that a volume has."""
    return Conflict(f"create {name}: volume {name} exists; remove it or choose another name")


def same(present: Volume, driver: str, options: Mapping[str, str] | None) -> Volume:
    """The volume that is there, where it is what was asked for. Raises Conflict."""
    if driver and driver != present.driver:
        raise Conflict(
            f"create {present.name}: conflict: volume name must be unique: it exists with driver {present.driver}"
        )
    if options and dict(options) != dict(present.options):
        raise Conflict(
            f"create {present.name}: volume {present.name} exists with other options; remove it or choose another name"
        )
    return present


def as_found(volume: Volume, found: Found) -> Volume:
    """With what its driver says of it."""
    return replace(
        volume, mountpoint=found.mountpoint, created=found.created or volume.created, status=dict(found.status)
    )


def of_plugin(plugin: Driver, found: Found) -> Volume:
    """A volume that we know from its driver alone."""
    blank = Volume(found.name, found.mountpoint, 0, plugin.name, scope=plugin.scope)
    return as_found(blank, found)


def check_name(name: str) -> None:
    """Raises Invalid with docker's words."""
    if len(name) == 1:
        raise Invalid(f"create {name}: volume name is too short, names should be at least two alphanumeric characters")
    if not _NAME.fullmatch(name):
        raise Invalid(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    if len(name) > _NAME_LENGTH:
        raise Invalid(f"create {name}: volume name is too long, names should be at most {_NAME_LENGTH} characters")
