"""A stage while its instructions are applied: what they have made so far, and what progress calls the next step."""

from dataclasses import dataclass, field, replace

from tiffin.build.dockerfile import instructions as made
from tiffin.build.dockerfile.gotext import SPACES
from tiffin.build.dockerfile.source import DockerfileError, Span
from tiffin.build.dockerfile.words import Lexer
from tiffin.build.drafts import ImageDraft
from tiffin.build.scopes import Variables
from tiffin.build.steps import Input
from tiffin.errors import Invalid
from tiffin.model.platform import Platform, normalized, parse_platform


@dataclass(slots=True, eq=False)
class Command:
    """An instruction and the stages its --from and mounts name; `triggered` by an ONBUILD of the base."""

    instruction: made.Instruction
    sources: "tuple[StageState, ...]" = ()
    triggered: bool = False


@dataclass(slots=True, eq=False)
class StageState:
    """shown      the name in progress; external: an image or context that --from names, no stage of the Dockerfile
    replaced      the named context that stands in for the stage
    needs         stages it takes files from, and the instructions that do
    arguments     ARGs seen, with their values; total, count: steps that progress numbers
    """

    stage: made.Stage
    shown: str = ""
    external: bool = False
    replaced: str = ""
    base: "StageState | None" = None
    platform: Platform | None = None
    commands: list[Command] = field(default_factory=list)
    needs: "list[tuple[StageState, made.Instruction]]" = field(default_factory=list)
    total: int = 0
    count: int = 0
    fresh: bool = False
    resolved: bool = False
    dispatched: bool = False
    triggered: bool = False
    triggers_read: bool = False
    output: Input = None
    env: Variables = field(default_factory=dict)
    directory: str = "/"
    user: str = ""
    draft: ImageDraft | None = None
    arguments: list[made.ArgDefinition] = field(default_factory=list)
    workdir_set: bool = False
    last: dict[str, Span] = field(default_factory=dict)

    @property
    def image(self) -> ImageDraft:
        if self.draft is None or self.platform is None:
            raise DockerfileError(f"stage {self.shown or self.stage.base} has no base yet", self.stage.span)
        return self.draft

    @image.setter
    def image(self, draft: ImageDraft) -> None:
        self.draft = draft

    @property
    def runs_on(self) -> Platform:
        return self.platform or self.image.platform

    def inherit(self) -> None:
        """Take over what the base stage made; its ONBUILDs are not ours."""
        base = self.base
        if base is None or base.draft is None:
            return
        self.output, self.env, self.directory, self.user = base.output, base.env, base.directory, base.user
        self.platform, self.workdir_set = base.platform, base.workdir_set
        self.draft = base.draft.with_run(OnBuild=None)
        self.arguments += base.arguments

    def label(self, text: str, *, show_platform: bool, env: Variables | None = None, again: bool = False) -> str:
        """`[stage 2/5] RUN …`. `again`: a second step of the same instruction."""
        if self.total == 0:
            return text
        words = []
        if show_platform and self.platform is not None:
            words.append(f"{self.platform}{_cross(self.platform, env or {})}")
        if self.shown:
            words.append(self.shown)
        self.count += not again
        width = len(str(self.total))
        words.append(f"{self.count:{width}d}/{self.total}]")
        return f"[{' '.join(words)} {'ONBUILD ' if self.triggered else ''}{text}"


def shown_command(lexer: Lexer, text: str, env: Variables) -> str:
    """An instruction as progress shows it: variables filled in, the keyword in capitals."""
    try:
        text = lexer.word(text, env)
    except DockerfileError:
        pass
    keyword, space, rest = text.partition(" ")
    return keyword.upper() + space + rest


def raw_lexer(lexer: Lexer) -> Lexer:
    return replace(lexer, raw_quotes=True, keep_unset=True)


def summary(document: str) -> str:
    """A heredoc's first line."""
    first, *rest = document.strip(SPACES).replace("\r\n", "\n").split("\n")
    return first + ("..." if rest else "")


def _cross(own: Platform, env: Variables) -> str:
    """`->arm64` where the stage's variables say that it compiles for another platform."""
    target = _target(own, env)
    if target is None or (target.os, target.architecture) == (own.os, own.architecture):
        return ""
    if target.os != own.os:
        return f"->{target}"
    return f"->{target.architecture}" + (f"/{target.variant}" if target.variant else "")


def _target(own: Platform, env: Variables) -> Platform | None:
    if "TARGETPLATFORM" in env:
        try:
            return parse_platform(env["TARGETPLATFORM"])
        except Invalid:
            pass
    if not {"TARGETOS", "TARGETARCH", "TARGETVARIANT"} & env.keys():
        return None
    system, architecture = env.get("TARGETOS") or own.os, env.get("TARGETARCH") or own.architecture
    return normalized(system, architecture, env.get("TARGETVARIANT", ""))
