"""`tiffin build --explain`: for each step why it was, or was not, taken from the cache."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from build_wire.test_buildx import write
from rig import Cli

pytestmark = pytest.mark.timeout(600)

Explain = Callable[..., dict[str, str]]


@pytest.fixture
def explain(tiffin: Cli) -> Explain:
    """What is said of each step, by the words of its instruction; the lines of one joined by `; `."""

    def run(folder: Path, *words: str) -> dict[str, str]:
        done = tiffin("build", "--progress", "plain", "--explain", *words, str(folder), timeout=300)
        names: dict[str, str] = {}
        said: dict[str, list[str]] = {}
        for line in done.err.splitlines() + done.out.splitlines():
            if named := re.match(r"#(\d+) \[[^\]]*\] ([A-Z].*)", line):
                names[named[1]] = named[2]
            elif told := re.match(r"#(\d+) \? (.*)", line):
                said.setdefault(names[told[1]], []).append(told[2])
        return {name: "; ".join(lines) for name, lines in said.items()}

    return run


def dockerfile(folder: Path, text: str) -> Path:
    return write(folder, Dockerfile=text)


def test_a_step_that_runs_says_how_long_it_took_and_a_cached_one_what_it_once_took(
    explain: Explain, tmp_path: Path
) -> None:
    folder = dockerfile(tmp_path / "c", "FROM busybox\nRUN dd if=/dev/zero of=/once bs=1000 count=20\n")
    (said,) = explain(folder).values()
    assert re.fullmatch(r"it has not been run before; made in \d+\.\ds, 20kB", said)
    (said,) = explain(folder).values()
    assert re.fullmatch(r"nothing that it depends on has changed; made \d+\.\d(s|min) ago in \d+\.\ds, 20kB", said)


def test_the_file_that_differs_is_named_and_no_other(explain: Explain, tmp_path: Path) -> None:
    text = "FROM busybox\nCOPY project lock /a/\nCOPY src /b\nCOPY *.txt /c/\n"
    folder = dockerfile(tmp_path / "c", text)
    write(folder, project="1", lock="1", aaa="1", notes_txt="1")
    write(folder / "src" / "deep", one="1", two="2")
    explain(folder)

    write(folder, project="other", aaa="taken by nobody")
    said = explain(folder)
    assert said["COPY project lock /a/"].startswith("the files that it takes have changed: project;")
    assert said["COPY src /b"].startswith("what it is based on has changed: [2/4] COPY project lock /a/;")

    write(folder / "src" / "deep", two="changed", three="3")
    (folder / "src" / "deep" / "one").unlink()
    said = explain(folder)
    assert said["COPY project lock /a/"].startswith("nothing that it depends on has changed")
    assert said["COPY src /b"].startswith("the files that it takes have changed: src/deep/one is gone and 2 more;")

    write(folder / "src" / "deep", four="4")
    assert "changed: src/deep/four is new;" in explain(folder)["COPY src /b"]
    (folder / "src" / "deep" / "four").chmod(0o600)
    assert "changed: src/deep/four;" in explain(folder)["COPY src /b"]
    write(folder, notes_txt="2")
    assert "changed: notes.txt;" in explain(folder)["COPY *.txt /c/"]


@pytest.mark.slow
def test_what_a_build_in_between_has_sent_is_named_still(explain: Explain, tmp_path: Path) -> None:
    folder = dockerfile(tmp_path / "c", "FROM busybox\nCOPY . /all\n")
    write(folder, file="1", other="1")
    explain(folder)
    write(folder, file="2")
    explain(folder, "--target", "", "--check")
    write(folder / "sub", Dockerfile="FROM busybox\nCOPY file /\n")
    explain(folder, "-f", str(folder / "sub" / "Dockerfile"))
    assert "changed: file and 1 more;" in explain(folder)["COPY . /all"]


@pytest.mark.slow
def test_a_file_of_another_stage_and_one_that_is_mounted(explain: Explain, tmp_path: Path) -> None:
    text = "FROM busybox AS made\nCOPY given /out/given\nRUN echo constant > /out/kept\nFROM busybox\n"
    text += "COPY --from=made /out /in\nRUN --mount=type=bind,target=/ctx cat /ctx/given > /read\n"
    folder = write(tmp_path / "c", Dockerfile=text, given="1")
    explain(folder)
    write(folder, given="2")
    said = explain(folder)
    assert said["COPY --from=made /out /in"].startswith("the files that it takes have changed: out/given;")
    # of the mount's part the base comes first
    (folder / "Dockerfile").write_text(text.replace("COPY --from=made /out /in\n", ""))
    explain(folder)
    write(folder, given="3")
    mounted = explain(folder)["RUN --mount=type=bind,target=/ctx cat /ctx/given > /read"]
    assert mounted.startswith("the files that it takes have changed: given;")


def test_arguments_instructions_and_how_files_are_copied(explain: Explain, tmp_path: Path) -> None:
    text = "FROM busybox\nARG WHO=me\nRUN echo for $WHO > /tmp/who\nCOPY file /to\n"
    folder = write(tmp_path / "c", Dockerfile=text, file="1")
    explain(folder)
    said = explain(folder, "--build-arg", "WHO=you")
    assert said["RUN echo for you > /tmp/who"].startswith("the variable WHO is you, it was me;")
    dockerfile(folder, text.replace("echo for", "echo to"))
    said = explain(folder)
    assert said["RUN echo to me > /tmp/who"].startswith(
        "the command has changed from echo for $WHO > /tmp/who to echo to $WHO > /tmp/who;"
    )
    dockerfile(folder, text.replace("COPY file", "COPY --chmod=600 file"))
    assert explain(folder)["COPY --chmod=600 file /to"].startswith("its mode has changed from null to 384;")
    dockerfile(folder, text.replace("RUN echo", "USER nobody\nRUN echo"))
    assert "the user has changed from empty to nobody" in explain(folder)["RUN echo for me > /tmp/who"]


@pytest.mark.slow
def test_another_base_is_named_with_its_layers(tiffin: Cli, explain: Explain, tmp_path: Path) -> None:
    base = dockerfile(tmp_path / "base", "FROM busybox\nRUN echo 1 > /base\n")
    tiffin("build", "-q", "-t", "explain-base", str(base))
    folder = dockerfile(tmp_path / "c", "FROM explain-base\nRUN echo above > /above\n")
    explain(folder)
    dockerfile(base, "FROM busybox\nRUN echo 2 > /base\n")
    tiffin("build", "-q", "-t", "explain-base", str(base))
    said = explain(folder)["RUN echo above > /above"]
    layers = r"sha256:[0-9a-f]{12}"
    assert re.match(
        rf"the base image has changed: FROM \S*explain-base\S* has layers to {layers}, it had layers to {layers};", said
    )


@pytest.mark.slow
def test_what_is_not_to_be_cached_and_what_was_removed(tiffin: Cli, explain: Explain, tmp_path: Path) -> None:
    folder = dockerfile(tmp_path / "c", "FROM busybox\nRUN echo fresh > /fresh\n")
    explain(folder)
    (said,) = explain(folder, "--no-cache").values()
    assert said.startswith("the build was asked not to use the cache for it; made in ")
    tiffin("builder", "prune", "-af")
    (said,) = explain(folder).values()
    assert said.startswith("it has not been run before;")


def test_the_display_on_a_terminal_says_it_below_the_step(tiffin: Cli, tmp_path: Path) -> None:
    folder = dockerfile(tmp_path / "c", "FROM busybox\nRUN echo shown\n")
    with tiffin.terminal("build", "--explain", str(folder), columns=120) as terminal:
        terminal.expect(r"FINISHED(?s:.*) => \? it has not been run before; made in \d")
        assert terminal.wait() == 0


def test_without_the_flag_nothing_is_said(tiffin: Cli, tmp_path: Path) -> None:
    folder = dockerfile(tmp_path / "c", "FROM busybox\nRUN true\n")
    done = tiffin("build", "--progress", "plain", str(folder))
    assert " ? " not in done.out + done.err
