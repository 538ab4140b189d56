"""COPY and ADD: sources to copy actions."""

import re
from dataclasses import dataclass
from typing import Any

from tiffin.build.application import Application
from tiffin.build.dockerfile import instructions as made
from tiffin.build.dockerfile import rules
from tiffin.build.dockerfile.gotext import quoted
from tiffin.build.dockerfile.source import DockerfileError
from tiffin.build.dockerfile.wildcards import clean, has_wildcards, join
from tiffin.build.paths import absolute, destination
from tiffin.build.remotes import GitReference, file_name, is_http, is_remote, parse_git
from tiffin.build.stage_state import StageState, shown_command
from tiffin.build.steps import CopyAction, CopyFiles, GitSource, HttpSource, InlineSource, Input, Merge, Step
from tiffin.model.digest import parse_digest

_SYMBOLIC = re.compile(r"(?:[ugoa]*(?:[-+=](?:[rwxXst]*|[ugo]))+)(?:,[ugoa]*(?:[-+=](?:[rwxXst]*|[ugo]))+)*", re.ASCII)
_INLINE = "[internal] preparing inline document"


@dataclass(slots=True)
class _Transfer:
    """The step while it is put together. inputs[0] is what is copied onto."""

    on: Application
    asked: made.Add | made.Copy
    label: str
    destination: str
    mode: int | str | None
    inputs: list[Input]
    actions: list[CopyAction]

    def add(self, given: Input, source: str, **settings: Any) -> None:
        self.inputs.append(given)
        self.actions.append(
            CopyAction(
                input=len(self.inputs) - 1,
                source=source,
                destination=self.destination,
                owner=self.asked.chown,
                mode=self.mode,
                exclude=self.asked.exclude,
                **settings,
            )
        )

    def add_step(self, step: Step, source: str, **settings: Any) -> None:
        self.add(self.on.drawing.add(step), source, **settings)


def apply_copy(on: Application, instruction: made.Add | made.Copy) -> None:
    asked = on.expander.transfer(instruction)
    origin = on.command.sources[0] if on.command.sources else None
    if origin is not None and not origin.dispatched:
        name = instruction.source_stage if isinstance(instruction, made.Copy) else ""
        raise DockerfileError(
            f"cannot copy from stage {quoted(name)},"
            f" it needs to be defined before current stage {quoted(on.state.shown)}"
        )
    mode = _mode(asked.chmod)
    _check_checksum(asked)
    text = shown_command(on.lexer, instruction.source, on.state.env)
    linked = asked.link and on.options.merge and not asked.chmod
    inputs: list[Input] = [None if linked else on.state.output]
    transfer = _Transfer(
        on, asked, on.label(text), destination(on.state.directory, asked.destination), mode, inputs, []
    )
    for source in asked.sources:
        _add_source(transfer, source, origin)
    for file in asked.files:
        transfer.add_step(InlineSource(path=file.name, content=file.content, label=_INLINE), file.name)
    step = CopyFiles(
        inputs=tuple(transfer.inputs),
        actions=tuple(transfer.actions),
        label=transfer.label,
        span=instruction.span,
        fresh=on.state.fresh,
    )
    output = on.drawing.add(step)
    if linked:
        label = on.label(f"LINK {text}", again=True)
        merged = Merge(inputs=(on.state.output, output), label=label, span=instruction.span, fresh=on.state.fresh)
        output = on.drawing.add(merged)
    on.state.output = output
    on.record(_history(asked), empty=False)


def _history(asked: made.Add | made.Copy) -> str:
    words = ["ADD" if isinstance(asked, made.Add) else "COPY"]
    words += ["--parents"] if isinstance(asked, made.Copy) and asked.parents else []
    words += [f"--chown={asked.chown}"] if asked.chown else []
    words += [f"--chmod={asked.chmod}"] if asked.chmod else []
    words += [*asked.sources, *(f"<<{file.name}" for file in asked.files), asked.destination]
    return " ".join(words) + " # buildkit"


def _mode(text: str) -> int | str | None:
    """--chmod: octal up to 7777, or symbolic as chmod(1) has it."""
    if not text:
        return None
    if re.fullmatch("[0-7]+", text) and int(text, 8) <= 0o7777:
        return int(text, 8)
    if text[:1].isdecimal():
        raise DockerfileError(f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777")
    if not _SYMBOLIC.fullmatch(text):
        raise DockerfileError(f"invalid chmod parameter: '{text}'. it should be octal, or symbolic as in u=rwX,go-w")
    return text


def _check_checksum(asked: made.Add | made.Copy) -> None:
    if not isinstance(asked, made.Add) or not asked.checksum:
        return
    if len(asked.sources) != 1:
        raise DockerfileError("checksum can't be specified for multiple sources")
    if not is_remote(asked.sources[0]):
        raise DockerfileError("checksum requires HTTP(S) or Git sources")


def _add_source(transfer: _Transfer, source: str, origin: StageState | None) -> None:
    asked = transfer.asked
    git = parse_git(source)
    if git is not None and not git.local:
        if not isinstance(asked, made.Add):
            raise DockerfileError("source can't be a git ref for COPY")
        transfer.add_step(_git(transfer, asked, git), "/")
    elif is_http(source):
        if not isinstance(asked, made.Add):
            raise DockerfileError("source can't be a URL for COPY")
        if asked.checksum:
            parse_digest(asked.checksum)
        name = file_name(source)
        step = HttpSource(url=source, filename=name, checksum=asked.checksum, label=transfer.label)
        transfer.add_step(step, name, unpack=bool(asked.unpack))
    else:
        _add_path(transfer, source, origin)


def _git(transfer: _Transfer, asked: made.Add, git: GitReference) -> GitSource:
    keep = asked.keep_git_dir if git.keep_git_dir is None else git.keep_git_dir
    if asked.keep_git_dir is not None and keep != asked.keep_git_dir:
        raise DockerfileError("inconsistent keep-git-dir configuration")
    if asked.checksum and git.checksum and asked.checksum != git.checksum:
        raise DockerfileError(f"checksum mismatch {quoted(asked.checksum)} != {quoted(git.checksum)}")
    return GitSource(
        remote=git.remote,
        ref=git.ref,
        subdirectory=git.subdirectory,
        checksum=git.checksum or asked.checksum,
        keep_git_dir=bool(keep),
        submodules=git.submodules is not False,
        fetch_by_commit=git.fetch_by_commit,
        commit_times=git.commit_times,
        label=transfer.label,
    )


def _add_path(transfer: _Transfer, source: str, origin: StageState | None) -> None:
    on, asked = transfer.on, transfer.asked
    if origin is None:
        _check_ignored(on, asked, source)
    include: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    if isinstance(asked, made.Copy) and asked.parents:
        # what stands before /./ is not kept as a parent
        pivot, slash, pattern = source.partition("/./")
        pivot, pattern = (pivot, pattern) if slash else ("/", source)
        include = (absolute("/", pattern).lstrip("/"),)
        if not has_wildcards(pivot) and not has_wildcards(pattern):
            required = (absolute("/", join(pivot, pattern)),)
        source = pivot
    unpack = isinstance(asked, made.Add) and asked.unpack is not False
    transfer.add(
        on.drawing.context if origin is None else origin.output,
        absolute("/", source),
        include=include,
        required=required,
        unpack=unpack,
        wildcards=True,
        contents=True,
    )


def _check_ignored(on: Application, asked: made.Add | made.Copy, source: str) -> None:
    # with exceptions in it a pattern's reach can't be told without the files
    if on.ignore.has_exceptions:
        return
    path = clean(source)
    if path in (".", "/") and not on.ignore.ignores_everything():
        return
    if on.ignore.ignores(path):
        verb = "Add" if isinstance(asked, made.Add) else "Copy"
        message = f"Attempting to {verb} file {quoted(path)} that is excluded by .dockerignore"
        on.report(rules.COPY_IGNORED_FILE, message)
