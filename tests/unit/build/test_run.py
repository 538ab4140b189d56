import json

import pytest

from tiffin.build import DockerfileError
from tiffin.build.steps import (
    BindMount,
    CacheMount,
    InlineSource,
    MakeDirectory,
    RunCommand,
    SecretMount,
    SshMount,
    TmpfsMount,
)

from .planning import image, labels, only, plan


def run(line: str, before: str = "", **options: object) -> RunCommand:
    found: RunCommand = only(plan(f"FROM base\n{before}\n{line}", **options), RunCommand)  # type: ignore[arg-type]
    return found


def test_a_line_runs_in_the_shell_and_an_array_as_it_is() -> None:
    assert run("RUN echo $X  a").arguments == ("/bin/sh", "-c", "echo $X  a")
    assert run('RUN ["echo", "$X"]').arguments == ("echo", "$X")
    assert run("RUN a", 'SHELL ["bash", "-lc"]').arguments == ("bash", "-lc", "a")


def test_a_heredoc_is_the_script() -> None:
    step = run("RUN <<-EOF\n\techo a\n\techo $B\nEOF")
    assert step.arguments == ("/bin/sh", "-c", "echo a\necho $B\n")
    assert step.label == "[2/2] RUN <<-EOF (echo a...)"


def test_a_heredoc_in_a_line_is_left_to_the_shell() -> None:
    assert run("RUN cat <<A >x && cat <<B\n1\nA\n2\nB").arguments[-1] == "cat <<A >x && cat <<B\n1\nA\n2\nB"


def test_a_heredoc_with_an_interpreter_is_a_file_that_is_run() -> None:
    found = plan("FROM base\nRUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF")
    step, file = only(found, RunCommand), only(found, InlineSource)
    assert step.arguments == ("/bin/sh", "-c", "/dev/pipes/EOF")
    assert step.mounts == (BindMount("/dev/pipes/", 1),)
    assert (file.path, file.mode, file.content) == ("EOF", 0o755, "#!/usr/bin/env python3\nprint(1)\n")
    assert file.label == "[internal] preparing inline document"


@pytest.mark.parametrize(
    ("flag", "mount"),
    [
        ("type=bind,source=a/../b,target=x", BindMount("/w/x", 1, "/b")),
        ("target=/x,rw", BindMount("/x", 1, "/", read_only=False)),
        ("type=cache,target=/c/./d", CacheMount("/c/./d", "//c/d", "shared", 1)),
        ("type=cache,target=c,id=$ID,sharing=private", CacheMount("/w/c", "/one", "private", 1)),
        ("type=tmpfs,target=/t,size=64m", TmpfsMount("/t", 64 << 20)),
        ("type=secret,id=a/b", SecretMount("a/b", "/run/secrets/b")),
        ("type=secret,id=s,env=TOKEN,required", SecretMount("s", None, "TOKEN", required=True)),
        ("type=secret,id=s,env=T,target=/f,uid=1,mode=0444", SecretMount("s", "/f", "T", uid=1, mode=0o444)),
        ("type=secret,target=/x/key", SecretMount("key", "/x/key")),
        ("type=ssh", SshMount("default")),
        ("type=ssh,id=k,target=/s,required=true,mode=0666", SshMount("k", "/s", required=True, mode=0o666)),
    ],
)
def test_mounts_become_what_the_executor_makes(flag: str, mount: object) -> None:
    assert run(f"RUN --mount={flag} x", "ENV ID=one\nWORKDIR /w").mounts == (mount,)


def test_a_cache_has_a_name_space_and_an_owner() -> None:
    found = plan(
        "FROM base\nRUN --mount=type=cache,target=/c,uid=5,gid=6,mode=0700 x",
        build_args={"BUILDKIT_CACHE_MOUNT_NS": "mine"},
    )
    step, directory = only(found, RunCommand), only(found, MakeDirectory)
    assert step.mounts == (CacheMount("/c", "mine//c", "shared", 1, "/cache"),)
    assert (directory.path, directory.mode, directory.owner) == ("/cache", 0o700, "5:6")
    assert directory.label == "[internal] setting cache mount permissions"


def test_a_mount_may_come_from_a_stage_or_an_image() -> None:
    text = "FROM base AS one\nRUN 1\nFROM base\nRUN --mount=from=one,target=/1 --mount=from=tool:2,src=/t,target=/2 x"
    found = plan(text)
    step = [item for item in found.steps.values() if isinstance(item, RunCommand)][-1]
    first, second = (found.steps[digest] for digest in step.inputs[1:] if digest)
    assert first.label == "[one 2/2] RUN 1"
    assert second.label.startswith("FROM docker.io/library/tool:2@")
    assert step.mounts == (BindMount("/1", 1), BindMount("/2", 2, "/t"))


def test_a_secret_is_masked_in_progress_and_absent_from_the_environment() -> None:
    step = run("RUN --mount=type=secret,id=s,env=TOKEN curl $TOKEN")
    assert step.label.endswith("curl ****")
    assert "TOKEN" not in dict(step.environment)


def test_how_it_runs_is_said_by_flags_and_options() -> None:
    step = run("RUN --network=none --security=insecure --device=v.com/d=x,required a", hostname="h")
    assert (step.network, step.security, step.devices, step.hostname) == (
        "none",
        "insecure",
        (("v.com/d=x", True),),
        "h",
    )
    assert run("RUN a", network="host").network == "host"


def test_ssh_takes_no_source() -> None:
    with pytest.raises(DockerfileError, match="ssh does not support source"):
        run("RUN --mount=type=ssh,source=a x")


HISTORY = """FROM base
ARG A=1 B
ENV C=2 D="x y"
RUN a
COPY --chown=1 a b /c/
ADD x /y
COPY <<f /
f
WORKDIR /w
USER u
LABEL l=m
EXPOSE 80 7000-7001/udp
VOLUME /v /w
STOPSIGNAL SIGTERM
SHELL ["bash", "-c"]
HEALTHCHECK --interval=1m CMD true
CMD echo "a"
ENTRYPOINT ["/e", "f"]
MAINTAINER me
ONBUILD RUN x"""


def test_the_history_is_written_as_buildkit_does() -> None:
    found = plan(HISTORY)
    assert [(entry.created_by, entry.empty) for entry in found.image.history] == [
        ("ARG A=1 B", True),
        ("ENV C=2 D=x y", True),
        ("RUN |2 A=1 B= /bin/sh -c a # buildkit", False),
        ("COPY --chown=1 a b /c/ # buildkit", False),
        ("ADD x /y # buildkit", False),
        ("COPY <<f / # buildkit", False),
        ("WORKDIR /w", False),
        ("USER u", True),
        ("LABEL l=m", True),
        ("EXPOSE [7000/udp 7001/udp 80/tcp]", True),
        ("VOLUME [/v /w]", True),
        ("STOPSIGNAL SIGTERM", True),
        ("SHELL [bash -c]", True),
        (
            "HEALTHCHECK {Test:[CMD-SHELL true] Interval:1m0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
            True,
        ),
        ('CMD ["bash" "-c" "echo \\"a\\""]', True),
        ('ENTRYPOINT ["/e" "f"]', True),
        ("MAINTAINER me", True),
    ]
    layers = [label for label in labels(found) if label.startswith("[") and "internal" not in label]
    assert len(layers) == 1 + sum(not entry.empty for entry in found.image.history)


def test_the_configuration_is_what_the_instructions_say() -> None:
    document = json.loads(plan(HISTORY, labels={"from": "cli"}).image.document((), "2020-02-02T00:00:00Z"))
    assert document["config"] == {
        "Env": ["PATH=/bin", "C=2", "D=x y"],
        "WorkingDir": "/w",
        "User": "u",
        "Labels": {"l": "m", "from": "cli"},
        "ExposedPorts": {"80/tcp": {}, "7000/udp": {}, "7001/udp": {}},
        "Volumes": {"/v": {}, "/w": {}},
        "StopSignal": "SIGTERM",
        "Shell": ["bash", "-c"],
        "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 60 * 10**9},
        "Cmd": ["bash", "-c", 'echo "a"'],
        "ArgsEscaped": True,
        "Entrypoint": ["/e", "f"],
        "OnBuild": ["RUN x"],
    }
    assert (document["author"], document["architecture"], document["os"]) == ("me", "amd64", "linux")
    assert document["history"][0] == {
        "created": "2020-02-02T00:00:00Z",
        "created_by": "ARG A=1 B",
        "comment": "buildkit.dockerfile.v0",
        "empty_layer": True,
    }


def test_an_entrypoint_drops_the_command_of_the_base_but_not_its_own() -> None:
    base = {"base:latest": image(Cmd=["sh"], Entrypoint=["/old"])}
    assert "Cmd" not in plan('FROM base\nENTRYPOINT ["a"]', base).image.run
    assert plan('FROM base\nCMD ["b"]\nENTRYPOINT ["a"]', base).image.texts("Cmd") == ("b",)
    assert plan('FROM base\nCMD ["b"]', base).image.texts("Entrypoint") == ("/old",)


def test_a_path_is_always_set() -> None:
    assert plan("FROM base", {"base:latest": image(Env=[])}).image.texts("Env")[0].startswith("PATH=/usr/local/sbin:")
