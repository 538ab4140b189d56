"""Git work trees, by the git binary of this machine: without hooks, templates, or a user's configuration."""

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from tiffin.build.steps import GitSource
from tiffin.errors import Invalid, NotFound, Unsupported
from tiffin.model.digest import Digest, digest_of

_SECONDS = 600
_KEPT = 1 << 16  # bytes of what git says
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_SCHEMES = ("http", "https", "ssh", "git")
_CONFIGURATION = ("core.hooksPath=/dev/null", "protocol.file.allow=never", "protocol.ext.allow=never", "gc.auto=0")

Output = Callable[[int, bytes], None]


def check_out(step: GitSource, scratch: Path, output: Output, agent: str = "") -> tuple[Path, Digest]:
    """The tree that is asked for, below `scratch`, and a key of its content. Blocks.

    agent: an ssh agent's socket. Invalid for what git refuses, Unsupported where there is no git.
    """
    git = _Git(scratch / "work", output, agent)
    git.run("init", "-q", "-b", "main", "--template=", ".")
    commit = git.fetch(step.remote, step.ref or "HEAD")
    if step.checksum and not commit.startswith(step.checksum):
        raise Invalid(f"expected checksum to match {step.checksum}, got {commit}")
    git.run("checkout", "-q", "--detach", commit)
    if step.submodules:
        git.run("submodule", "update", "-q", "--init", "--recursive", "--depth=1")
    if not step.keep_git_dir:
        for path in git.tree.rglob(".git"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    key = digest_of(f"{commit}\0{step.keep_git_dir}\0{step.submodules}\0{step.subdirectory}".encode())
    return _subdirectory(git.tree, step.subdirectory), key


def _check(remote: str, ref: str) -> None:
    """git's own options and helpers (`--upload-pack=…`, `ext::…`) are no repositories."""
    scheme = remote.partition("://")[0] if "://" in remote else "ssh"
    if remote.startswith("-") or scheme not in _SCHEMES or "::" in remote.partition("/")[0]:
        raise Invalid(f"invalid git remote {remote!r}")
    if ref.startswith("-"):
        raise Invalid(f"invalid git reference {ref!r}")


def _subdirectory(tree: Path, inside: str) -> Path:
    path = Path(os.path.normpath(tree / inside)) if inside else tree
    if not path.is_relative_to(tree):
        raise Invalid(f"git subdirectory {inside!r} leads out of the repository")
    for above in (path, *path.parents):
        if above == tree:
            break
        if above.is_symlink() or not above.is_dir():
            raise NotFound(f"git subdirectory {inside!r}: no such directory")
    return path


class _Git:
    def __init__(self, tree: Path, output: Output, agent: str) -> None:
        binary = shutil.which("git")
        if binary is None:
            raise Unsupported("building from git repositories needs git on the daemon's machine: install git")
        tree.mkdir()
        self.tree = tree
        self._binary = binary
        self._output = output
        self._environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(tree.parent),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": ":".join(_SCHEMES),
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new",
            "LC_ALL": "C",
            **({"SSH_AUTH_SOCK": agent} if agent else {}),
        }

    def fetch(self, remote: str, ref: str) -> str:
        """The commit that a branch, a tag or a commit's own name means."""
        _check(remote, ref)
        try:
            self.run("fetch", "-q", "--depth=1", "--no-tags", "--", remote, ref)
        except Invalid:
            if not _COMMIT.fullmatch(ref):
                raise
            # servers need not give commits by name: it is searched in the history of what they do give
            self.run("fetch", "-q", "--tags", "--", remote, "+refs/heads/*:refs/remotes/origin/*")
            return self.run("rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}").strip()
        return self.run("rev-parse", "--verify", "--end-of-options", "FETCH_HEAD^{commit}").strip()

    def run(self, *arguments: str) -> str:
        """What it prints; Invalid with the last line of what it says when it fails."""
        options = [word for item in _CONFIGURATION for word in ("-c", item)]
        with subprocess.Popen(
            [self._binary, *options, *arguments],
            cwd=self.tree,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # its helpers end with it
        ) as git:
            late = threading.Event()

            def end() -> None:
                late.set()
                with suppress(ProcessLookupError):
                    os.killpg(git.pid, signal.SIGKILL)

            timer = threading.Timer(_SECONDS, end)
            timer.start()
            try:
                said = _last(git.stderr)
                printed = _last(git.stdout)
                os.waitid(os.P_PID, git.pid, os.WEXITED | os.WNOWAIT)  # its number is its own until nobody ends it
            finally:
                timer.cancel()
            status = git.wait()
        if late.is_set():
            raise Invalid(f"git {arguments[0]}: no end within {_SECONDS} s")
        if said:
            self._output(2, said)
        if status:
            reason = (said.decode("utf-8", "replace").strip().splitlines() or ["git gave no reason"])[-1]
            raise Invalid(f"failed to {arguments[0]} git repository: {reason}")
        return printed.decode("utf-8", "replace")


def _last(stream: IO[bytes] | None) -> bytes:
    """The end of what comes: a server may have anything said to us, without end."""
    assert stream is not None
    kept = b""
    while piece := stream.read1(_KEPT):  # type: ignore[attr-defined]
        kept = (kept + piece)[-_KEPT:]
    return kept
