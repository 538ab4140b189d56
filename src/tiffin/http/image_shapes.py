"""Images as the API shows them, version by version."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET

from tiffin.errors import Invalid
from tiffin.http.request import Request
from tiffin.images import Deleted, Message, Progress, Removed, Step, created_seconds
from tiffin.model.image import Image
from tiffin.model.platform import Platform, normalized
from tiffin.wire import images as wire

_NEVER = "0001-01-01T00:00:00Z"
_BAR = 50
# what docker always shows; of an image's own words the rest comes as it stands
_EMPTY: dict[str, Any] = {
    "User": "", "Env": None, "Cmd": None, "Volumes": None, "WorkingDir": "", "Entrypoint": None, "OnBuild": None,
    "Labels": None,
}  # fmt: skip
_OF_CONTAINERS: dict[str, Any] = {
    "Hostname": "", "Domainname": "", "AttachStdin": False, "AttachStdout": False, "AttachStderr": False,
    "Tty": False, "OpenStdin": False, "StdinOnce": False, "Image": "",
}  # fmt: skip


def summary(request: Request, image: Image, shared: int, containers: int) -> wire.Summary:
    tags, digests = list(image.repo_tags), list(image.repo_digests)
    if not request.since("1.43") and not tags and not digests:
        tags, digests = ["<none>:<none>"], ["<none>@<none>"]
    return wire.Summary(
        id=image.id,
        parent_id=image.parent or "",
        repo_tags=tags,
        repo_digests=digests,
        created=int(created_seconds(image.created)),
        size=image.size,
        shared_size=shared,
        virtual_size=UNSET if request.since("1.44") else image.size,
        labels=dict(image.config.labels) or None,
        containers=containers,
    )


def inspected(request: Request, image: Image, driver: str) -> wire.Inspected:
    config = image.config
    run = {**_EMPTY, **({} if request.since("1.50") else _OF_CONTAINERS), **config.run}
    old = not request.since("1.45")
    return wire.Inspected(
        id=image.id,
        repo_tags=list(image.repo_tags),
        repo_digests=list(image.repo_digests),
        parent=image.parent or "",
        comment=config.comment,
        created=config.created or (UNSET if request.since("1.44") else _NEVER),
        container="" if old else UNSET,
        container_config={**_EMPTY, **_OF_CONTAINERS} if old else UNSET,
        docker_version=config.docker_version,
        author=config.author,
        config=run,
        architecture=config.platform.architecture,
        variant=config.platform.variant or UNSET,
        os=config.platform.os,
        size=image.size,
        virtual_size=UNSET if request.since("1.44") else image.size,
        graph_driver=wire.GraphDriver(name=driver, data=None),
        root_fs=wire.RootFS(layers=list(config.diff_ids)),
        metadata=wire.Metadata(last_tag_time=_moment(image.tagged)),
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z") if seconds else _NEVER


def history(step: Step) -> wire.HistoryItem:
    return wire.HistoryItem(
        id=step.id,
        created=step.created,
        created_by=step.created_by,
        tags=list(step.tags) or None,
        size=step.size,
        comment=step.comment,
    )


def removal(item: Removed) -> wire.Removal:
    return wire.Removal(deleted=item.digest) if isinstance(item, Deleted) else wire.Removal(untagged=item.name)


def line(message: Progress | Message) -> wire.Line:
    if isinstance(message, Message):
        if message.aux is not None:
            return wire.Line(progress_detail=wire.ProgressDetail(), aux=message.aux)
        return wire.Line(status=message.text, id=message.id) if message.status else wire.Line(stream=message.text)
    return wire.Line(
        status=message.status,
        id=message.id,
        progress_detail=wire.ProgressDetail(current=message.current, total=message.total),
        progress=_bar(message),
    )


def _bar(message: Progress) -> str:
    if message.total <= 0:
        return _size(message.current) if message.current else ""
    done = min(_BAR, message.current * _BAR // message.total)
    drawn = "=" * done + ">" + " " * (_BAR - done) if done < _BAR else "=" * _BAR + ">"
    return f"[{drawn[: _BAR + 1]}] {_size(message.current):>8}/{_size(message.total)}"


def _size(number: float) -> str:
    """As docker prints sizes: powers of 1000, four digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.4g}{unit}"
        number /= 1000
    return f"{number:.4g}TB"


class _Platform(msgspec.Struct):
    os: str = ""
    architecture: str = ""
    variant: str = ""


def platform(text: str) -> Platform:
    """The JSON form of a platform. Invalid for anything else."""
    try:
        given = msgspec.json.decode(text, type=_Platform)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Invalid(f"failed to parse platform {text!r}: {error}") from error
    if not given.os or not given.architecture:
        raise Invalid(f"platform {text!r}: os and architecture are needed")
    return normalized(given.os, given.architecture, given.variant)
