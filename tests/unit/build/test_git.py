"""What a repository's server has git say, and when git does not end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tiffin.build.solve import git
from tiffin.build.steps import GitSource
from tiffin.errors import Invalid

STEP = GitSource(remote="https://example.org/a.git")


def pretend(place: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A git that does what the script says."""
    (place / "bin").mkdir()
    (place / "bin/git").write_text(f"#!/bin/sh\n{script}\n")
    (place / "bin/git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place / 'bin'}:{os.environ['PATH']}")


def test_what_git_says_without_end_and_in_any_bytes_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(
        tmp_path, monkeypatch, r"head -c 3000000 /dev/zero | tr '\0' '\377' >&2; printf '\nfatal: \377\n' >&2; exit 1"
    )
    told: list[bytes] = []
    with pytest.raises(Invalid, match=r"failed to init git repository: fatal: \ufffd$"):
        git.check_out(STEP, tmp_path, lambda stream, data: told.append(data))
    assert len(b"".join(told)) == 1 << 16


def test_a_git_whose_helper_holds_on_is_ended_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch, "sleep 1000 & exit 0")
    monkeypatch.setattr(git, "_SECONDS", 0.2)
    with pytest.raises(Invalid, match="no end within"):
        git.check_out(STEP, tmp_path, lambda stream, data: None)
