"""Questions about a Dockerfile: `--check`, `--call=targets`, `--call=outline`. Nothing is built for them.

Source: moby/buildkit frontend/subrequests (lint, targets, outline): the names of result.json, the layout of result.txt.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tiffin.build import DockerfileError, ImageRequest, ResolvedImage, check_build, excerpt
from tiffin.build.dockerfile import instructions as made
from tiffin.build.dockerfile import rules
from tiffin.build.dockerfile.mounts import parse_mount
from tiffin.build.dockerfile.rules import Finding
from tiffin.build.dockerfile.source import NOWHERE, Span
from tiffin.build.dockerfile.stages import Dockerfile, read_dockerfile
from tiffin.build.options import BuildOptions
from tiffin.build.plan import ImagesNeeded
from tiffin.errors import NotFound, TiffinError, Unsupported
from tiffin.http.buildkit.attributes import Attributes
from tiffin.http.buildkit.progress import lines
from tiffin.model.image import ImageConfig, config_bytes, parse_config

_REQUESTS = ("frontend.lint", "frontend.outline", "frontend.targets", "frontend.subrequests.describe")


async def answer(attributes: Attributes, options: BuildOptions, source: bytes, images: Any) -> dict[str, bytes]:
    """The metadata that a client prints. Raises Unsupported for other questions, DockerfileError."""
    if attributes.request == "frontend.lint":
        return _lint(attributes.filename, options, source, images)
    if attributes.request == "frontend.targets":
        return _targets(source)
    if attributes.request == "frontend.outline":
        return _outline(options, source)
    if attributes.request == "frontend.subrequests.describe":
        named = [{"name": name, "version": "1.0.0", "type": "rpc"} for name in _REQUESTS]
        return _result(named, "".join(f"{name}\n" for name in _REQUESTS))
    raise Unsupported(f"unsupported subrequest {attributes.request}: this builder answers {', '.join(_REQUESTS)}")


def _result(document: Any, text: str, **more: str) -> dict[str, bytes]:
    shown = json.dumps(document, indent=2, ensure_ascii=False).encode()
    extra = {f"result.{name}": value.encode() for name, value in more.items()}
    return {"result.json": shown, "result.txt": text.encode(), "version": b"1.0.0", **extra}


def _location(span: Span) -> dict[str, Any]:
    return {"ranges": [lines(span)] if span != NOWHERE else []}


# --check


def _lint(filename: str, options: BuildOptions, source: bytes, images: Any) -> dict[str, bytes]:
    findings, error = _checked(options, source, images)
    ordered = sorted(findings, key=lambda finding: finding.span.start)
    text = "".join(_violation(finding, source, filename) for finding in ordered)
    info = {"filename": filename, "language": "Dockerfile", "data": base64.b64encode(source).decode()}
    document: dict[str, Any] = {"warnings": [_warning(one) for one in findings], "sources": [info]}
    if error is not None:
        span = error.spans[0] if error.spans else NOWHERE
        document["buildError"] = {"message": error.message, "location": _location(span)}
    return _result(document, text, statuscode="1" if findings or error else "0")


def _checked(options: BuildOptions, source: bytes, images: Any) -> tuple[Sequence[Finding], DockerfileError | None]:
    """The findings. Base images are looked up here only: of one that is not here nothing is known but its name."""
    known: dict[ImageRequest, ResolvedImage] = {}
    guessed = False
    while isinstance(found := check_build(source, options, known), ImagesNeeded):
        for request in found.requests:
            config = _local(images, request)
            guessed |= config is None
            known[request] = ResolvedImage(config or _blank(request))
    findings, error = found
    if guessed:
        # the image may set the variable
        findings = tuple(one for one in findings if one.rule is not rules.UNDEFINED_VAR)
    return findings, error


def _local(images: Any, request: ImageRequest) -> ImageConfig | None:
    try:
        config: ImageConfig = images.get(request.reference).config
    except TiffinError:
        return None
    return config


def _blank(request: ImageRequest) -> ImageConfig:
    return parse_config(config_bytes(request.platform, (), {}, (), created=""))


def _warning(finding: Finding) -> dict[str, Any]:
    return {
        "ruleName": finding.rule.name,
        "description": finding.rule.description,
        "url": finding.rule.url,
        "detail": finding.message,
        "location": _location(finding.span),
    }


def _violation(finding: Finding, source: bytes, filename: str) -> str:
    link = f" - {finding.rule.url}" if finding.rule.url else ""
    return f"\nWARNING: {finding.rule.name}{link}\n{finding.message}\n{excerpt(source, [finding.span], filename)}"


# --call=targets


def _targets(source: bytes) -> dict[str, bytes]:
    stages = read_dockerfile(source).stages
    found, rows = [], [("TARGET", "DESCRIPTION")]
    for stage in stages:
        default = stage is stages[-1]
        entry = {"name": stage.name, "description": stage.description, "base": stage.base, "platform": stage.platform}
        target: dict[str, Any] = {name: value for name, value in entry.items() if value}
        found.append(target | ({"default": True} if default else {}) | {"location": _location(stage.span)})
        shown = f"{stage.name} (default)".strip() if default else stage.name
        rows.append((shown, stage.description))
    document = {"targets": found, "sources": [base64.b64encode(source).decode()]}
    return _result(document, _table(rows, 1))


def _table(rows: Sequence[Sequence[str]], gap: int) -> str:
    """Columns as Go's text/tabwriter sets them."""
    widths = [max(len(row[column]) for row in rows) + gap for column in range(len(rows[0]) - 1)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + row[-1] + "\n" for row in rows
    )


# --call=outline


def _outline(options: BuildOptions, source: bytes) -> dict[str, bytes]:
    dockerfile = read_dockerfile(source)
    stages = _needed(dockerfile, options.target)
    arguments = _arguments(dockerfile, stages, options.build_args)
    secrets, agents = _mounted(stages, "secret"), _mounted(stages, "ssh")
    target = stages[0]
    head = {"name": target.name, "description": target.description}
    document: dict[str, Any] = {name: value for name, value in head.items() if value}
    lists = {"args": arguments, "secrets": secrets, "ssh": agents}
    document |= {name: values for name, values in lists.items() if values}
    document["sources"] = [base64.b64encode(source).decode()]
    text = ""
    if target.name or target.description:
        rows = [("TARGET:", target.name or "(default)")]
        text += _table([*rows, ("DESCRIPTION:", target.description)] if target.description else rows, 1) + "\n"
    if arguments:
        shown = [(one["name"], one.get("value", ""), one.get("description", "")) for one in arguments]
        text += _table([("BUILD ARG", "VALUE", "DESCRIPTION"), *shown], 3) + "\n"
    for title, mounted in (("SECRET", secrets), ("SSH", agents)):
        if mounted:
            shown_mounts = [(one["name"], "true" if one.get("required") else "") for one in mounted]
            text += _table([(title, "REQUIRED"), *shown_mounts], 3) + "\n"
    return _result(document, text)


def _needed(dockerfile: Dockerfile, target: str) -> list[made.Stage]:
    """The target's stage, then those that it is made from."""
    by_name = {stage.name.lower(): stage for stage in dockerfile.stages if stage.name}
    by_name |= {str(index): stage for index, stage in enumerate(dockerfile.stages)}
    first = by_name.get(target.lower()) if target else dockerfile.stages[-1]
    if first is None:
        raise NotFound(f"target stage {target!r} could not be found")
    found, pending = [], [first]
    while pending:
        stage = pending.pop(0)
        if stage in found:
            continue
        found.append(stage)
        names = [stage.base, *(name for one in stage.instructions for name in _sources(one))]
        pending += [by_name[name.lower()] for name in names if name.lower() in by_name]
    return found


def _sources(instruction: made.Instruction) -> Iterator[str]:
    if isinstance(instruction, made.Copy) and instruction.source_stage:
        yield instruction.source_stage
    elif isinstance(instruction, made.Run):
        yield from filter(None, instruction.mount_sources)


def _arguments(dockerfile: Dockerfile, stages: Sequence[made.Stage], given: Mapping[str, str]) -> list[dict[str, Any]]:
    defaults = {one.name: one.default for argument in dockerfile.arguments for one in argument.definitions}
    within = [one for stage in stages for one in stage.instructions if isinstance(one, made.Arg)]
    found: dict[str, dict[str, Any]] = {}
    for argument in [*dockerfile.arguments, *within]:
        for one in argument.definitions:
            value = given.get(one.name, one.default if one.default is not None else defaults.get(one.name)) or ""
            entry = {"name": one.name, "value": value, "description": one.description}
            kept = {name: text for name, text in entry.items() if text}
            found.setdefault(one.name, kept | {"location": _location(argument.span)})
    return sorted(found.values(), key=lambda one: one["location"]["ranges"][0]["start"]["line"])


def _mounted(stages: Sequence[made.Stage], kind: str) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for stage in stages:
        for run in stage.instructions:
            for text in run.mounts if isinstance(run, made.Run) else ():
                mount = parse_mount(text, lambda value: value)
                if mount.type != kind:
                    continue
                name = mount.id or ("default" if kind == "ssh" else (mount.target or mount.source).rpartition("/")[2])
                entry = found.setdefault(name, {"name": name, "location": _location(run.span)})
                if mount.required:
                    entry["required"] = True
    return sorted(found.values(), key=lambda one: one["location"]["ranges"][0]["start"]["line"])
