"""Which stages there are, what each stands on and takes from others, and which of them a target needs."""

import re
from collections.abc import Sequence
from dataclasses import replace

from tiffin.build.contexts import find_context
from tiffin.build.dockerfile import instructions as made
from tiffin.build.dockerfile import rules
from tiffin.build.dockerfile.gotext import quoted, suggestion, with_suggestion
from tiffin.build.dockerfile.rules import Checks
from tiffin.build.dockerfile.source import DockerfileError
from tiffin.build.dockerfile.stages import Dockerfile, parse_trigger
from tiffin.build.dockerfile.words import Expansion, Lexer
from tiffin.build.options import BuildOptions
from tiffin.build.scopes import Variables, names_of
from tiffin.build.stage_state import Command, StageState
from tiffin.errors import Invalid
from tiffin.model.platform import Platform, parse_platform

_COUNTED = (made.Add, made.Copy, made.Run, made.Workdir)
SCRATCH = "scratch"
_COMPONENT = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)


class StageGraph:
    """`states` in order of the Dockerfile, then the images and contexts that --from names."""

    def __init__(
        self, dockerfile: Dockerfile, lexer: Lexer, variables: Variables, options: BuildOptions, checks: Checks
    ):
        self.lexer = lexer
        self.variables = variables
        self.options = options
        self.checks = checks
        self.declared = [*names_of(dockerfile.arguments), *variables]
        self.states: list[StageState] = []
        self.by_name: dict[str, StageState] = {}
        for index, stage in enumerate(dockerfile.stages):
            self._add_stage(index, stage)
        self.target = self._target(options.target)
        for state in list(self.states):
            state.commands = [self.command(state, item) for item in state.stage.instructions]
        self._refuse_circles()
        if len(self.states) == 1:
            self.states[0].shown = ""

    def _add_stage(self, index: int, stage: made.Stage) -> None:
        base = self._expand(stage, stage.base)
        if not base.text:
            raise DockerfileError(f"base name ({stage.base}) should not be blank", stage.span)
        stage = replace(stage, base=base.text)
        state = StageState(stage, shown=stage.name or f"stage-{index}")
        if stage.platform:
            state.platform = self._platform(stage)
        if stage.name:
            found = find_context(stage.name, state.platform or self.default_platform, self.options)
            state.replaced = found[0] if found else ""
        self.add(state)
        if state.replaced:
            state.base = None
            return
        own_base = stage.base != SCRATCH and state.base is None
        state.total = own_base + sum(isinstance(item, _COUNTED) for item in stage.instructions)
        state.fresh = self.options.skips_cache(stage.name)

    @property
    def default_platform(self) -> Platform:
        return self.options.platform or self.options.build_platform

    def add(self, state: StageState) -> None:
        self.states.append(state)
        state.base = self.by_name.get(state.stage.base)
        if state.stage.name:
            self.by_name[state.stage.name] = state

    def _expand(self, stage: made.Stage, text: str) -> Expansion:
        try:
            found = self.lexer.expand(text, self.variables)
        except DockerfileError as error:
            raise error.at(stage.span) from None
        for name in sorted(found.unmatched.difference(self.declared)):
            near = suggestion(name, self.declared)
            message = f"FROM argument '{name}' is not declared" + (f" (did you mean {near}?)" if near else "")
            self.checks.report(rules.UNDEFINED_ARG_IN_FROM, message, stage.span, stage.comments)
        return found

    def _platform(self, stage: made.Stage) -> Platform:
        found = self._expand(stage, stage.platform)
        self._check_platform(stage, found)
        message = f"empty platform value from expression {stage.platform}"
        if found.text:
            try:
                return parse_platform(found.text)
            except Invalid as error:
                message = f"failed to parse platform {stage.platform}: {_reason(found.text) or error}"
        for name in sorted(found.unmatched):
            message = with_suggestion(message, name, self.variables)
        raise DockerfileError(message, stage.span)

    def _check_platform(self, stage: made.Stage, found: Expansion) -> None:
        redundant = found.matched == {"TARGETPLATFORM"} and found.text == self.variables.get("TARGETPLATFORM")
        if redundant and not found.unmatched:
            message = (
                f"Setting platform to predefined {stage.platform} in FROM is redundant as this is the default behavior"
            )
            self.checks.report(rules.REDUNDANT_TARGET_PLATFORM, message, stage.span, stage.comments)
        if found.matched or found.unmatched:
            return
        try:
            platform = parse_platform(found.text)
        except Invalid:
            return
        if platform.os not in stage.name and platform.architecture not in stage.name:
            message = f'FROM --platform flag should not use constant value "{found.text}"'
            self.checks.report(rules.FROM_PLATFORM_FLAG_CONST_DISALLOWED, message, stage.span, stage.comments)

    def _target(self, name: str) -> StageState:
        if not name:
            return self.states[-1]
        found = self.by_name.get(name.lower())
        if found is None:
            message = f'target stage "{name}" could not be found'
            raise DockerfileError(with_suggestion(message, name, [state.shown for state in self.states]))
        return found

    def command(self, state: StageState, instruction: made.Instruction) -> Command:
        """With the stages that it takes files from, which are added where they are images or contexts."""
        sources: list[StageState] = []
        if isinstance(instruction, made.Copy) and instruction.source_stage:
            sources = [self._source(instruction, instruction.source_stage)]
        if isinstance(instruction, made.Run):
            sources = [self._named(instruction, name or SCRATCH) for name in instruction.mount_sources]
        for source in sources:
            state.needs.append((source, instruction))
            if source.external and source not in self.states:
                self.add(source)
        return Command(instruction, tuple(sources))

    def _source(self, instruction: made.Copy, name: str) -> StageState:
        try:
            constant = self.lexer.word(name, {}) == name
        except DockerfileError as error:
            raise error.at(instruction.span) from None
        if not constant:
            raise DockerfileError(
                "variable expansion is not supported for --from, define a new stage with FROM using ARG from global"
                " scope as a workaround",
                instruction.span,
            )
        if not name.lstrip("+-").isdecimal():
            return self._named(instruction, name)
        if not 0 <= int(name) < len(self.states):
            raise DockerfileError(f"invalid stage index {int(name)}", instruction.span)
        return self.states[int(name)]

    def _named(self, instruction: made.Instruction, name: str) -> StageState:
        found = self.by_name.get(name.lower())
        stage = made.Stage(keyword="FROM", source="", span=instruction.span, base=name)
        return found or StageState(stage, external=True)

    def _refuse_circles(self) -> None:
        done: set[StageState] = set()
        for start in self.states:
            # a walk with its own stack: the path is what is open
            path: list[StageState] = [start]
            pending = [iter(start.needs)] if start not in done else []
            done.add(start)
            while pending:
                following = next(pending[-1], None)
                if following is None:
                    pending.pop()
                    path.pop()
                    continue
                state, instruction = following
                if state in path:
                    raise DockerfileError(f"circular dependency detected on stage: {start.shown}", instruction.span)
                if state not in done:
                    done.add(state)
                    path.append(state)
                    pending.append(iter(state.needs))

    def reachable(self) -> list[StageState]:
        """What the target needs (or all), in the order of `states`."""
        if self.options.all_stages:
            return list(self.states)
        found: set[StageState] = set()
        pending = [self.target]
        while pending:
            state = pending.pop()
            if state not in found:
                found.add(state)
                pending += [state.base] if state.base else []
                pending += [source for source, _ in state.needs]
        return [state for state in self.states if state in found]

    def take_triggers(self, state: StageState, reset: Sequence[str]) -> bool:
        """Put the base's ONBUILDs before the stage's instructions; whether they need other stages."""
        expressions = list(reset)
        if state.base is not None and not state.triggers_read:
            state.triggers_read = True
            own = (command.instruction for command in state.base.commands)
            expressions += [item.expression for item in own if isinstance(item, made.Onbuild)]
        commands = []
        for expression in expressions:
            try:
                instruction = parse_trigger(expression, state.stage.span)
            except DockerfileError as error:
                raise DockerfileError(error.message, state.stage.span) from None
            command = self.command(state, instruction)
            command.triggered = True
            commands.append(command)
        state.commands = [*commands, *state.commands]
        state.total += len(commands)
        return any(command.sources for command in commands)


def _reason(platform: str) -> str:
    """containerd's words for a platform with a part that is none."""
    part = next((part for part in platform.split("/") if not _COMPONENT.fullmatch(part)), None)
    if part is None:
        return ""
    return (
        f"{quoted(part)} is an invalid component of {quoted(platform)}: platform specifier component must match"
        f' "^[A-Za-z0-9_.-]+$": invalid argument'
    )
