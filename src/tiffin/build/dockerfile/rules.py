"""BuildKit's build checks: the rules, what they say, and which of them a Dockerfile asks to skip."""

from collections.abc import Sequence
from dataclasses import dataclass

from tiffin.build.dockerfile.directives import DirectiveReader
from tiffin.build.dockerfile.gotext import SPACES, parse_bool, quoted
from tiffin.build.dockerfile.source import DockerfileError, Span

_DOCUMENTATION = "https://docs.docker.com/go/dockerfile/rule/"


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    description: str
    page: str
    experimental: bool = False

    @property
    def url(self) -> str:
        return f"{_DOCUMENTATION}{self.page}/" if self.page else ""


STAGE_NAME_CASING = Rule("StageNameCasing", "Stage names should be lowercase", "stage-name-casing")
FROM_AS_CASING = Rule("FromAsCasing", "The 'as' keyword should match the case of the 'from' keyword", "from-as-casing")
NO_EMPTY_CONTINUATION = Rule(
    "NoEmptyContinuation",
    "Empty continuation lines will become errors in a future release",
    "no-empty-continuation",
)
CONSISTENT_INSTRUCTION_CASING = Rule(
    "ConsistentInstructionCasing",
    "All commands within the Dockerfile should use the same casing (either upper or lower)",
    "consistent-instruction-casing",
)
DUPLICATE_STAGE_NAME = Rule("DuplicateStageName", "Stage names should be unique", "duplicate-stage-name")
RESERVED_STAGE_NAME = Rule(
    "ReservedStageName", "Reserved words should not be used as stage names", "reserved-stage-name"
)
JSON_ARGS_RECOMMENDED = Rule(
    "JSONArgsRecommended",
    "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    "json-args-recommended",
)
MAINTAINER_DEPRECATED = Rule(
    "MaintainerDeprecated",
    "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    "maintainer-deprecated",
)
UNDEFINED_ARG_IN_FROM = Rule("UndefinedArgInFrom", "FROM command must use declared ARGs", "undefined-arg-in-from")
WORKDIR_RELATIVE_PATH = Rule(
    "WorkdirRelativePath",
    "Relative workdir without an absolute workdir declared within the build can have unexpected results"
    " if the base image changes",
    "workdir-relative-path",
)
UNDEFINED_VAR = Rule("UndefinedVar", "Variables should be defined before their use", "undefined-var")
MULTIPLE_INSTRUCTIONS_DISALLOWED = Rule(
    "MultipleInstructionsDisallowed",
    "Multiple instructions of the same type should not be used in the same stage",
    "multiple-instructions-disallowed",
)
LEGACY_KEY_VALUE_FORMAT = Rule(
    "LegacyKeyValueFormat",
    "Legacy key/value format with whitespace separator should not be used",
    "legacy-key-value-format",
)
INVALID_BASE_IMAGE_PLATFORM = Rule(
    "InvalidBaseImagePlatform", "Base image platform does not match expected target platform", ""
)
REDUNDANT_TARGET_PLATFORM = Rule(
    "RedundantTargetPlatform",
    "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    "redundant-target-platform",
)
SECRETS_USED_IN_ARG_OR_ENV = Rule(
    "SecretsUsedInArgOrEnv",
    "Sensitive data should not be used in the ARG or ENV commands",
    "secrets-used-in-arg-or-env",
)
INVALID_DEFAULT_ARG_IN_FROM = Rule(
    "InvalidDefaultArgInFrom",
    "Default value for global ARG results in an empty or invalid base image name",
    "invalid-default-arg-in-from",
)
FROM_PLATFORM_FLAG_CONST_DISALLOWED = Rule(
    "FromPlatformFlagConstDisallowed",
    "FROM --platform flag should not use a constant value",
    "from-platform-flag-const-disallowed",
)
COPY_IGNORED_FILE = Rule(
    "CopyIgnoredFile", "Attempting to Copy file that is excluded by .dockerignore", "copy-ignored-file"
)
INVALID_DEFINITION_DESCRIPTION = Rule(
    "InvalidDefinitionDescription",
    "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not"
    " intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    "invalid-definition-description",
    experimental=True,
)
EXPOSE_PROTO_CASING = Rule(
    "ExposeProtoCasing", "Protocol in EXPOSE instruction should be lowercase", "expose-proto-casing"
)
EXPOSE_INVALID_FORMAT = Rule(
    "ExposeInvalidFormat",
    "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future"
    " release",
    "expose-invalid-format",
)


@dataclass(frozen=True, slots=True)
class Finding:
    rule: Rule
    message: str
    span: Span

    def __str__(self) -> str:
        return f"{self.rule.name}: {self.message}" + (f" (line {self.span.start})" if self.span.start > 0 else "")


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """`# check=skip=A,B;error=true;experimental=all`."""

    skip_all: bool = False
    skip: frozenset[str] = frozenset()
    experimental_all: bool = False
    experimental: frozenset[str] = frozenset()
    error: bool = False

    def wants(self, rule: Rule) -> bool:
        if rule.experimental:
            return self.experimental_all or rule.name in self.experimental
        return not self.skip_all and rule.name not in self.skip

    def merged(self, other: "CheckOptions") -> "CheckOptions":
        return CheckOptions(
            self.skip_all or other.skip_all,
            self.skip | other.skip,
            self.experimental_all or other.experimental_all,
            self.experimental | other.experimental,
            self.error,
        )


def parse_check_options(text: str) -> CheckOptions:
    """DockerfileError for an unknown option or a value that is no boolean."""
    options = CheckOptions()
    text = text.strip(SPACES)
    for part in text.split(";", 2) if text else ():
        key, equals, value = part.partition("=")
        if not equals:
            raise DockerfileError(f"invalid check option {quoted(part)}")
        key, value = key.strip(SPACES), value.strip(SPACES)
        names = frozenset(name.strip(SPACES) for name in value.split(","))
        if key == "skip":
            added = CheckOptions(skip_all=True) if value == "all" else CheckOptions(skip=names)
        elif key == "experimental":
            added = CheckOptions(experimental_all=True) if value == "all" else CheckOptions(experimental=names)
        elif key == "error":
            added = CheckOptions(error=_boolean(part, value))
        else:
            raise DockerfileError(f"invalid check option {quoted(key)}")
        options = CheckOptions(
            options.skip_all or added.skip_all,
            options.skip | added.skip,
            options.experimental_all or added.experimental_all,
            options.experimental | added.experimental,
            options.error or added.error,
        )
    return options


def _boolean(part: str, value: str) -> bool:
    try:
        return parse_bool(value)
    except ValueError:
        raise DockerfileError(
            f"failed to parse check option {quoted(part)}: strconv.ParseBool: parsing {quoted(value)}: invalid syntax"
        ) from None


class Checks:
    """Collects findings. `found` keeps the order in which the rules met them."""

    def __init__(self, options: CheckOptions | None = None):
        self.options = options or CheckOptions()
        self.found: list[Finding] = []

    def report(self, rule: Rule, message: str, span: Span, comments: Sequence[str] = ()) -> None:
        """`comments` stand above the instruction; a `# check=` among them counts for it alone."""
        if self._options(comments).wants(rule):
            self.found.append(Finding(rule, message, span))

    def _options(self, comments: Sequence[str]) -> CheckOptions:
        for comment in comments:
            found = DirectiveReader("").read(comment)
            if found is not None and found.name == "check":
                try:
                    return self.options.merged(parse_check_options(found.value.partition(" ")[0]))
                except DockerfileError:
                    return self.options
        return self.options

    def raise_if_asked(self) -> None:
        """DockerfileError where findings are to be errors (`error=true`)."""
        if self.options.error and self.found:
            names = sorted({finding.rule.name for finding in self.found})
            raise DockerfileError(f"lint violation found for rules: {', '.join(names)}", self.found[0].span)
