"""RUN: the process, its mounts, and what its heredocs become."""

from dataclasses import replace

from tiffin.build.application import Application
from tiffin.build.apply_metadata import with_shell
from tiffin.build.dockerfile import instructions as made
from tiffin.build.dockerfile.gotext import quoted
from tiffin.build.dockerfile.heredocs import opens_heredoc
from tiffin.build.dockerfile.mounts import Mount, parse_mount
from tiffin.build.dockerfile.source import DockerfileError
from tiffin.build.dockerfile.wildcards import clean, join
from tiffin.build.stage_state import StageState, raw_lexer, shown_command, summary
from tiffin.build.steps import (
    BindMount,
    CacheMount,
    InlineSource,
    Input,
    MakeDirectory,
    RunCommand,
    RunMount,
    SecretMount,
    SshMount,
    TmpfsMount,
)

_SCRIPTS = "/dev/pipes/"
_INLINE = "[internal] preparing inline document"


def apply_run(on: Application, instruction: made.Run) -> None:
    parsed = [parse_mount(text, on.expander.word) for text in instruction.mounts]
    inputs: list[Input] = [on.state.output]
    mounts: list[RunMount] = []
    arguments, shown = _arguments(on, instruction, inputs, mounts)
    for mount, source in zip(parsed, on.command.sources, strict=True):
        mounts.append(_mount(on, mount, source, inputs))
    secrets = {mount.env: "****" for mount in parsed if mount.type == "secret" and mount.env is not None}
    label = shown_command(raw_lexer(on.lexer), shown, on.state.env | secrets)
    step = RunCommand(
        inputs=tuple(inputs),
        arguments=arguments,
        environment=tuple(on.state.env.items()),
        directory=on.state.directory,
        user=on.state.user,
        platform=on.state.runs_on,
        mounts=tuple(mounts),
        network=instruction.network if instruction.network != "default" else on.options.network,
        security=instruction.security,
        devices=tuple((device.name, device.required) for device in instruction.devices),
        hostname=on.options.sandbox_hostname,
        settings=replace(on.options.settings, proxy=on.options.proxy()),
        label=on.label(label),
        span=instruction.span,
        fresh=on.state.fresh,
    )
    created_by = "RUN " + " ".join([*_arguments_shown(on), *arguments])
    on.state.output = on.drawing.add(step)
    on.record(created_by + " # buildkit", empty=False)


def _arguments(
    on: Application, instruction: made.Run, inputs: list[Input], mounts: list[RunMount]
) -> tuple[tuple[str, ...], str]:
    """The process's arguments, and how progress shows the instruction."""
    command, shown = instruction.command, instruction.source
    arguments = command.arguments
    if command.heredocs:
        if len(arguments) != 1 or not command.shell:
            raise DockerfileError(f"parsing produced an invalid run command: [{' '.join(arguments)}]")
        first = command.heredocs[0]
        if opens_heredoc(arguments[0]) is None:
            # part of a line: the shell reads the documents itself
            documents = "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in command.heredocs)
            arguments = (arguments[0] + documents,)
        else:
            shown += f" ({summary(first.content)})"
            arguments = (first.text,)
            if first.text.startswith("#!"):
                # a script of its own: a file that is run
                document = InlineSource(path=first.name, content=first.text, mode=0o755, label=_INLINE)
                inputs.append(on.drawing.add(document))
                mounts.append(BindMount(_SCRIPTS, len(inputs) - 1))
                arguments = (join(_SCRIPTS, first.name),)
    return with_shell(on, arguments) if command.shell else arguments, shown


def _arguments_shown(on: Application) -> list[str]:
    """The ARGs in force, as the history has them: `|2 A=1 B=2`."""
    shown: dict[str, str] = {}
    for definition in on.state.arguments:
        shown[definition.name] = on.state.env.get(definition.name, definition.default or "")
    return [f"|{len(shown)}", *(f"{name}={value}" for name, value in shown.items())] if shown else []


def _mount(on: Application, mount: Mount, source: StageState, inputs: list[Input]) -> RunMount:
    if mount.source_stage and not source.dispatched:
        raise DockerfileError(
            f"cannot mount from stage {quoted(mount.source_stage)} to {quoted(mount.target)},"
            " stage needs to be defined before current command"
        )
    if mount.type == "secret":
        return _secret(mount)
    if mount.type == "ssh":
        return _ssh(mount)
    target = mount.target if clean(mount.target).startswith("/") else join("/", on.state.directory, mount.target)
    if target == "/":
        raise DockerfileError(f"invalid mount target {quoted(target)}")
    if mount.type == "tmpfs":
        return TmpfsMount(target, mount.size)
    return _files(on, mount, source, target, inputs)


def _files(on: Application, mount: Mount, source: StageState, target: str, inputs: list[Input]) -> RunMount:
    given: Input = None
    if mount.source_stage:
        given = source.output
    elif mount.type == "bind":
        given = on.drawing.context
    path = join("/", mount.source)
    if path == "/" and (mount.uid, mount.gid, mount.mode) != (None, None, None):
        path = "/cache"
        given = on.drawing.add(
            MakeDirectory(
                inputs=(given,),
                path=path,
                mode=0o755 if mount.mode is None else mount.mode,
                owner=f"{mount.uid or 0}:{mount.gid or 0}",
                label="[internal] setting cache mount permissions",
            )
        )
    inputs.append(given)
    if mount.type == "bind":
        return BindMount(target, len(inputs) - 1, path, mount.read_only)
    name = mount.id or clean(mount.target)
    sharing = mount.sharing or "shared"
    return CacheMount(target, f"{on.options.cache_namespace}/{name}", sharing, len(inputs) - 1, path, mount.read_only)


def _secret(mount: Mount) -> SecretMount:
    name = mount.source or mount.id or mount.target.rstrip("/").rpartition("/")[2]
    target = mount.target or None
    if target is None and mount.env is None:
        target = "/run/secrets/" + name.rstrip("/").rpartition("/")[2]
    mode = 0o400 if mount.mode is None else mount.mode
    env = None if mount.env is None else mount.env or name
    return SecretMount(name, target, env, mount.required, mount.uid or 0, mount.gid or 0, mode)


def _ssh(mount: Mount) -> SshMount:
    if mount.source:
        raise DockerfileError("ssh does not support source")
    mode = 0o600 if mount.mode is None else mount.mode
    return SshMount(mount.id or "default", mount.target, mount.required, mount.uid or 0, mount.gid or 0, mode)
