"""What is to be said of a job's results, as the client asked: provenance, and the packages in them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from time import time_ns
from typing import Any

from tiffin.build.solve.solved import Solved
from tiffin.engine.builds import Statement
from tiffin.http.buildkit.attestations import (
    PROVENANCE,
    SBOM,
    Made,
    document,
    provenance,
    same_but_for_when,
    statement,
    subjects_of,
)
from tiffin.http.buildkit.jobs import Job
from tiffin.http.buildkit.sbom import packages
from tiffin.model.digest import Digest
from tiffin.model.reference import Reference

_FILES = {SBOM: "sbom.spdx.json", PROVENANCE: "provenance.json"}
_CHUNK = 1 << 20


class Statements:
    """inline: those too that are only for images in a store or registry, not for files and archives.

    All of it blocks.
    """

    def __init__(self, job: Job, names: Sequence[Reference] = (), *, inline: bool) -> None:
        self._job, self._names = job, names
        self._asked = {kind: options for kind, options in job.attestations.items() if inline or not _is_inline(options)}

    def __bool__(self) -> bool:
        return bool(self._asked)

    def about(self, solved: Solved, manifest: Digest, before: Sequence[Statement]) -> list[Statement]:
        """`engine.builds_documents.Attest`. A provenance that nobody asked for by name is not renewed for its times'
        sake: what is built again from the cache alone is the very same index."""
        subjects = subjects_of(self._names, manifest, solved.image.platform)
        found = []
        for kind, predicate in self._predicates(solved):
            raw = statement(kind, predicate, subjects)
            if kind == PROVENANCE and _is_inline(self._asked["provenance"]):
                raw = next((one.raw for one in before if one.kind == kind and same_but_for_when(one.raw, raw)), raw)
            found.append(Statement(kind, raw))
        return found

    def files(self, solved: Solved, root: int, prefix: str = "", platform: str = "") -> dict[bytes, bytes]:
        """The same about all files beneath a root (an fd), as files to lie beside them.

        platform: is part of their names, where several platforms' lie in one place.
        """
        if not self._asked:
            return {}
        subjects = dict(_digests(root))
        found = {}
        for kind, predicate in self._predicates(solved):
            stem, _, suffix = _FILES[kind].rpartition(".")
            name = ".".join(filter(None, (stem, platform.replace("/", "_"), suffix)))
            found[(prefix + name).encode()] = statement(kind, predicate, subjects)
        return found

    def _predicates(self, solved: Solved) -> list[tuple[str, Any]]:
        found: list[tuple[str, Any]] = []
        if "sbom" in self._asked:
            created = str(json.loads(solved.document()).get("created") or "")
            with solved.opened() as root:
                listed = packages(root)
            name = ",".join(map(str, self._names))
            found.append((SBOM, document(listed, name, f"{created[:19]}Z")))
        if "provenance" in self._asked:
            found.append((PROVENANCE, provenance(_made(self._job, solved), self._asked["provenance"])))
        return found


def _is_inline(options: Mapping[str, str]) -> bool:
    """Asked for images alone, by a client's default."""
    return options.get("inline-only") in ("true", "1")


def _made(job: Job, solved: Solved) -> Made:
    filename, dockerfile = job.narrator.source
    return Made(job.ref, solved.plan, filename, dockerfile, job.attributes, job.began, time_ns())


def metadata(job: Job, results: Mapping[str, Solved], *, several: bool) -> dict[str, str]:
    """For --metadata-file: each provenance in short, as buildx shows it (base64)."""
    found = {}
    for platform, solved in results.items():
        told = provenance(_made(job, solved), {**job.attestations.get("provenance", {}), "mode": "min"})
        del told["metadata"]
        name = "buildx.build.provenance" + (f"/{platform}" if several else "")
        found[name] = base64.b64encode(json.dumps(told).encode()).decode()
    return found


def _digests(root: int) -> list[tuple[str, str]]:
    found = []
    for top, folders, names, directory in os.fwalk(b".", dir_fd=root):
        folders.sort()
        for name in sorted(names):
            if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                continue
            digest = hashlib.sha256()
            with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory), "rb") as file:
                while data := file.read(_CHUNK):
                    digest.update(data)
            found.append((os.path.normpath(os.path.join(top, name)).decode("utf-8", "replace"), digest.hexdigest()))
    return found
