"""From a Dockerfile to the steps of a build, in two turns: name the images that must be known, then plan."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tiffin.build.application import Application, Surroundings
from tiffin.build.apply_copy import apply_copy
from tiffin.build.apply_metadata import APPLIED, enter
from tiffin.build.apply_run import apply_run
from tiffin.build.bases import Bases
from tiffin.build.contexts import Images
from tiffin.build.dockerfile import instructions as made
from tiffin.build.dockerfile import rules
from tiffin.build.dockerfile.ignore import Patterns
from tiffin.build.dockerfile.rules import Checks, Finding
from tiffin.build.dockerfile.source import DockerfileError
from tiffin.build.dockerfile.stages import Dockerfile, check_options, read_dockerfile
from tiffin.build.dockerfile.words import Lexer
from tiffin.build.drafts import DEFAULT_PATH, ImageDraft
from tiffin.build.drawing import MAIN_CONTEXT, Drawing
from tiffin.build.options import BuildOptions, ImageRequest
from tiffin.build.scopes import Variables, platform_arguments, with_global_arguments, with_variable
from tiffin.build.stage_graph import StageGraph
from tiffin.build.stage_state import Command, StageState
from tiffin.build.steps import Input, LocalSource, Step
from tiffin.errors import Invalid
from tiffin.model.digest import Digest
from tiffin.model.reference import parse_reference

_CONTEXT_LABEL = "[internal] load build context"


@dataclass(frozen=True, slots=True)
class Applied:
    """An instruction of a stage that the result needs. step: whose file system it made; None where it made none.

    stage is the number of the stage among these; triggered: by an ONBUILD of its base.
    """

    text: str
    stage: int
    step: Input = None
    triggered: bool = False


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """steps       by digest, inputs before those that use them; only what the result needs
    output         the step whose file system is the image's; None for an empty one
    image          the configuration; layers and times are still to come
    epoch          SOURCE_DATE_EPOCH in seconds
    instructions   in the Dockerfile's order, each stage's FROM first
    """

    steps: Mapping[Digest, Step]
    output: Input
    image: ImageDraft
    findings: tuple[Finding, ...]
    epoch: int | None = None
    instructions: tuple[Applied, ...] = ()


@dataclass(frozen=True, slots=True)
class ImagesNeeded:
    """Resolve these, all of them at once if you like, and plan again with what was found."""

    requests: tuple[ImageRequest, ...]


def plan_build(
    source: bytes, options: BuildOptions, images: Images | None = None, context: Step | None = None
) -> BuildPlan | ImagesNeeded:
    """Pure. `context`: where the main context comes from, if not from the client. DockerfileError with lines."""
    checks = Checks(options.checks or check_options(source))
    return _plan(source, options, images or {}, context, checks)


def check_build(
    source: bytes, options: BuildOptions, images: Images | None = None
) -> tuple[tuple[Finding, ...], DockerfileError | None] | ImagesNeeded:
    """`--check`: the findings, and the error that a build would end with. Without a target every stage is checked."""
    checks = Checks()
    try:
        checks = Checks(options.checks or check_options(source))
        options = replace(options, all_stages=options.all_stages or not options.target)
        found = _plan(source, options, images or {}, None, checks)
    except DockerfileError as error:
        return tuple(checks.found), error
    return found if isinstance(found, ImagesNeeded) else (found.findings, None)


def _plan(
    source: bytes, options: BuildOptions, images: Images, context: Step | None, checks: Checks
) -> BuildPlan | ImagesNeeded:
    dockerfile = read_dockerfile(source, checks)
    lexer = Lexer(dockerfile.escape)
    target = options.platform or options.build_platform
    predefined = platform_arguments(options, target, options.target or dockerfile.stages[-1].name)
    _check_default_bases(dockerfile, lexer, predefined, checks)
    variables = with_global_arguments(predefined, lexer, dockerfile.arguments, options.build_args)
    epoch = _epoch(options, variables)
    graph = StageGraph(dockerfile, lexer, variables, options, checks)
    main = context or LocalSource(context=MAIN_CONTEXT, exclude=tuple(options.ignore), label=_CONTEXT_LABEL)
    drawing = Drawing(main)
    bases = Bases(graph, drawing, images)
    _resolve(graph, bases)
    if bases.missing:
        return ImagesNeeded(tuple(dict.fromkeys(bases.missing)))
    around = Surroundings(options, lexer, variables, checks, drawing, Patterns(options.ignore), epoch)
    applied: list[Applied] = []
    for number, state in enumerate(graph.reachable()):
        if not state.dispatched:
            applied += _dispatch(around, state, number)
    checks.raise_if_asked()
    steps, output = drawing.frozen(graph.target.output)
    named = tuple(replace(one, step=drawing.names.get(one.step) if one.step else None) for one in applied)
    return BuildPlan(steps, output, _finished(graph.target, options), tuple(checks.found), epoch, named)


def _epoch(options: BuildOptions, variables: Variables) -> int | None:
    text = options.build_args.get("SOURCE_DATE_EPOCH") or variables.get("SOURCE_DATE_EPOCH") or ""
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise DockerfileError(f"invalid SOURCE_DATE_EPOCH: {text}") from None


def _check_default_bases(dockerfile: Dockerfile, lexer: Lexer, predefined: Variables, checks: Checks) -> None:
    """What FROM says when no build argument is given must be an image's name."""
    try:
        defaults = with_global_arguments(predefined, lexer, dockerfile.arguments, {})
        names = [lexer.word(stage.base, defaults) for stage in dockerfile.stages]
    except DockerfileError:
        return  # the build meets the same error, with its lines
    for stage, name in zip(dockerfile.stages, names, strict=True):
        try:
            parse_reference(name)
        except Invalid:
            message = f"Default value for ARG {stage.base} results in empty or invalid base image name"
            checks.report(rules.INVALID_DEFAULT_ARG_IN_FROM, message, stage.span)


def _resolve(graph: StageGraph, bases: Bases) -> None:
    """Bases first; then the ONBUILDs they bring, which may need further bases."""
    again = True
    while again and not bases.missing:
        again = False
        for state in graph.reachable():
            bases.resolve(state)
        if bases.missing:
            return
        for state in graph.reachable():
            state.inherit()
            # an image that only --from names is read, not built on
            if state.draft is None or state.dispatched:
                continue
            again |= graph.take_triggers(state, state.draft.texts("OnBuild"))
            state.draft = state.draft.with_run(OnBuild=None)


def _dispatch(around: Surroundings, state: StageState, number: int) -> list[Applied]:
    state.inherit()
    applied = [Applied(state.stage.source, number, state.output)]
    state.dispatched = True
    draft = state.image
    if "PATH" not in draft.env():
        draft = draft.with_env("PATH", DEFAULT_PATH)
    state.image = draft
    for name, value in draft.env().items():
        state.env = with_variable(state.env, name, value)
    if draft.text("WorkingDir"):
        nothing = made.Workdir(keyword="WORKDIR", source="", span=state.stage.span, path="")
        enter(Application(around, state, Command(nothing)), draft.text("WorkingDir"))
    if draft.text("User"):
        state.user = draft.text("User")
    for command in state.commands:
        before = state.output
        _apply(around, state, command)
        made_by_it = state.output if state.output != before else None
        applied.append(Applied(command.instruction.source, number, made_by_it, command.triggered))
    return applied


def _apply(around: Surroundings, state: StageState, command: Command) -> None:
    instruction = command.instruction
    state.triggered = command.triggered
    on = Application(around, state, command)
    try:
        if isinstance(instruction, made.Run):
            apply_run(on, instruction)
        elif isinstance(instruction, made.Add | made.Copy):
            apply_copy(on, instruction)
        else:
            APPLIED[type(instruction)](on, instruction)
    except DockerfileError as error:
        raise error.at(instruction.span) from None
    except Invalid as error:
        raise DockerfileError(str(error), instruction.span) from error


def _finished(state: StageState, options: BuildOptions) -> ImageDraft:
    draft = state.image
    if options.labels:
        draft = draft.with_run(Labels=dict(draft.run.get("Labels") or {}) | dict(options.labels))
    return replace(draft, platform=options.platform) if options.platform else draft
