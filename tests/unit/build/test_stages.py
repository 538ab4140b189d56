import pytest

from tiffin.build import BuildOptions, DockerfileError, ImagesNeeded, plan_build
from tiffin.build.steps import CopyFiles, ImageSource, LocalSource, MakeDirectory, RunCommand
from tiffin.model.platform import Platform

from .planning import AMD64, every, image, labels, only, plan


def failure(text: str, **options: object) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        plan(text, **options)  # type: ignore[arg-type]
    return caught.value


def test_only_what_the_target_needs_becomes_steps() -> None:
    text = "FROM a AS one\nRUN 1\nFROM b AS two\nRUN 2\nFROM scratch AS three\nCOPY --from=one /x /\nFROM c\nRUN 4"
    assert [step.arguments[-1] for step in every(plan(text, target="three"), RunCommand)] == ["1"]
    assert [step.arguments[-1] for step in every(plan(text), RunCommand)] == ["4"]


def test_only_reachable_images_are_asked_for_and_all_at_once() -> None:
    text = "FROM a AS one\nFROM b AS two\nFROM scratch\nCOPY --from=one /x /\nCOPY --from=reg.io/c:1 /y /"
    text += "\nCOPY --from=0 /z /"
    found = plan_build(text.encode(), BuildOptions(build_platform=AMD64))
    assert isinstance(found, ImagesNeeded)
    assert [request.reference for request in found.requests] == ["docker.io/library/a:latest", "reg.io/c:1"]
    assert found.requests[0].label == "[internal] load metadata for docker.io/library/a:latest"
    assert found.requests[0].span.start == 1


def test_steps_are_numbered_as_progress_shows_them() -> None:
    text = "FROM base AS build\nWORKDIR /w\nENV A=1\nRUN x\nFROM base\nCOPY --from=build /w /w\nRUN y $A"
    shown = [label.partition("@")[0] for label in labels(plan(text))]
    assert shown == [
        "[build 1/3] FROM docker.io/library/base:latest",
        "[build 2/3] WORKDIR /w",
        "[build 3/3] RUN x",
        "[stage-1 2/3] COPY --from=build /w /w",
        "[stage-1 3/3] RUN y $A",
    ]


def test_a_single_stage_has_no_name_in_progress() -> None:
    shown = labels(plan('FROM base\nARG A=1\nrun echo $A "$B"'))
    assert shown[0].startswith("[1/2] FROM docker.io/library/base:latest@sha256:")
    assert shown[1] == '[2/2] RUN echo 1 "$B"'


def test_platforms_show_when_several_are_built() -> None:
    text = "FROM --platform=$BUILDPLATFORM base\nARG TARGETARCH\nRUN x"
    shown = labels(plan(text, platform=Platform("linux", "arm64"), multi_platform=True))
    assert shown[1] == "[linux/amd64->arm64 2/2] RUN x"


def test_a_stage_stands_on_another_with_its_environment() -> None:
    text = "FROM base AS a\nARG B=1\nENV C=2\nWORKDIR /d\nUSER u\nONBUILD ENV E=$C\nFROM a\nRUN x"
    found = plan(text)
    run = only(found, RunCommand)
    assert dict(run.environment) == {"PATH": "/bin", "B": "1", "C": "2", "E": "2"}
    assert (run.directory, run.user) == ("/d", "u")
    assert "OnBuild" not in found.image.run
    assert found.image.texts("Env") == ("PATH=/bin", "C=2", "E=2")


def test_triggers_of_the_base_image_run_first() -> None:
    base = image(OnBuild=["RUN echo $A", "COPY --from=tool /t /"])
    found = plan("FROM base\nRUN last", {"base:latest": base})
    shown = [label.partition("@")[0] for label in labels(found)]
    assert "[2/4] ONBUILD RUN echo $A" in shown
    assert "[3/4] ONBUILD COPY --from=tool /t /" in shown
    assert shown[-1] == "[4/4] RUN last"
    assert "OnBuild" not in found.image.run


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("FROM $NONE", "base name ($NONE) should not be blank", 1),
        ("FROM Upper", 'failed to parse stage name "Upper": invalid reference format: repository name', 1),
        ("FROM --platform=linux/$X y", 'failed to parse platform linux/$X: "" is an invalid component of "linux/"', 1),
        ("FROM --platform=$TARGETPLATFROM y", "(did you mean TARGETPLATFORM?)", 1),
        ("FROM scratch\nCOPY --from=3 a b", "invalid stage index 3", 2),
        ("FROM scratch\nCOPY --from=$x a b", "variable expansion is not supported for --from", 2),
        ("FROM scratch AS a\nCOPY --from=a x y", "circular dependency detected on stage: a", 2),
        ("FROM scratch AS a\nCOPY --from=b x y\nFROM scratch AS b\nCOPY --from=a x y", "circular dependency", 4),
        (
            "FROM scratch AS a\nCOPY --from=b x y\nFROM scratch AS b\nFROM a",
            "it needs to be defined before current stage",
            2,
        ),
        ("FROM scratch\nRUN --mount=from=b,target=/x y\nFROM scratch AS b\nFROM scratch", "", 0),
        ("FROM scratch\nRUN --mount=type=bind,target=/ y", 'invalid mount target "/"', 2),
        ("FROM scratch\nSTOPSIGNAL SIGNOPE", "invalid signal: SIGNOPE", 2),
        ("FROM scratch\nEXPOSE 99999", "invalid containerPort: 99999", 2),
        ("FROM scratch\nEXPOSE 80/http", 'invalid port: "80/http": invalid proto: http', 2),
        ("FROM scratch\nENV A=${B?none}", "B: none", 2),
        ("FROM scratch\nRUN a\nARG X=${", "syntax error: missing '}'", 3),
    ],
)
def test_what_can_not_be_planned_is_told_with_its_line(text: str, message: str, line: int) -> None:
    if not message:
        plan(text)
        return
    error = failure(text)
    assert message in str(error)
    assert error.spans[0].start == line


def test_an_unknown_target_is_told_with_a_suggestion() -> None:
    error = failure("FROM scratch AS build\nFROM scratch", target="biuld")
    assert str(error) == 'target stage "biuld" could not be found (did you mean build?)'


def test_a_stage_is_found_whatever_the_case() -> None:
    text = "FROM scratch AS One\nCOPY a /\nFROM scratch AS two\nCOPY --from=ONE /a /"
    assert len(every(plan(text), CopyFiles)) == 2
    assert len(every(plan(text, target="ONE"), CopyFiles)) == 1


def test_scratch_has_no_step_and_an_image_without_layers_neither() -> None:
    assert plan("FROM scratch").steps == {}
    assert every(plan("FROM base\nRUN x", {"base:latest": image(layers=0)}), ImageSource) == []


def test_arguments_are_seen_where_they_are_declared() -> None:
    text = "ARG A=1\nARG B=$A-2\nFROM base:$B\nRUN a $A\nARG A\nARG C=$A$B\nARG D\nRUN b"
    found = plan(text, build_args={"D": "d", "UNUSED": "x", "http_proxy": "p", "HTTPS_PROXY": "q"})
    first, second = every(found, RunCommand)
    assert only(found, ImageSource).reference.startswith("docker.io/library/base:1-2@")
    assert dict(first.environment) == {"PATH": "/bin"}
    assert dict(second.environment) == {"PATH": "/bin", "A": "1", "C": "1", "D": "d"}
    assert dict(first.settings.proxy) == {"HTTP_PROXY": "p", "http_proxy": "p", "HTTPS_PROXY": "q", "https_proxy": "q"}


def test_a_build_argument_wins_over_a_default_and_env_over_both() -> None:
    text = "ARG V=1\nFROM base\nARG V=2\nENV W=$V\nENV V=5\nRUN x"
    assert dict(only(plan(text), RunCommand).environment)["W"] == "2"
    run = only(plan(text, build_args={"V": "3"}), RunCommand)
    assert (dict(run.environment)["W"], dict(run.environment)["V"]) == ("3", "5")


def test_platform_arguments_are_predefined() -> None:
    text = (
        "FROM --platform=$BUILDPLATFORM base\nARG TARGETPLATFORM TARGETARCH TARGETVARIANT BUILDARCH TARGETSTAGE\nRUN x"
    )
    run = only(plan(text, platform=Platform("linux", "arm", "v7")), RunCommand)
    assert dict(run.environment) == {
        "PATH": "/bin", "TARGETPLATFORM": "linux/arm/v7", "TARGETARCH": "arm", "TARGETVARIANT": "v7",
        "BUILDARCH": "amd64", "TARGETSTAGE": "default",
    }  # fmt: skip
    assert run.platform == AMD64


def test_named_contexts_stand_in_for_images_and_stages() -> None:
    text = "FROM base AS build\nRUN never\nFROM scratch\nCOPY --from=build /a /\nCOPY --from=data b /"
    found = plan(text, contexts={"build": "docker-image://other:1", "data": "local:dir"})
    assert every(found, RunCommand) == []
    assert only(found, ImageSource).label == "[context build] docker.io/library/other:1"
    local = only(found, LocalSource)
    assert (local.context, local.exclude, local.paths) == ("dir", None, ("b",))
    assert local.label == "[context data] load from client"
    by_platform = {"data": "local:dir", "build::linux/amd64": "docker-image://yes", "build": "docker-image://no"}
    assert "yes" in only(plan(text, contexts=by_platform), ImageSource).reference


def test_the_context_is_asked_only_for_what_is_used() -> None:
    text = "FROM base\nCOPY b/ /a/../c* /\nADD https://x/y z /\nRUN --mount=source=m,target=/m x"
    assert only(plan(text), LocalSource).paths == ("b", "c*", "m", "z")
    assert only(plan(text + "\nCOPY . /"), LocalSource).paths == ()
    assert only(plan("FROM base\nCOPY --parents a/./b/*.c /"), LocalSource).paths == ("a/b/*.c",)
    assert every(plan("FROM base\nRUN x"), LocalSource) == []


def test_a_directory_that_is_used_twice_is_sent_once() -> None:
    text = "FROM base\nCOPY --from=data a /\nCOPY --from=data b /\nFROM scratch\nCOPY --from=0 / /"
    assert only(plan(text, contexts={"data": "local:dir"}), LocalSource).paths == ("a", "b")
    assert only(plan("FROM data\nRUN x", contexts={"data": "local:dir"}), LocalSource).paths == ()


def test_directories_are_made_by_the_user_in_force() -> None:
    found = plan("FROM base\nUSER u\nWORKDIR a\nWORKDIR ../b/\nWORKDIR /", {"base:latest": image(WorkingDir="/w")})
    assert [(step.path, step.owner) for step in every(found, MakeDirectory)] == [("/w/a", "u"), ("/w/b", "u")]
    assert found.image.text("WorkingDir") == "/"


def test_the_cache_is_not_used_where_that_is_asked() -> None:
    text = "FROM base AS a\nRUN x\nFROM base AS b\nCOPY --from=a /x /"
    assert [step.fresh for step in plan(text, no_cache=["A"]).steps.values() if not isinstance(step, ImageSource)] == [
        True,
        False,
    ]
    assert all(step.fresh for step in every(plan(text, no_cache=[]), RunCommand))
