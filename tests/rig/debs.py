"""A little Debian archive of the tests' own: packages, indices, a Release, signed by keys that are made here.

archive = LittleArchive("lunch")
archive.add(Deb("soup", "1.0", depends="spoon"))
with served(engine, archive.answer) as mirror: ...      # rig.mirrors
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import zstandard
from pysequoia import SignatureMode, Tsk, sign

from rig import archives

DATE = 1_750_000_000  # of every Release and every file: 2025-06-15
PACK = {
    "": bytes,
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".xz": lzma.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}
_HERE = {"amd64": "amd64", "arm64": "arm64"}.get(archives.architecture(), archives.architecture())

# as much of dpkg as a test of what is around it needs; the real one is tested with a real archive
_DPKG = """\
#!/bin/sh
set -e
for file do
    case $file in -*) continue ;; esac
    rm -rf /tmp/control
    mkdir /tmp/control
    busybox dpkg-deb -e "$file" /tmp/control
    name=$(sed -n 's/^Package: //p' /tmp/control/control)
    # what runs this is there already
    case $name in box | dpkg) ;; *) busybox dpkg-deb -x "$file" / ;; esac
    echo "Setting up $name ..."
    if [ -x /tmp/control/postinst ]; then /tmp/control/postinst configure; fi
    echo "installed $name" >>/var/lib/dpkg/status
done
"""


@dataclass
class Deb:
    """One package, not to be changed once it is made. files: content by path; links: targets by path.

    raw: the data.tar, instead of what these make.
    """

    name: str
    version: str = "1.0"
    depends: str = ""
    more: str = ""
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    postinst: str = ""
    essential: bool = False
    priority: str = "optional"
    architecture: str = "all"
    packed: str = ".xz"
    raw: bytes = b""

    @property
    def control(self) -> str:
        lines = [f"Package: {self.name}", f"Version: {self.version}", f"Architecture: {self.architecture}"]
        lines += ["Maintainer: Nobody <nobody@example.org>", f"Priority: {self.priority}"]
        lines += [f"Depends: {self.depends}"] if self.depends else []
        lines += ["Essential: yes"] if self.essential else []
        lines += [self.more] if self.more else []
        return "\n".join([*lines, "Description: for a test"]) + "\n"

    @functools.cached_property
    def data(self) -> bytes:
        scripts = {"postinst": self.postinst} if self.postinst else {}
        control = tar({"control": self.control, **scripts}, {}, executable=tuple(scripts))
        executable = tuple(path for path in self.files if "bin" in Path(path).parts)
        installed = self.raw or tar(self.files, self.links, executable=executable)
        members = {
            "debian-binary": b"2.0\n",
            "control.tar.gz": PACK[".gz"](control),
            f"data.tar{self.packed}": PACK[self.packed](installed),
        }
        return ar(members)


def ar(members: Mapping[str, bytes]) -> bytes:
    """An ar archive, as deb(5) wants it."""
    parts = [b"!<arch>\n"]
    for name, data in members.items():
        parts.append(f"{name:<16}{DATE:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode())
        parts.append(data + b"\n" * (len(data) % 2))
    return b"".join(parts)


def tar(
    files: Mapping[str, str | bytes], links: Mapping[str, str], *, executable: tuple[str, ...] = (), prefix: str = "./"
) -> bytes:
    """Files and symbolic links with the directories above them, names as dpkg-deb writes them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as made:
        seen = set()
        for path in sorted([*files, *links]):
            for parent in reversed(Path(path).parents):
                if parent != Path(".") and parent not in seen:
                    seen.add(parent)
                    archives.add(made, f"{prefix}{parent}/", type=tarfile.DIRTYPE, mode=0o755, mtime=DATE)
            if path in links:
                archives.add(
                    made, f"{prefix}{path}", type=tarfile.SYMTYPE, linkname=links[path], mode=0o777, mtime=DATE
                )
            else:
                content = files[path]
                data = content.encode() if isinstance(content, str) else content
                archives.add(made, f"{prefix}{path}", data, mode=0o755 if path in executable else 0o644, mtime=DATE)
    return buffer.getvalue()


@functools.cache
def base() -> tuple[Deb, ...]:
    """The least that packages can be installed with: busybox as the shell, and something that does for dpkg."""
    binary = next(path for path in (Path("/bin/busybox"), Path("/usr/bin/busybox")) if path.exists())
    applets = ["sh", "cat", "date", "echo", "env", "find", "grep", "id", "ls", "mkdir", "rm", "sed", "touch", "true"]
    links = {f"usr/bin/{name}": "busybox" for name in applets}
    return (
        # paths as of before merged /usr: they must come out under usr all the same
        Deb(
            "box",
            files={"bin/busybox": binary.read_bytes()},
            links=links,
            essential=True,
            architecture=_HERE,
            packed="",
        ),
        Deb(
            "dpkg",
            files={
                "usr/bin/dpkg": _DPKG,
                "usr/bin/dpkg-query": "#!/bin/sh\ncat /var/lib/dpkg/status\n",
                "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
                "etc/group": "root:x:0:\n",
            },
            depends="box",
            essential=True,
            packed=".gz",
        ),
        Deb("apt", files={"usr/bin/apt": "#!/bin/sh\n"}, priority="important", packed=".gz"),
    )


def key() -> Tsk:
    """A new key."""
    return Tsk.generate("The little archive <archive@example.org>")


class LittleArchive:
    """One suite below /debian. changed: bytes at a path instead of what belongs there, None for nothing."""

    def __init__(self, suite: str, debs: list[Deb] | None = None, *, signed_by: Tsk | None = None) -> None:
        self.suite = suite
        self.key = signed_by or key()
        self.debs = [*base(), *(debs or ())]
        self.changed: dict[str, bytes | None] = {}
        self.date = DATE
        self.valid_until = 0
        self.by_hash = True
        self.detached = False
        self.asked: list[str] = []
        self.architecture = _HERE

    @property
    def keyring(self) -> bytes:
        return bytes(self.key.extract_certificate())

    def index(self) -> str:
        """Packages, plain."""
        stanzas = []
        for deb in self.debs:
            data = deb.data
            where = f"Filename: {self._path(deb)}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
            stanzas.append(deb.control.replace(f": {_HERE}\n", f": {self.architecture}\n") + where)
        return "\n".join(stanzas)

    def _path(self, deb: Deb) -> str:
        several = sum(one.name == deb.name for one in self.debs) > 1
        return f"pool/{deb.name}_{deb.version}.deb" if several else f"pool/{deb.name}.deb"

    def release(self) -> bytes:
        lines = ["Origin: test", f"Suite: {self.suite}", f"Codename: {self.suite}", f"Date: {_date(self.date)}"]
        lines += [f"Valid-Until: {_date(self.valid_until)}"] if self.valid_until else []
        lines += ["Acquire-By-Hash: yes"] if self.by_hash else []
        lines += [f"Architectures: {self.architecture}", "Components: main", "SHA256:"]
        for path, data in self._indices().items():
            lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data):>10} {path}")
        return ("\n".join(lines) + "\n").encode()

    def _indices(self) -> dict[str, bytes]:
        directory, plain = f"main/binary-{self.architecture}", self.index().encode()
        return {f"{directory}/Packages{end}": PACK[end](plain) for end in ("", ".gz", ".xz")}

    def files(self) -> dict[str, bytes]:
        """Everything by its path below /debian."""
        dists, found = f"dists/{self.suite}", {}
        for path, data in self._indices().items():
            found[f"{dists}/{path}"] = data
            found[f"{dists}/{Path(path).parent}/by-hash/SHA256/{hashlib.sha256(data).hexdigest()}"] = data
        release = self.release()
        if self.detached:
            found[f"{dists}/Release"] = release
            found[f"{dists}/Release.gpg"] = sign(self.key.signer(), release, mode=SignatureMode.DETACHED)
        else:
            found[f"{dists}/InRelease"] = sign(self.key.signer(), release, mode=SignatureMode.CLEAR)
        found |= {self._path(deb): deb.data for deb in self.debs}
        return found

    def answer(self, path: str) -> tuple[int, bytes]:
        """What the server says; see `rig.mirrors.served`."""
        name = path.removeprefix("/debian/")
        self.asked.append(name)
        data = self.changed[name] if name in self.changed else self.files().get(name)
        return (404, b"") if data is None else (200, data)


def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True).replace("GMT", "UTC")
