"""Named contexts (`--build-context name=…`): what stands in for an image or a stage of that name."""

from collections.abc import Mapping
from dataclasses import dataclass

from tiffin.build.dockerfile.source import DockerfileError, Span
from tiffin.build.drafts import ImageDraft, draft_of
from tiffin.build.options import BuildOptions, ImageRequest, ResolvedImage
from tiffin.build.remotes import parse_git
from tiffin.build.steps import GitSource, HttpSource, ImageSource, LayoutSource, LocalSource, ResultSource, Step
from tiffin.model.platform import Platform
from tiffin.model.reference import parse_reference

Images = Mapping[ImageRequest, ResolvedImage]


@dataclass(frozen=True, slots=True)
class Loaded:
    """step None is an empty file system; image None a context that is no image."""

    step: Step | None
    image: ImageDraft | None = None


def find_context(name: str, platform: Platform, options: BuildOptions) -> tuple[str, str] | None:
    """Key and value of the context for a stage or image name; `name::platform` wins over `name`."""
    if not options.contexts or name.lower() in ("scratch", "context"):
        return None
    familiar = parse_reference(name).familiar.removesuffix(":latest")
    for key in (f"{familiar}::{platform}", familiar):
        if key in options.contexts:
            return key, options.contexts[key]
    return None


def load_context(
    key: str, value: str, platform: Platform, options: BuildOptions, images: Images, span: Span
) -> Loaded | ImageRequest:
    """ImageRequest where an image's configuration must be known first."""
    kind, colon, rest = value.partition(":")
    if not colon:
        raise DockerfileError(f"invalid context specifier {value} for {key}", span)
    if kind == "docker-image":
        return _image(key, rest.removeprefix("//"), platform, images, span)
    if kind == "oci-layout":
        return _layout(key, rest.removeprefix("//"), platform, images, span)
    if kind == "local":
        return Loaded(LocalSource(context=rest, exclude=None, label=f"[context {key}] load from client"))
    if kind == "input":
        config = options.input_images.get(rest)
        return Loaded(ResultSource(id=rest, label=f"[context {key}] {rest}"), draft_of(config) if config else None)
    if kind in ("git", "http", "https", "ssh") or kind.startswith("git@"):
        return Loaded(_remote(key, value, span))
    raise DockerfileError(f"unsupported context source {kind} for {key}", span)


def _remote(key: str, url: str, span: Span) -> Step:
    git = parse_git(url)
    if git is None and not url.startswith(("http://", "https://")):
        raise DockerfileError(f"invalid git context {url}", span)
    if git is None:
        return HttpSource(url=url, filename="context", label=f"[context {key}] {url}")
    return GitSource(
        remote=git.remote,
        ref=git.ref,
        subdirectory=git.subdirectory,
        checksum=git.checksum,
        keep_git_dir=bool(git.keep_git_dir),
        submodules=git.submodules is not False,
        label=f"[context {key}] {url}",
    )


def _image(key: str, name: str, platform: Platform, images: Images, span: Span) -> Loaded | ImageRequest:
    if name == "scratch":
        return Loaded(None)
    reference = str(parse_reference(name).with_default_tag())
    label = f"[context {key}] load metadata for {reference}"
    request = ImageRequest(reference, platform, label=label, written=name, span=span)
    if request not in images:
        return request
    found = images[request]
    step = ImageSource(
        reference=found.reference or reference,
        digest=found.digest,
        platform=platform,
        label=f"[context {key}] {reference}",
    )
    return Loaded(step if found.config.diff_ids else None, draft_of(found.config))


def _layout(key: str, name: str, platform: Platform, images: Images, span: Span) -> Loaded | ImageRequest:
    store, at, digest = name.rpartition("@")
    if not at:
        raise DockerfileError(f'oci-layout reference "{name}" has no digest', span)
    store = store.partition(":")[0]  # buildx before 0.14 says the tag, too
    label = f"[context {key}] load metadata for {name}"
    request = ImageRequest(name, platform, store=store, label=label, written=name, span=span)
    if request not in images:
        return request
    step = LayoutSource(store=store, digest=digest, platform=platform, label=f"[context {key}] OCI load from client")
    return Loaded(step, draft_of(images[request].config))
