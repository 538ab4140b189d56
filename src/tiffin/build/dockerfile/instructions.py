"""What each instruction asks for, as parsed and before any variable is expanded. Nanoseconds for times."""

from dataclasses import dataclass, field

from tiffin.build.dockerfile.heredocs import Heredoc
from tiffin.build.dockerfile.mounts import Device
from tiffin.build.dockerfile.source import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """keyword as it is spelled; source the joined line; comments the lines above it."""

    keyword: str
    source: str
    span: Span
    comments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """`legacy` was written `NAME value`."""

    name: str
    value: str
    legacy: bool = False

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


@dataclass(frozen=True, slots=True)
class ArgDefinition:
    """`default` None: ARG NAME without a value."""

    name: str
    default: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """`shell`: one line for the shell; otherwise the arguments of a JSON array. `heredocs` belong to RUN only."""

    arguments: tuple[str, ...]
    shell: bool
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True)
class InlineFile:
    """A heredoc that COPY or ADD writes to a file of that name."""

    name: str
    content: str
    expand: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Instruction):
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Instruction):
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Instruction):
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Instruction):
    """What COPY and ADD share. `sources` are paths, URLs; `chown`, `chmod` "" where they are not given."""

    sources: tuple[str, ...]
    files: tuple[InlineFile, ...]
    destination: str
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Transfer):
    source_stage: str = ""
    parents: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Transfer):
    """`keep_git_dir`, `unpack`: None where the flag is not given."""

    checksum: str = ""
    keep_git_dir: bool | None = None
    unpack: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Instruction):
    """`mounts` as written, their variables unexpanded; `mount_sources` the `from` of each, "" without one."""

    command: CommandLine
    mounts: tuple[str, ...] = ()
    mount_sources: tuple[str, ...] = ()
    network: str = "default"
    security: str = "sandbox"
    devices: tuple[Device, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(Instruction):
    command: CommandLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(Instruction):
    command: CommandLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(Instruction):
    """`test`: ("NONE",), ("CMD", …) or ("CMD-SHELL", line); times 0 where not given."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Instruction):
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Instruction):
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Instruction):
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Instruction):
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSignal(Instruction):
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Instruction):
    definitions: tuple[ArgDefinition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Instruction):
    shell: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Onbuild(Instruction):
    """`expression`: the trigger's source, heredocs included."""

    expression: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(Instruction):
    """FROM and what follows it up to the next. `name` is lower-case, "" for a stage without one."""

    base: str
    name: str = ""
    platform: str = ""
    description: str = ""
    instructions: tuple[Instruction, ...] = field(default=())
