"""What a build is asked for, and what it must be told about images before its steps can be known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tiffin.build.dockerfile.gotext import parse_bool
from tiffin.build.dockerfile.rules import CheckOptions, parse_check_options
from tiffin.build.dockerfile.source import NOWHERE, DockerfileError, Span
from tiffin.build.steps import RunSettings
from tiffin.model.digest import Digest
from tiffin.model.image import ImageConfig
from tiffin.model.platform import Platform, host_platform

_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """platform        None: what the machine is, and what base images say
    contexts        --build-context: name to `docker-image://…`, `oci-layout://…`, `local:…`, `input:…`, a URL
    input_images    configurations that came with `input:` contexts, by the name behind the colon
    ignore          patterns of the main context's .dockerignore
    no_cache        None: use the cache; empty: for no stage; otherwise for these stages not
    merge           whether COPY --link may become a layer of its own
    all_stages      every stage counts, not only what the target needs (build checks without a target)
    """

    target: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    build_platform: Platform = field(default_factory=host_platform)
    multi_platform: bool = False
    contexts: Mapping[str, str] = field(default_factory=dict)
    input_images: Mapping[str, ImageConfig] = field(default_factory=dict)
    ignore: Sequence[str] = ()
    no_cache: Sequence[str] | None = None
    network: str = "default"
    hostname: str = ""
    settings: RunSettings = field(default_factory=RunSettings)
    merge: bool = True
    all_stages: bool = False

    def skips_cache(self, stage: str) -> bool:
        if self.no_cache is None:
            return False
        return not self.no_cache or stage.lower() in [name.lower() for name in self.no_cache]

    @property
    def sandbox_hostname(self) -> str:
        return self.build_args.get("BUILDKIT_SANDBOX_HOSTNAME") or self.hostname

    @property
    def cache_namespace(self) -> str:
        return self.build_args.get("BUILDKIT_CACHE_MOUNT_NS", "")

    @property
    def shows_platform(self) -> bool:
        """Whether progress names the platform of each step."""
        text = self.build_args.get("BUILDKIT_MULTI_PLATFORM", "")
        try:
            return parse_bool(text) if text else self.multi_platform
        except ValueError:
            raise DockerfileError(f"invalid boolean value for multi-platform: {text}") from None

    @property
    def checks(self) -> CheckOptions | None:
        """Options that replace those of the Dockerfile."""
        text = self.build_args.get("BUILDKIT_DOCKERFILE_CHECK")
        return None if text is None else parse_check_options(text)

    def proxy(self) -> tuple[tuple[str, str], ...]:
        """Proxy variables as RUN sees them, in both spellings, from build arguments that need no ARG."""
        given = {name.lower(): value for name, value in sorted(self.build_args.items()) if name.lower() in _PROXIES}
        return tuple((spelled, given[name]) for name in _PROXIES if given.get(name) for spelled in (name.upper(), name))


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """An image whose configuration is needed. label: what progress shows meanwhile; reference: full, with tag.

    store   of an OCI layout on the client, "" for a registry or the local images
    written, span   the name in the Dockerfile and its lines, for errors
    """

    reference: str
    platform: Platform
    store: str = ""
    label: str = field(default="", compare=False)
    written: str = field(default="", compare=False)
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """What a request found. digest of the manifest; reference where it became another one."""

    config: ImageConfig
    digest: Digest | None = None
    reference: str = ""
