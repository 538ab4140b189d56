"""Contexts that come whole: a tar in the request, one from the web, a repository."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tiffin.build.dockerfile.ignore import Patterns, ignore_file_names, read_patterns
from tiffin.build.remotes import parse_git
from tiffin.build.solve import git
from tiffin.build.solve.request import Progress, Wanted
from tiffin.build.steps import GitSource
from tiffin.content import web
from tiffin.content.compression import Prefixed, Readable, decompressed
from tiffin.engine import container_root
from tiffin.errors import Invalid, NotFound, Unavailable
from tiffin.linux import paths
from tiffin.snapshots import trees
from tiffin.snapshots.directories import opened
from tiffin.snapshots.extract import Options, extract
from tiffin.snapshots.tar import TarReader

_TEXT = 1 << 20  # bytes that a Dockerfile from the web may have
DEFAULT = "Dockerfile"


@dataclass(frozen=True, slots=True)
class Unpacked:
    """Implements `build.solve.request.Context`: a directory that holds all there is, less what is ignored."""

    path: Path
    key: str = ""

    async def take(self, wanted: Wanted, into: Path, progress: Progress) -> Path:
        return self.path


def unpack(stream: Readable, path: Path) -> None:
    """A tar, compressed or not, as a context: root owns all of it. Blocks. Invalid for a damaged or hostile one."""
    _, plain = decompressed(stream)
    with opened(path) as root:
        extract(root, plain, options=Options(owner=lambda uid, gid: (0, 0)))


def fetch(remote: str, path: Path, log: Callable[[int, bytes], None]) -> str:
    """Fill a directory from `remote=`: a repository, an archive, or one Dockerfile, whose name is then given."""
    found = parse_git(remote)
    if found is not None:
        step = GitSource(
            remote=f"https://{found.remote}" if found.local else found.remote,
            ref=found.ref,
            subdirectory=found.subdirectory,
            checksum=found.checksum,
            keep_git_dir=bool(found.keep_git_dir),
            submodules=found.submodules is not False,
        )
        tree, _ = git.check_out(step, path, log)
        tree.rename(path / "context")
        return ""
    if not remote.startswith(("http://", "https://")):
        raise Invalid(f"remote URL {remote!r} is neither a git repository nor http(s)")
    try:
        with web.opened(remote) as answer:
            return _fetched(answer, path / "context")
    except web.Refused as error:
        raise Invalid(f"error downloading remote context {remote}: {error}") from error
    except OSError as error:
        raise Unavailable(f"error downloading remote context {remote}: {error}") from error


def _fetched(answer: Readable, into: Path) -> str:
    into.mkdir()
    compression, plain = decompressed(answer)
    head = b""
    while len(head) < 512 and (more := plain.read(512 - len(head))):
        head += more
    whole = Prefixed(head, plain)
    try:
        is_archive = len(head) == 512 and (bool(compression) or _is_header(head))
    except Invalid:
        is_archive = False
    if is_archive:
        unpack(whole, into)
        return ""
    text = bytearray()
    while len(text) <= _TEXT and (data := whole.read(1 << 16)):
        text += data
    if len(text) > _TEXT:
        raise Invalid("the remote file is neither an archive nor a Dockerfile: it has more than 1 MiB")
    (into / DEFAULT).write_bytes(text)
    return DEFAULT


def _is_header(block: bytes) -> bool:
    class One:
        left = block

        def read(self, size: int = -1, /) -> bytes:
            data, self.left = self.left, b""
            return data

    try:
        return next(iter(TarReader(One())), None) is not None
    except Invalid:
        return False


def dockerfile(path: Path, name: str) -> bytes:
    """The Dockerfile's bytes; links stay inside the context. NotFound in docker's words."""
    wanted = name.lstrip("/") or DEFAULT
    with opened(path) as root:
        for candidate in (wanted, "dockerfile") if wanted == DEFAULT else (wanted,):
            try:
                os.close(paths.open_in(root, os.fsencode(candidate)))
            except OSError:
                continue
            content = container_root.read_small(root, candidate)
            if not content:
                raise Invalid(f"the Dockerfile ({candidate}) cannot be empty")
            return content
    raise NotFound(f"Cannot locate specified Dockerfile: {wanted}")


def ignored(path: Path, name: str) -> tuple[str, ...]:
    """Patterns of the Dockerfile's own ignore file, else of .dockerignore; what they match is removed."""
    with opened(path) as root:
        for candidate in ignore_file_names(name.lstrip("/") or DEFAULT):
            content = container_root.read_small(root, candidate)
            if content:
                patterns = read_patterns(content)
                _remove(root, Patterns(patterns), b"", None)
                return patterns
    return ()


def _remove(directory: int, patterns: Patterns, above: bytes, before: tuple[bool, ...] | None) -> None:
    for name in map(os.fsencode, os.listdir(directory)):
        path = above + name
        gone, state = patterns.step(os.fsdecode(path), before)
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        is_directory = (status.st_mode & 0o170000) == 0o040000
        if gone and not (is_directory and patterns.has_exceptions):
            trees.remove(directory, name)
        elif is_directory:
            with trees.opened(name, directory) as deeper:
                _remove(deeper, patterns, path + b"/", state)
            if gone:
                try:
                    os.rmdir(name, dir_fd=directory)
                except OSError:
                    continue  # something in it is excepted
