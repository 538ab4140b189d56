"""The shapes of /exec (Engine API v1.51)."""

from msgspec import UNSET, Struct, UnsetType, field

from tiffin.wire.containers_host import rename


class ProcessConfig(Struct, rename="lower", kw_only=True):
    """User is left out where the container's is meant."""

    tty: bool
    entrypoint: str
    arguments: list[str]
    privileged: bool
    user: str | UnsetType = UNSET


class ExecInspect(Struct, rename=rename, kw_only=True):
    """GET /exec/ID/json: ExitCode is null until the process has ended."""

    id: str = field(name="ID")
    running: bool
    exit_code: int | None
    process_config: ProcessConfig = field(name="ProcessConfig")
    open_stdin: bool
    open_stderr: bool
    open_stdout: bool
    can_remove: bool
    container_id: str = field(name="ContainerID")
    detach_keys: str
    pid: int


class ExecCreated(Struct, rename=rename):
    id: str = field(name="Id")
