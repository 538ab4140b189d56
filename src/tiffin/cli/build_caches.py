"""--cache-from and --cache-to of `tiffin build`, as docker buildx reads them."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from tiffin.cli.command import Call, Failed
from tiffin.client import build_stores

Entry = tuple[str, Mapping[str, str]]


@dataclass(slots=True)
class Caches:
    """sources, targets: type and attributes of each. stores: directories to offer. tags: of directories that are
    written to."""

    sources: list[Entry] = field(default_factory=list)
    targets: list[Entry] = field(default_factory=list)
    stores: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def attributes(self) -> dict[str, str]:
        """What the frontend is told."""
        listed = [{"Type": kind, "Attrs": dict(found)} for kind, found in self.sources]
        return {"cache-imports": json.dumps(listed)} if listed else {}

    def tag(self, response: Mapping[str, str]) -> None:
        """Note in the directories what was written to them."""
        if written := response.get("cache.manifest"):
            for directory, name in self.tags.items():
                build_stores.tag(directory, name, json.loads(written))


def read_caches(call: Call) -> Caches:
    """Raises Failed."""
    caches = Caches()
    for text in call.values.list("cache-to"):
        kind, found = _entry(text)
        if kind == "local":
            directory = _required(found, "dest", "local cache exporter requires dest")
            os.makedirs(directory, exist_ok=True)
            caches.stores[f"local:{directory}"] = directory
            caches.tags[directory] = found.get("tag", "latest")
        elif kind == "registry":
            _required(found, "ref", "registry cache exporter requires ref")
        caches.targets.append((kind, found))
    for text in call.values.list("cache-from"):
        kind, found = _entry(text)
        if kind == "local":
            directory = _required(found, "src", "local cache importer requires src")
            try:
                if not found.get("digest"):
                    found["digest"] = build_stores.tagged(directory, found.get("tag", "latest"))
            except LookupError as error:
                print(f"WARNING: local cache import at {directory} skipped: {error}", file=sys.stderr)
                continue
            caches.stores[f"local:{directory}"] = directory
        elif kind == "registry":
            _required(found, "ref", "registry cache importer requires ref")
        caches.sources.append((kind, found))
    if "BUILDKIT_INLINE_CACHE=1" in call.values.list("build-arg"):
        caches.targets.append(("inline", {}))
    return caches


def _entry(text: str) -> tuple[str, dict[str, str]]:
    """`NAME`, or `type=…,…`."""
    fields = next(csv.reader([text]), [])
    if not any("=" in one for one in fields):
        return "registry", {"ref": text}
    found = {}
    for one in fields:
        name, equals, value = one.partition("=")
        if not equals:
            raise Failed(f"invalid value {one}: expected key=value")
        found[name.strip().lower()] = value
    kind = found.pop("type", "")
    if not kind:
        raise Failed(f"{text}: type is required, as in type=registry,ref=NAME")
    return kind, found


def _required(found: Mapping[str, str], name: str, words: str) -> str:
    if not found.get(name):
        raise Failed(words)
    return found[name]
