"""Variables in an instruction, filled in from a stage's environment; those that are nowhere set are reported."""

from dataclasses import dataclass, replace

from tiffin.build.dockerfile import instructions as made
from tiffin.build.dockerfile import rules
from tiffin.build.dockerfile.gotext import suggestion
from tiffin.build.dockerfile.rules import Checks
from tiffin.build.dockerfile.words import Lexer
from tiffin.build.scopes import NOT_IN_ENVIRONMENT
from tiffin.build.stage_state import StageState

_HEREDOCS = Lexer(skip_quotes=True)


@dataclass(frozen=True, slots=True)
class Expander:
    """For one instruction of one stage. DockerfileError in BuildKit's words, without lines."""

    state: StageState
    instruction: made.Instruction
    lexer: Lexer
    checks: Checks

    def word(self, text: str, lexer: Lexer | None = None) -> str:
        found = (lexer or self.lexer).expand(text, self.state.env)
        arguments = {definition.name for definition in self.state.arguments}
        for name in sorted(found.unmatched - arguments - set(NOT_IN_ENVIRONMENT)):
            near = suggestion(name, self.state.env)
            message = f"Usage of undefined variable '${name}'" + (f" (did you mean ${near}?)" if near else "")
            self.checks.report(rules.UNDEFINED_VAR, message, self.instruction.span, self.instruction.comments)
        return found.text

    def words(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self.word(text) for text in texts)

    def pairs(self, pairs: tuple[made.Pair, ...]) -> tuple[made.Pair, ...]:
        return tuple(made.Pair(self.word(pair.name), self.word(pair.value), pair.legacy) for pair in pairs)

    def transfer(self, instruction: made.Add | made.Copy) -> made.Add | made.Copy:
        """--chown, --chmod, --checksum, sources, destination, and what heredocs hold unless they are quoted."""
        chown, chmod = self.word(instruction.chown), self.word(instruction.chmod)
        if isinstance(instruction, made.Add):
            instruction = replace(instruction, checksum=self.word(instruction.checksum))
        sources, destination = self.words(instruction.sources), self.word(instruction.destination)
        files = tuple(
            replace(file, content=self.word(file.content, _HEREDOCS)) if file.expand else file
            for file in instruction.files
        )
        return replace(instruction, chown=chown, chmod=chmod, sources=sources, destination=destination, files=files)
