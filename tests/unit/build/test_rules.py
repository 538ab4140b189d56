import pytest

from tiffin.build import BuildOptions, ImagesNeeded, ResolvedImage, check_build
from tiffin.build.dockerfile.rules import parse_check_options
from tiffin.build.dockerfile.source import DockerfileError

from .planning import AMD64, image


def findings(text: str, **options: object) -> list[str]:
    options.setdefault("build_platform", AMD64)
    known: dict = {}
    asked = BuildOptions(**options)  # type: ignore[arg-type]
    while isinstance(found := check_build(text.encode(), asked, known), ImagesNeeded):
        known |= {request: ResolvedImage(image()) for request in found.requests}
    return [str(finding) for finding in found[0]]


CASES = [
    ("FROM scratch AS Base", ["StageNameCasing: Stage name 'Base' should be lowercase (line 1)"]),
    ("FROM scratch as base", ["FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)"]),
    ("from scratch AS base", ["FromAsCasing: 'AS' and 'from' keywords' casing do not match (line 1)"]),
    ("FROM scratch\nCOPY a \\\n\n b", ["NoEmptyContinuation: Empty continuation line (line 4)"]),
    ("FROM scratch\nCopy a b\nCOPY c d", [
        "ConsistentInstructionCasing: Command 'Copy' should match the case of the command majority (uppercase)"
        " (line 2)"]),
    ("from scratch\ncopy a b\nCOPY c d", [
        "ConsistentInstructionCasing: Command 'COPY' should match the case of the command majority (lowercase)"
        " (line 3)"]),
    ("FROM scratch AS a\nFROM scratch AS a", [
        'DuplicateStageName: Duplicate stage name "a", stage names should be unique (line 2)']),
    ("FROM scratch AS context", [
        'ReservedStageName: Stage name should not use the same name as reserved stage "context" (line 1)']),
    ("FROM scratch\nCMD a", [
        "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals"
        " (line 2)"]),
    ('FROM scratch\nSHELL ["a"]\nENTRYPOINT a', []),
    ("FROM scratch\nMAINTAINER me", [
        "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)"]),
    ("ARG VERSION=1\nFROM x:${VERSON}", [
        "InvalidDefaultArgInFrom: Default value for ARG x:${VERSON} results in empty or invalid base image name"
        " (line 2)",
        "UndefinedArgInFrom: FROM argument 'VERSON' is not declared (did you mean VERSION?) (line 2)"]),
    ("FROM scratch\nWORKDIR a\nWORKDIR b", [
        'WorkdirRelativePath: Relative workdir "a" can have unexpected results if the base image changes (line 2)']),
    ("FROM scratch\nENV A=$PAHT", [
        "UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?) (line 2)"]),
    ("FROM scratch\nARG A\nCOPY x$A /\nRUN echo $B", []),
    ('FROM scratch\nCMD ["a"]\nCMD ["b"]', [
        "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only"
        " the last one will be used (line 2)"]),
    ("FROM scratch\nENV a b", [
        'LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format (line 2)']),
    ("FROM --platform=$TARGETPLATFORM scratch", [
        "RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the"
        " default behavior (line 1)"]),
    ("FROM --platform=linux/amd64 scratch", [
        'FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/amd64" (line 1)']),
    ("FROM --platform=linux/amd64 scratch AS build_amd64", []),
    ("FROM scratch\nARG API_KEY\nENV x_PASSWORD=1 TOKEN_FILE=a monkey=1", [
        'SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG "API_KEY") (line 2)',
        'SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV "x_PASSWORD") (line 3)']),
    ("ARG T\nFROM x:$T", [
        "InvalidDefaultArgInFrom: Default value for ARG x:$T results in empty or invalid base image name (line 2)"]),
    ("FROM scratch\nEXPOSE 80/TCP", [
        "ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase (line 2)"]),
    ("FROM scratch\nEXPOSE 127.0.0.1:80:80", [
        "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found"
        " '127.0.0.1:80:80' (line 2)"]),
    ("# check=experimental=all\nFROM scratch\n# about it\nARG A=1", [
        "InvalidDefinitionDescription: Comment for ARG should follow the format: `# A <description>` (line 4)"]),
    ("FROM scratch\n# about it\nARG A=1", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_a_check_finds_what_buildkit_finds(text: str, expected: list[str]) -> None:
    build_args = {"T": "1", "VERSON": "1"} if "$T\n" in text else {}
    assert findings(text, build_args=build_args) == expected


def test_a_copied_file_that_is_ignored_is_found() -> None:
    text = "FROM scratch\nCOPY a/b /\nADD c /\nCOPY . /\nCOPY --from=x c /"
    assert findings(text, ignore=["a", "c"]) == [
        'CopyIgnoredFile: Attempting to Copy file "a/b" that is excluded by .dockerignore (line 2)',
        'CopyIgnoredFile: Attempting to Add file "c" that is excluded by .dockerignore (line 3)',
    ]
    assert findings(text, ignore=["a", "c", "!a/b"]) == []


def test_rules_are_skipped_for_a_file_or_one_instruction() -> None:
    text = "FROM scratch AS A\n# check=skip=WorkdirRelativePath\nWORKDIR a\nENV b c"
    assert [item.partition(":")[0] for item in findings(text)] == ["StageNameCasing", "LegacyKeyValueFormat"]
    assert findings("# check=skip=all\n" + text) == []
    assert len(findings("# check=skip=StageNameCasing,LegacyKeyValueFormat\n" + text)) == 0
    assert findings(text, build_args={"BUILDKIT_DOCKERFILE_CHECK": "skip=all"}) == []


def test_findings_may_be_errors() -> None:
    text = b"# check=error=true\nFROM scratch AS A\nENV b c\nENV d e"
    found = check_build(text, BuildOptions(build_platform=AMD64))
    assert not isinstance(found, ImagesNeeded)
    assert str(found[1]) == "lint violation found for rules: LegacyKeyValueFormat, StageNameCasing"


def test_every_stage_is_checked_without_a_target() -> None:
    text = "FROM scratch AS a\nENV b c\nFROM scratch AS d"
    assert len(findings(text)) == 1
    assert findings(text, target="d") == []


def test_findings_come_with_the_error_that_ends_the_build() -> None:
    found = check_build(b"FROM scratch AS A\nFOO", BuildOptions(build_platform=AMD64))
    assert not isinstance(found, ImagesNeeded)
    assert [item.rule.name for item in found[0]] == ["StageNameCasing"]
    assert found[0][0].rule.url == "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/"
    assert "unknown instruction: FOO" in str(found[1])


@pytest.mark.parametrize("text", ["skip", "skp=all", "error=maybe"])
def test_wrong_check_options_are_errors(text: str) -> None:
    with pytest.raises(DockerfileError, match="check option"):
        parse_check_options(text)
