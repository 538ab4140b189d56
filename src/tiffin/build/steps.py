"""The steps of a build: what each does, to which inputs. A graph of them says everything about a build but the files.

An input is the digest of another step, or None for an empty file system. What decides what a step makes is in its
fields; `label` (what progress shows), `span` (its lines in the Dockerfile) and `fresh` (never take it from the cache)
do not change what it is.
"""

from dataclasses import dataclass, field

from tiffin.build.dockerfile.source import NOWHERE, Span
from tiffin.model.digest import Digest
from tiffin.model.platform import Platform

Input = Digest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    label: str = ""
    span: Span = NOWHERE
    fresh: bool = False
    inputs: tuple[Input, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSource(Step):
    """The file system of an image. `digest` of its manifest, where it is known."""

    reference: str
    digest: Digest | None
    platform: Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutSource(Step):
    """An image of an OCI layout on the client: `store` names it in the session."""

    store: str
    digest: str
    platform: Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSource(Step):
    """A directory that the client sends. `context` is its name in the session ("context", "dockerfile", …).

    paths    what is needed of it, sorted, relative; wildcards possible; symlinks to follow. Empty: all of it
    exclude  ignore patterns; None: those of its own .dockerignore, which is still to be read
    """

    context: str
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] | None = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSource(Step):
    """One file. `filename` is its name in the file system that results."""

    url: str
    filename: str
    checksum: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitSource(Step):
    """A work tree. ref "" is the default branch; `checksum` a (prefix of a) commit to verify."""

    remote: str
    ref: str = ""
    subdirectory: str = ""
    checksum: str = ""
    keep_git_dir: bool = False
    submodules: bool = True
    fetch_by_commit: bool = False
    commit_times: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultSource(Step):
    """The result of another build in the same session (bake's `target:` contexts)."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineSource(Step):
    """One file that the Dockerfile holds, in an otherwise empty file system."""

    path: str
    content: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeDirectory(Step):
    """`mkdir -p` on inputs[0]. owner as in chown, "" for root; names are looked up in inputs[0]."""

    path: str
    mode: int
    owner: str = ""
    created: int | None = None


@dataclass(frozen=True, slots=True)
class CopyAction:
    """One source to one destination. `input` is an index into the step's inputs.

    source        path in that input; components may be wildcards (Go's filepath.Match) where `wildcards`
    destination   absolute; a trailing slash or /. asks for a directory
    owner         as in chown, "" for root; names are looked up in inputs[0]
    mode          an octal number, a symbolic text (u+x,go=r), or None to keep
    include       only what matches these patterns, with parents kept (--parents)
    required      paths that must exist
    unpack        a recognised archive is unpacked
    contents      a directory's contents are copied, not itself; symlinks at the source are followed
    """

    input: int
    source: str
    destination: str
    owner: str = ""
    mode: int | str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    unpack: bool = False
    wildcards: bool = False
    contents: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyFiles(Step):
    """The actions in order, onto inputs[0]; the other inputs are sources."""

    actions: tuple[CopyAction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge(Step):
    """The inputs' file systems over each other, the last on top; layers are not rewritten (COPY --link)."""


@dataclass(frozen=True, slots=True)
class BindMount:
    """`source` in the input, seen at `target`; writes are thrown away."""

    target: str
    input: int
    source: str = "/"
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class CacheMount:
    """A directory that outlives builds, by id; filled from `input` at first, if not None."""

    target: str
    id: str
    sharing: str
    input: int | None = None
    source: str = "/"
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class TmpfsMount:
    """size in bytes, 0 for no limit."""

    target: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class SecretMount:
    """A file at `target`, a variable `env`, or both; never in a layer or a log."""

    id: str
    target: str | None
    env: str | None = None
    required: bool = False
    uid: int = 0
    gid: int = 0
    mode: int = 0o400


@dataclass(frozen=True, slots=True)
class SshMount:
    """An agent's socket; target "" is /run/buildkit/ssh_agent.N."""

    id: str
    target: str = ""
    required: bool = False
    uid: int = 0
    gid: int = 0
    mode: int = 0o600


RunMount = BindMount | CacheMount | TmpfsMount | SecretMount | SshMount


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What the build's options say about every RUN, and what does not decide its result.

    proxy   variables to add to the environment, which the key leaves out
    hosts   name, address; shm_size in bytes, 0 for the default
    """

    proxy: tuple[tuple[str, str], ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()
    shm_size: int = 0
    ulimits: tuple[str, ...] = ()
    cgroup_parent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCommand(Step):
    """A process on inputs[0], whose changes are the result.

    environment   in order; devices: CDI name, required
    network       "default", "none" or "host"; security "sandbox" or "insecure"
    """

    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    directory: str
    user: str
    platform: Platform
    mounts: tuple[RunMount, ...] = ()
    network: str = "default"
    security: str = "sandbox"
    devices: tuple[tuple[str, bool], ...] = ()
    hostname: str = ""
    settings: RunSettings = field(default_factory=RunSettings)
