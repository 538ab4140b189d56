"""One instruction, applied to one stage: what it may look at, and where its effects go."""

from collections.abc import Mapping
from dataclasses import dataclass

from tiffin.build.dockerfile.ignore import Patterns
from tiffin.build.dockerfile.instructions import Instruction
from tiffin.build.dockerfile.rules import Checks, Rule
from tiffin.build.dockerfile.source import Span
from tiffin.build.dockerfile.words import Lexer
from tiffin.build.drawing import Drawing
from tiffin.build.expansion import Expander
from tiffin.build.options import BuildOptions
from tiffin.build.scopes import Variables
from tiffin.build.stage_state import Command, StageState


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The same for all of a build. `variables`: what is set above the first FROM; `epoch`: SOURCE_DATE_EPOCH."""

    options: BuildOptions
    lexer: Lexer
    variables: Mapping[str, str]
    checks: Checks
    drawing: Drawing
    ignore: Patterns
    epoch: int | None = None


class Application:
    def __init__(self, around: Surroundings, state: StageState, command: Command):
        self.options, self.lexer, self.variables = around.options, around.lexer, around.variables
        self.drawing, self.ignore, self.epoch = around.drawing, around.ignore, around.epoch
        self.checks = around.checks
        self.state = state
        self.command = command
        self.instruction: Instruction = command.instruction
        self.expander = Expander(state, command.instruction, around.lexer, around.checks)

    def report(self, rule: Rule, message: str, span: Span | None = None) -> None:
        self.checks.report(rule, message, span or self.instruction.span, self.instruction.comments)

    def record(self, created_by: str, *, empty: bool = True) -> None:
        self.state.image = self.state.image.with_history(created_by, empty=empty)

    def label(self, text: str, *, env: Variables | None = None, again: bool = False) -> str:
        show = self.options.shows_platform
        return self.state.label(text, show_platform=show, env=self.state.env if env is None else env, again=again)
