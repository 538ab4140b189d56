import hypothesis.strategies as st
from hypothesis import given, settings

from tiffin.build import (
    BuildOptions,
    DockerfileError,
    cache_key,
    content_inputs,
    excerpt,
    first_difference,
    key_parts,
    plan_build,
)
from tiffin.build.steps import CopyFiles, RunCommand, RunSettings, Step
from tiffin.model.digest import digest_of

from .planning import AMD64, only, plan

ONE, TWO = digest_of(b"1"), digest_of(b"2")


def run(text: str, **options: object) -> RunCommand:
    found: RunCommand = only(plan(f"FROM base\n{text}", **options), RunCommand)  # type: ignore[arg-type]
    return found


def copy(line: str) -> CopyFiles:
    found: CopyFiles = only(plan(f"FROM base\n{line}"), CopyFiles)
    return found


def key(step: Step) -> str:
    return cache_key(step, [ONE], [TWO])


def test_equal_definitions_have_equal_digests_whatever_stands_around_them() -> None:
    one = plan("FROM base\nRUN a")
    two = plan("# note\nARG X\nFROM other AS z\nRUN z\n\nFROM base AS last\nLABEL a=b\nRUN   a")
    assert one.output == two.output
    assert list(one.steps) == list(two.steps)


def test_a_change_reaches_every_step_above_it_and_none_below() -> None:
    one, two = (list(plan(f"FROM base\nRUN 1\nRUN {word}\nRUN 3").steps) for word in "ab")
    assert [left == right for left, right in zip(one, two, strict=True)] == [True, True, False, False]


def test_what_the_process_sees_decides_its_key() -> None:
    same = key(run("RUN a"))
    assert key(run("RUN a", settings=RunSettings(proxy=(("x", "y"),)))) == same
    assert key(run("RUN a", build_args={"http_proxy": "p"})) == same
    for text in ("RUN b", "ENV X=1\nRUN a", "ARG X=1\nRUN a", "USER u\nRUN a", "RUN --network=none a"):
        assert key(run(text)) != same
    assert cache_key(run("RUN a"), [TWO], [TWO]) != same


def test_addresses_of_hosts_do_not_count_their_names_do() -> None:
    one, two, three = (
        run("RUN a", settings=RunSettings(hosts=((h, a),))) for h, a in (("h", "1"), ("h", "2"), ("i", "1"))
    )
    assert key(one) == key(two) != key(three)


def test_copied_files_count_by_content_and_name() -> None:
    step = copy("COPY dir/a* b /d/")
    assert [(item.index, item.paths, item.wildcards) for item in content_inputs(step)] == [
        (1, ("/dir/a*",), True),
        (2, ("/b",), True),
    ]
    assert key(copy("COPY x/a /d")) == key(copy("COPY y/a /d"))
    assert key(copy("COPY x/a /d")) != key(copy("COPY x/b /d"))
    assert cache_key(step, [ONE, None, None], [ONE, TWO]) != cache_key(step, [ONE, None, None], [TWO, ONE])


def test_a_read_only_mount_counts_by_content() -> None:
    step = run("RUN --mount=source=f,target=/f --mount=type=cache,target=/c --mount=target=/rw,rw a")
    assert [(item.index, item.paths) for item in content_inputs(step)] == [(1, ("/f",))]
    assert key(step) == key(run("RUN --mount=source=g,target=/f --mount=type=cache,target=/c --mount=target=/rw,rw a"))


def test_the_first_difference_is_named() -> None:
    before = key_parts(run("ARG V=1\nENV A=1\nRUN a"), [ONE])
    assert first_difference(before, key_parts(run("ARG V=2\nENV A=1\nRUN a"), [ONE])) == ("variable V", '"1"', '"2"')
    assert first_difference(before, key_parts(run("ENV A=1\nRUN a"), [ONE])) == ("variable V", '"1"', None)
    assert first_difference(before, key_parts(run("ARG V=1\nENV A=1\nRUN a"), [TWO])) == (
        "input 0",
        f'"{ONE}"',
        f'"{TWO}"',
    )
    assert first_difference(before, before) is None


def test_no_secret_is_part_of_a_key() -> None:
    parts = key_parts(run("RUN --mount=type=secret,id=s,env=T a"), [ONE])
    assert "variable T" not in [part.name for part in parts]


WORDS = st.sampled_from(
    [
        "FROM a\n", "FROM scratch AS b\n", "RUN ", "COPY ", "ADD ", "<<E ", "\nE\n", "\\\n", "--mount=type=", "--from=",
        "b ", "${", ":-", "}", "$A", "#", "%", "/",
        "//", "'", '"', "ARG A=", "ENV ", "LABEL ", "ONBUILD ", "[", "]", ",",
        "\n", " ", "HEALTHCHECK ", "CMD ", "EXPOSE 1-3/udp ", "WORKDIR ", "USER ", "# escape=`\n", "--chmod=7",
        "https://h/r.git?",
    ]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS, max_size=25))
def test_any_text_is_planned_or_refused_with_a_place(words: list[str]) -> None:
    source = ("FROM scratch\n" + "".join(words)).encode()
    try:
        plan_build(source, BuildOptions(build_platform=AMD64))
    except DockerfileError as error:
        assert excerpt(source, error.spans)
