import pytest

from tiffin.build.dockerfile import instructions as made
from tiffin.build.dockerfile.source import DockerfileError, Span, excerpt
from tiffin.build.dockerfile.stages import Dockerfile, read_dockerfile


def read(text: str) -> Dockerfile:
    return read_dockerfile(text.encode())


def first(line: str) -> made.Instruction:
    return read(f"FROM scratch\n{line}").stages[0].instructions[0]


def failure(text: str) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        read(text)
    return caught.value


ERRORS = [
    ("FORM x", "unknown instruction: FORM (did you mean FROM?)"),
    ("cpoy a b", "unknown instruction: cpoy (did you mean copy?)"),
    ("XYZZY bar", "unknown instruction: XYZZY"),
    ("FROM", "FROM requires either one or three arguments"),
    ("FROM a AS", "FROM requires either one or three arguments"),
    ("FROM a IS b", "FROM requires either one or three arguments"),
    ("FROM a AS 1b", 'invalid name for build stage: "1b", name can\'t start with a number or contain symbols'),
    ("FROM --os=x a", "unknown flag: --os"),
    ("FROM --platfrom=x a", "unknown flag: --platfrom (did you mean platform?)"),
    ("ENV", "ENV requires at least one argument"),
    ("ENV =x", "ENV names can not be blank"),
    ("LABEL", "LABEL requires at least one argument"),
    ("ARG", "ARG requires at least one argument"),
    ("ARG =x", "ARG names can not be blank"),
    ("MAINTAINER", "MAINTAINER requires exactly one argument"),
    ("MAINTAINER --boo x", "unknown flag: --boo"),
    ("WORKDIR", "WORKDIR requires exactly one argument"),
    ("USER", "USER requires exactly one argument"),
    ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
    ("EXPOSE", "EXPOSE requires at least one argument"),
    ("VOLUME", "VOLUME requires at least one argument"),
    ('VOLUME [" "]', "VOLUME specified can not be an empty string"),
    ("COPY a", "COPY requires at least two arguments, but only one was provided. Destination could not be determined"),
    ("ADD", "ADD requires at least two arguments, but only one was provided. Destination could not be determined"),
    ("COPY a <<EOF\nEOF", "COPY cannot accept a heredoc as a destination"),
    ("COPY --form=x a b", "unknown flag: --form (did you mean from?)"),
    ("COPY --from a b", "missing a value on flag: --from"),
    ("COPY --link=maybe a b", "expecting boolean value for flag --link, not: maybe"),
    ("COPY --link= a b", "missing a value on flag: --link"),
    ("COPY --chown=a --chown=b a b", "duplicate flag specified: --chown"),
    ("RUN --network=bridge x", 'invalid network mode "bridge"'),
    ("RUN --security=none x", 'security "none" is not valid'),
    ("RUN --mount=from=$x,target=/a x", "'from' doesn't support variable expansion, define alias stage instead"),
    ("RUN --mount='a,\"x' x", 'failed to parse csv mounts: parse error on line 1, column 4: extraneous or missing " in'
     " quoted-field"),
    ("RUN --device=a,name=b x", "device name already set to a"),
    ("ONBUILD", "ONBUILD requires at least one argument"),
    ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
    ("ONBUILD from x", "FROM isn't allowed as an ONBUILD trigger"),
    ("SHELL []", "SHELL requires at least one argument"),
    ("SHELL bash -c", "SHELL requires the arguments to be in JSON form"),
    ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
    ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
    ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
    ("HEALTHCHECK EXEC x", 'Unknown type "EXEC" in HEALTHCHECK (try CMD)'),
    ("HEALTHCHECK --interval=5 CMD x", 'time: missing unit in duration "5"'),
    ("HEALTHCHECK --interval=x CMD x", 'time: invalid duration "x"'),
    ("HEALTHCHECK --timeout=5µs CMD x", 'Interval "timeout" cannot be less than 1ms'),
    ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
    ("HEALTHCHECK --retries=x CMD x", 'strconv.ParseInt: parsing "x": invalid syntax'),
]  # fmt: skip


@pytest.mark.parametrize(("line", "message"), ERRORS)
def test_a_wrong_instruction_is_told_as_buildkit_does(line: str, message: str) -> None:
    error = failure(f"FROM scratch\n\n{line}")
    assert str(error) == f"dockerfile parse error on line 3: {message}"
    assert error.spans == (Span(3, 3 + line.count("\n")),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the Dockerfile cannot be empty"),
        ("ARG x", "dockerfile contains no stages to build"),
        ("RUN x", "no build stage in current context"),
    ],
)
def test_a_dockerfile_needs_a_stage(text: str, message: str) -> None:
    assert str(failure(text)) == message


def test_an_error_shows_its_lines_and_those_around() -> None:
    text = "FROM scratch\nRUN a\nCOPY --form=x \\\n  a b\nRUN c\nRUN d\n"
    assert excerpt(text.encode(), failure(text).spans) == (
        "Dockerfile:3\n--------------------\n"
        "   2 |     RUN a\n   3 | >>> COPY --form=x \\\n   4 | >>>   a b\n   5 |     RUN c\n"
        "--------------------\n"
    )


def test_a_single_line_is_shown_with_more_around() -> None:
    shown = excerpt(b"1\n2\n3\n4\n5\n6\n7", [Span(4, 4)], "x.Dockerfile")
    assert shown.splitlines()[2:-1] == ["   2 |     2", "   3 |     3", "   4 | >>> 4", "   5 |     5", "   6 |     6"]


def test_stages_have_names_and_descriptions() -> None:
    found = read("ARG A=1 B\n# base the first\nFROM --platform=$P x:$A AS Base\nRUN a\nFROM base")
    assert found.arguments[0].definitions == (made.ArgDefinition("A", "1"), made.ArgDefinition("B"))
    one, two = found.stages
    assert (one.name, one.base, one.platform, one.description) == ("base", "x:$A", "$P", "the first")
    assert (two.name, two.base, found.targets) == ("", "base", ("base",))
    assert isinstance(one.instructions[0], made.Run)


def test_copy_and_add_have_their_flags() -> None:
    copy = first("COPY --from=x --chown=1:2 --chmod=755 --link --parents --exclude=*.o --exclude=b a b /d/")
    assert isinstance(copy, made.Copy)
    assert (copy.source_stage, copy.chown, copy.chmod, copy.link, copy.parents) == ("x", "1:2", "755", True, True)
    assert (copy.sources, copy.destination, copy.exclude) == (("a", "b"), "/d/", ("*.o", "b"))
    add = first("ADD --checksum=sha256:x --keep-git-dir=false --unpack http://x/y /d")
    assert isinstance(add, made.Add)
    assert (add.checksum, add.keep_git_dir, add.unpack, add.link) == ("sha256:x", False, True, False)
    assert first("ADD a b") != add


def test_copy_writes_files_from_heredocs() -> None:
    copy = first('COPY <<one.txt <<-"two" a /d/\n$X\none.txt\n\t$Y\ntwo')
    assert isinstance(copy, made.Copy)
    assert copy.files == (made.InlineFile("one.txt", "$X\n", True), made.InlineFile("two", "$Y\n", False))
    assert copy.sources == ("a",)


def test_run_has_a_line_or_arguments() -> None:
    line, array = first("RUN  echo  a"), first('RUN ["echo", "a"]')
    assert isinstance(line, made.Run) and isinstance(array, made.Run)
    assert line.command == made.CommandLine(("echo  a",), shell=True)
    assert array.command == made.CommandLine(("echo", "a"), shell=False)
    run = first(
        "RUN --mount=type=bind,from=x,target=/a --mount=type=tmpfs,target=/b --network=none --security=insecure x"
    )
    assert isinstance(run, made.Run)
    assert (run.mount_sources, run.network, run.security) == (("x", ""), "none", "insecure")


def test_a_healthcheck_has_times() -> None:
    check = first(
        'HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=2h --start-interval=5ms --retries=3 CMD ["a"]'
    )
    assert isinstance(check, made.Healthcheck)
    assert (check.test, check.interval, check.timeout) == (("CMD", "a"), 90 * 10**9, 1_500_000_000)
    assert (check.start_period, check.start_interval, check.retries) == (7200 * 10**9, 5_000_000, 3)
    none = first("HEALTHCHECK none")
    assert isinstance(none, made.Healthcheck) and none.test == ("NONE",)


def test_a_trigger_keeps_its_source() -> None:
    trigger = first("ONBUILD  RUN <<EOF\n a\nEOF")
    assert isinstance(trigger, made.Onbuild)
    assert trigger.expression == "RUN <<EOF\n a\nEOF"


def test_ports_are_sorted() -> None:
    expose = first("EXPOSE 80 443/tcp 1000-1001")
    assert isinstance(expose, made.Expose) and expose.ports == ("1000-1001", "443/tcp", "80")
