"""A whole Dockerfile: its stages, the ARGs before the first of them, and the checks that need no expansion."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tiffin.build.dockerfile import instructions as made
from tiffin.build.dockerfile import rules
from tiffin.build.dockerfile.directives import find_directive
from tiffin.build.dockerfile.parsing import parse_instruction
from tiffin.build.dockerfile.rules import CheckOptions, Checks, parse_check_options
from tiffin.build.dockerfile.source import DockerfileError, Span
from tiffin.build.dockerfile.statements import Statement, read_statements

_RESERVED = ("context", "scratch")


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """escape: the character that escapes; arguments: ARGs above the first FROM."""

    stages: tuple[made.Stage, ...]
    arguments: tuple[made.Arg, ...]
    escape: str

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.stages if stage.name)


def check_options(source: bytes) -> CheckOptions:
    """What `# check=` says."""
    found = find_directive("check", source)
    return parse_check_options(found.value.partition(" ")[0]) if found else CheckOptions()


def read_dockerfile(source: bytes, checks: Checks | None = None) -> Dockerfile:
    """DockerfileError in BuildKit's words, with the lines. Findings go to `checks`."""
    if not source:
        raise DockerfileError("the Dockerfile cannot be empty")
    checks = checks or Checks()
    statements = read_statements(source)
    for line in statements.empty_continuations:
        checks.report(rules.NO_EMPTY_CONTINUATION, "Empty continuation line", Span(line, line))
    stages, arguments = _stages(statements.items, checks)
    if not stages:
        raise DockerfileError("dockerfile contains no stages to build")
    _check_names(stages, checks)
    _check_casing(stages, checks)
    return Dockerfile(tuple(stages), tuple(arguments), statements.escape)


def parse_trigger(expression: str, span: Span) -> made.Instruction:
    """What an ONBUILD of the base image asks for, placed at the FROM that brings it in."""
    statements = read_statements(expression.encode()).items
    if len(statements) != 1:
        raise DockerfileError("onbuild trigger should be a single expression", span)
    found = parse_instruction(replace(statements[0], span=span))
    if isinstance(found, made.Stage):
        raise DockerfileError("*instructions.Stage is not a command type", span)
    return found


def _stages(statements: Sequence[Statement], checks: Checks) -> tuple[list[made.Stage], list[made.Arg]]:
    stages: list[made.Stage] = []
    arguments: list[made.Arg] = []
    for statement in statements:
        _check_statement(statement, checks)
        try:
            found = parse_instruction(statement)
        except DockerfileError as error:
            raise error.prefixed(f"dockerfile parse error on line {statement.span.start}: ") from None
        _check_description(found, checks)
        if isinstance(found, made.Stage):
            stages.append(found)
        elif stages:
            stages[-1] = replace(stages[-1], instructions=(*stages[-1].instructions, found))
        elif isinstance(found, made.Arg):
            arguments.append(found)
        else:
            raise DockerfileError("no build stage in current context", statement.span)
    return stages, arguments


def _check_statement(statement: Statement, checks: Checks) -> None:
    keyword, values = statement.keyword, statement.operands.values
    if statement.name == "maintainer":
        message = "Maintainer instruction is deprecated in favor of using label"
        checks.report(rules.MAINTAINER_DEPRECATED, message, statement.span, statement.comments)
    if statement.name != "from" or len(values) < 3:
        return
    if len(values) == 3 and values[2] != values[2].lower():
        message = f"Stage name '{values[2]}' should be lowercase"
        checks.report(rules.STAGE_NAME_CASING, message, statement.span, statement.comments)
    matching = {keyword.lower(): values[1].lower(), keyword.upper(): values[1].upper()}.get(keyword)
    if matching is not None and values[1] != matching:
        message = f"'{values[1]}' and '{keyword}' keywords' casing do not match"
        checks.report(rules.FROM_AS_CASING, message, statement.span, statement.comments)


def _check_description(found: made.Instruction, checks: Checks) -> None:
    if isinstance(found, made.Stage):
        kind, names = "FROM", [found.name] if found.name else []
    elif isinstance(found, made.Arg):
        kind, names = "ARG", [definition.name for definition in found.definitions]
    else:
        return
    if not names or not found.comments or found.comments[-1].split(" ")[0] in names:
        return
    example = names[0] if len(names) == 1 else "<arg_key>"
    message = f"Comment for {kind} should follow the format: `# {example} <description>`"
    checks.report(rules.INVALID_DEFINITION_DESCRIPTION, message, found.span, found.comments)


def _check_names(stages: Sequence[made.Stage], checks: Checks) -> None:
    seen: set[str] = set()
    for stage in stages:
        if stage.name in _RESERVED:
            message = f'Stage name should not use the same name as reserved stage "{stage.name}"'
            checks.report(rules.RESERVED_STAGE_NAME, message, stage.span)
        if stage.name in seen:
            message = f'Duplicate stage name "{stage.name}", stage names should be unique'
            checks.report(rules.DUPLICATE_STAGE_NAME, message, stage.span)
        seen |= {stage.name} - {""}


def _check_casing(stages: Sequence[made.Stage], checks: Checks) -> None:
    found = [item for stage in stages for item in (stage, *stage.instructions)]
    lower = sum(item.keyword == item.keyword.lower() for item in found)
    upper = sum(item.keyword == item.keyword.upper() for item in found)
    casing, wanted = ("lowercase", str.lower) if lower > upper else ("uppercase", str.upper)
    for item in found:
        if item.keyword != wanted(item.keyword):
            message = f"Command '{item.keyword}' should match the case of the command majority ({casing})"
            checks.report(rules.CONSISTENT_INSTRUCTION_CASING, message, item.span)
