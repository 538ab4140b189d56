"""What a stage stands on: another stage, an image, a named context, or nothing."""

from tiffin.build.contexts import Images, Loaded, find_context, load_context
from tiffin.build.dockerfile import rules
from tiffin.build.dockerfile.source import DockerfileError
from tiffin.build.drafts import ImageDraft, draft_of, empty_draft
from tiffin.build.drawing import Drawing
from tiffin.build.options import ImageRequest
from tiffin.build.stage_graph import SCRATCH, StageGraph
from tiffin.build.stage_state import StageState
from tiffin.build.steps import ImageSource
from tiffin.errors import Invalid
from tiffin.model.platform import Platform
from tiffin.model.reference import parse_reference


class Bases:
    """Resolves stages without a base stage; `missing` are the images that must be known before all is resolved."""

    def __init__(self, graph: StageGraph, drawing: Drawing, images: Images):
        self.graph = graph
        self.options = graph.options
        self.drawing = drawing
        self.images = images
        self.missing: list[ImageRequest] = []

    def resolve(self, state: StageState) -> None:
        if state.base is not None or state.resolved:
            return
        if state.replaced:
            self._stand_in(state)
        elif state.stage.base == SCRATCH:
            state.platform = self.graph.default_platform
            self._take(state, Loaded(None, empty_draft(state.platform)))
        else:
            self._image(state)

    def _take(self, state: StageState, loaded: Loaded) -> None:
        platform = state.platform or self.graph.default_platform
        state.platform, state.resolved = platform, True
        state.output = self.drawing.add(loaded.step) if loaded.step else None
        state.draft = loaded.image or empty_draft(platform)
        # an image that only --from names has no instructions
        state.dispatched = state.dispatched or state.external

    def _load(self, state: StageState, key: str, value: str, platform: Platform) -> Loaded | None:
        found = load_context(key, value, platform, self.options, self.images, state.stage.span)
        if isinstance(found, ImageRequest):
            self.missing.append(found)
            return None
        return found

    def _stand_in(self, state: StageState) -> None:
        platform = state.platform or self.graph.default_platform
        loaded = self._load(state, state.replaced, self.options.contexts[state.replaced], platform)
        if loaded is not None:
            state.platform = loaded.image.platform if loaded.image else platform
            state.dispatched = True
            self._take(state, loaded)

    def _image(self, state: StageState) -> None:
        written, platform = state.stage.base, state.platform or self.graph.default_platform
        try:
            reference = str(parse_reference(written).with_default_tag())
            context = find_context(reference, platform, self.options)
        except Invalid as error:
            raise DockerfileError(f'failed to parse stage name "{written}": {error}', state.stage.span) from None
        if context is not None:
            loaded = self._load(state, *context, platform)
            if loaded is not None:
                state.platform = platform
                self._take(state, loaded)
            return
        shown = f"{platform} " if self.options.shows_platform else ""
        label = f"[{shown}internal] load metadata for {reference}"
        request = ImageRequest(reference, platform, label=label, written=written, span=state.stage.span)
        if request in self.images:
            self._found(state, request)
        else:
            self.missing.append(request)

    def _found(self, state: StageState, request: ImageRequest) -> None:
        found = self.images[request]
        platform, draft = request.platform, draft_of(found.config)
        if state.platform is None and self.options.platform is None:
            platform = self._detected(draft, platform)
        state.platform = platform
        name = found.reference or request.reference
        if found.digest and "@" not in name:
            name += f"@{found.digest}"
        if not draft.based_on and all(entry.empty for entry in draft.history):
            self._take(state, Loaded(None, draft))
            return
        label = state.label(f"FROM {name}", show_platform=self.options.shows_platform)
        step = ImageSource(reference=name, digest=found.digest, platform=platform, label=label, span=state.stage.span)
        self._take(state, Loaded(step, draft))
        if (platform.os, platform.architecture) != (draft.platform.os, draft.platform.architecture):
            message = (
                f'Base image {request.written} was pulled with platform "{draft.platform}", expected "{platform}" for'
                " current build"
            )
            self.graph.checks.report(rules.INVALID_BASE_IMAGE_PLATFORM, message, state.stage.span)

    def _detected(self, draft: ImageDraft, wanted: Platform) -> Platform:
        own = (draft.platform.os, draft.platform.architecture)
        build = self.options.build_platform
        return build if own == (build.os, build.architecture) and own != (wanted.os, wanted.architecture) else wanted
