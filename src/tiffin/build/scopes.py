"""Variables outside of stages: the predefined ones, and the ARGs above the first FROM."""

from collections.abc import Mapping, Sequence

from tiffin.build.dockerfile import instructions as made
from tiffin.build.dockerfile.source import DockerfileError
from tiffin.build.dockerfile.words import Lexer
from tiffin.build.options import BuildOptions
from tiffin.model.platform import Platform

NOT_IN_ENVIRONMENT = ("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE")
Variables = dict[str, str]


def with_variable(variables: Mapping[str, str], name: str, value: str) -> Variables:
    """A changed variable moves to the end, as a new one stands there."""
    return {key: kept for key, kept in variables.items() if key != name} | {name: value}


def platform_arguments(options: BuildOptions, target: Platform, stage: str) -> Variables:
    """BUILDPLATFORM, TARGETARCH and so on; a build argument of the same name overrides."""
    build = options.build_platform
    found = {
        "BUILDPLATFORM": str(build),
        "BUILDOS": build.os,
        "BUILDOSVERSION": "",
        "BUILDARCH": build.architecture,
        "BUILDVARIANT": build.variant,
        "TARGETPLATFORM": str(target),
        "TARGETOS": target.os,
        "TARGETOSVERSION": "",
        "TARGETARCH": target.architecture,
        "TARGETVARIANT": target.variant,
        "TARGETSTAGE": stage or "default",
    }
    return {name: options.build_args.get(name, value) for name, value in found.items()}


def with_global_arguments(
    variables: Variables, lexer: Lexer, arguments: Sequence[made.Arg], build_args: Mapping[str, str]
) -> Variables:
    """A build argument wins over a default; defaults may use what stands above them. DockerfileError with lines."""
    for instruction in arguments:
        for definition in instruction.definitions:
            value = build_args.get(definition.name)
            if value is None and definition.default is not None:
                try:
                    value = lexer.word(definition.default, variables)
                except DockerfileError as error:
                    raise error.at(instruction.span) from None
            if value is not None:
                variables = with_variable(variables, definition.name, value)
    return variables


def names_of(arguments: Sequence[made.Arg]) -> list[str]:
    return [definition.name for instruction in arguments for definition in instruction.definitions]
