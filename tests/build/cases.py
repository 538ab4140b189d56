"""Dockerfiles whose effect must be the same on every engine: configuration, and file tree with modes and owners."""

from __future__ import annotations

import io
import tarfile

from build.building import Case, File, Files, Link


def _tar(compression: str = "") -> bytes:
    buffer = io.BytesIO()
    mode = f"w:{compression}" if compression else "w"
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for name, kind, uid in (("in", tarfile.DIRTYPE, 3), ("in/file", tarfile.REGTYPE, 4)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.uid, entry.gid, entry.mode, entry.mtime = kind, uid, uid, 0o750, 1704067200
            data = b"from the archive" if kind == tarfile.REGTYPE else b""
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


PLAIN: Files = {"a.txt": "a", "b.txt": "b", "dir/one": "1", "dir/two": File("2", 0o600), "dir/sub/three": "3"}
LINKS: Files = {**PLAIN, "link": Link("a.txt"), "dirlink": Link("dir"), "dir/up": Link("../a.txt")}
IGNORING: Files = {**PLAIN, ".dockerignore": "*.txt\n!b.txt\ndir/sub\n"}


def case(name: str, dockerfile: str, files: Files = PLAIN, *options: str, fails: bool = False) -> Case:
    return Case(name, dockerfile, files, options, fails)


# places of mounts, which BuildKit left behind in the layer before 0.12
STUBS = {
    "run-tmpfs": ["t"],
    "run-cache": ["c", "c/d"],
    "run-bind": ["ctx"],
    "run-bind-file": ["m", "m/a"],
    "run-bind-writable": ["ctx"],
    "run-bind-from": ["in"],
}

CASES = [
    # configuration
    case("env", 'FROM busybox\nENV A=1 B="two words"\nENV C three\nENV A=4\nENV D=$A/${C:-no}/${E:-none}/${A:+yes}'),
    case("labels", "FROM busybox\nLABEL a=b \"c d\"='e f'\nLABEL a=z", PLAIN, "--label", "x=y"),
    case("cmd-shell", "FROM busybox\nCMD echo hi there"),
    case("cmd-exec", 'FROM busybox\nCMD ["echo", "hi there"]'),
    case("entrypoint-shell", "FROM busybox\nENTRYPOINT exec top -b"),
    case("entrypoint-clears-cmd", 'FROM busybox\nCMD ["x"]\nENTRYPOINT ["/bin/sh", "-c"]'),
    case("entrypoint-then-cmd", 'FROM busybox\nENTRYPOINT ["/bin/sh"]\nCMD ["-c", "true"]'),
    case("expose", "FROM busybox\nEXPOSE 80 53/udp 7000-7002\nEXPOSE 80/tcp"),
    case("volume", 'FROM busybox\nVOLUME /data /other\nVOLUME ["/a b"]'),
    case("user", "FROM busybox\nUSER www-data\nRUN id -u > /tmp/who && id -g >> /tmp/who"),
    case("user-number", "FROM busybox\nUSER 1234:55\nRUN id -u > /tmp/who; id -g >> /tmp/who"),
    case("user-group", "FROM busybox\nUSER www-data:audio\nRUN id -un > /tmp/who; id -gn >> /tmp/who"),
    case("workdir", "FROM busybox\nWORKDIR /one/two\nWORKDIR three\nRUN pwd > where"),
    case("workdir-variable", "FROM busybox\nENV P=/p\nWORKDIR $P/${Q:-q}\nCOPY a.txt ."),
    case("workdir-link", "FROM busybox\nRUN mkdir /real && ln -s /real /seen\nWORKDIR /seen/deep\nRUN touch here"),
    case("stopsignal", "FROM busybox\nSTOPSIGNAL SIGUSR1"),
    case("shell", 'FROM busybox\nSHELL ["/bin/sh", "-ec"]\nRUN echo $- > /flags\nCMD true'),
    case("healthcheck", "FROM busybox\nHEALTHCHECK --interval=5s --timeout=2s --retries=4 CMD test -e /x || exit 1"),
    case("healthcheck-none", "FROM busybox\nHEALTHCHECK CMD true\nHEALTHCHECK NONE"),
    case("onbuild", "FROM busybox\nONBUILD RUN echo later > /later\nONBUILD COPY a.txt /"),
    case("maintainer", "FROM busybox\nMAINTAINER somebody <some@body>"),
    case("arg", "ARG T=latest\nFROM busybox:$T\nARG A=default\nARG B\nRUN echo $A-$B > /args\nENV KEPT=$A"),
    case("arg-given", "FROM busybox\nARG A=default\nRUN echo $A > /args", PLAIN, "--build-arg", "A=given"),
    case("arg-env-wins", "FROM busybox\nARG A=arg\nENV A=env\nRUN echo $A > /args", PLAIN, "--build-arg", "A=given"),
    case("arg-proxy", "FROM busybox\nRUN echo $HTTP_PROXY > /proxy", PLAIN, "--build-arg", "HTTP_PROXY=http://p:1"),
    case("scratch-config", 'FROM scratch\nCOPY a.txt /\nENV X=y\nCMD ["/a.txt"]'),
    case("escape-directive", "# escape=`\nFROM busybox\nRUN echo one `\n && echo two > /two"),
    case("comments", "# hello\nFROM busybox\n# in between\nRUN echo a \\\n# not a word\n  b > /ab"),
    # RUN
    case("run-exec", 'FROM busybox\nRUN ["/bin/sh", "-c", "echo exec > /exec"]'),
    case("run-modes", "FROM busybox\nRUN umask 027; mkdir /d; touch /d/f; chmod 4711 /d/f; chown 5:6 /d; mkfifo /fifo"),
    case("run-removes", "FROM busybox\nRUN rm -r /var/www && mkdir /var/www && touch /var/www/new\nRUN rm /bin/wget"),
    case("run-replaces", "FROM busybox\nRUN mkdir /x && touch /x/f\nRUN rm -r /x && echo file > /x"),
    case("run-links", "FROM busybox\nRUN ln -s /etc/passwd /l && touch /h1 && ln /h1 /h2 && ln -s nowhere /dangling"),
    case("run-nothing", "FROM busybox\nRUN true\nRUN true\nRUN touch /something"),
    case("run-root-mode", "FROM busybox\nRUN chmod 700 /tmp && chown 8:9 /home"),
    case("run-fails", "FROM busybox\nRUN exit 7", fails=True),
    case("run-tmpfs", "FROM busybox\nRUN --mount=type=tmpfs,target=/t touch /t/x && ls /t > /seen"),
    case("run-cache", "FROM busybox\nRUN --mount=type=cache,target=/c/d echo 1 > /c/d/x && cat /c/d/x > /seen"),
    case("run-bind", "FROM busybox\nRUN --mount=type=bind,target=/ctx ls /ctx/dir > /seen && cat /ctx/a.txt >> /seen"),
    case("run-bind-file", "FROM busybox\nRUN --mount=type=bind,source=a.txt,target=/m/a cat /m/a > /seen"),
    case(
        "run-bind-writable", "FROM busybox\nRUN --mount=type=bind,target=/ctx,rw echo n > /ctx/new && ls /ctx > /seen"
    ),
    case(
        "run-bind-from",
        "FROM busybox AS s\nRUN mkdir /o && echo o > /o/o\nFROM busybox\n"
        "RUN --mount=type=bind,from=s,source=/o,target=/in cp /in/o /got",
    ),
    case("run-secret-missing", "FROM busybox\nRUN --mount=type=secret,id=none ls / > /seen"),
    case("run-network-none", "FROM busybox\nRUN ls /sys/class/net > /nets", PLAIN, "--network", "none"),
    # COPY
    case("copy-file", "FROM busybox\nCOPY a.txt /file"),
    case("copy-file-into", "FROM busybox\nCOPY a.txt /new/dir/"),
    case("copy-file-deep", "FROM busybox\nCOPY a.txt /x/y/z"),
    case("copy-several", "FROM busybox\nCOPY a.txt b.txt /d/"),
    case("copy-onto-directory", "FROM busybox\nCOPY a.txt /etc"),
    case("copy-directory", "FROM busybox\nCOPY dir /d"),
    case("copy-directory-slash", "FROM busybox\nCOPY dir/ /d/"),
    case("copy-directory-merge", "FROM busybox\nRUN mkdir -m 700 /d && echo old > /d/one && touch /d/old\nCOPY dir /d"),
    case("copy-directory-nested", "FROM busybox\nRUN mkdir -p -m 711 /d/sub && chown 9 /d/sub\nCOPY dir /d"),
    case("copy-all", "FROM busybox\nCOPY . /all/"),
    case("copy-wildcard", "FROM busybox\nCOPY *.txt /w/"),
    case("copy-wildcard-directory", "FROM busybox\nCOPY d*r /w/"),
    case("copy-wildcard-class", "FROM busybox\nCOPY [ab].tx? /w/"),
    case("copy-wildcard-nested", "FROM busybox\nCOPY dir/*/thr* /w/"),
    case("copy-missing", "FROM busybox\nCOPY nowhere /w/", fails=True),
    case("copy-link", "FROM busybox\nCOPY link /l", LINKS),
    case("copy-link-directory", "FROM busybox\nCOPY dirlink /l", LINKS),
    case("copy-links-inside", "FROM busybox\nCOPY . /all", LINKS),
    case("copy-through-link", "FROM busybox\nRUN mkdir /real && ln -s /real /seen\nCOPY a.txt /seen/\nCOPY dir /seen"),
    case("copy-onto-link", "FROM busybox\nRUN echo old > /real && ln -s /real /seen\nCOPY a.txt /seen"),
    case("copy-onto-dangling-link", "FROM busybox\nRUN ln -s /not/yet /seen\nCOPY a.txt /seen"),
    case("copy-chown", "FROM busybox\nCOPY --chown=www-data:audio dir /d"),
    case("copy-chown-name", "FROM busybox\nCOPY --chown=www-data a.txt /new/d/"),
    case("copy-chown-number", "FROM busybox\nCOPY --chown=1234 a.txt /new/d/"),
    case("copy-chown-numbers", "FROM busybox\nCOPY --chown=12:34 . /d"),
    case("copy-chmod", "FROM busybox\nCOPY --chmod=640 a.txt /m"),
    case("copy-ignored", "FROM busybox\nCOPY . /all", IGNORING),
    case("copy-quoted", 'FROM busybox\nCOPY ["a b.txt", "/with space/"]', {"a b.txt": "ab"}),
    case("copy-modes", "FROM busybox\nCOPY . /m", {"x.sh": File("x", 0o755), "s": File("s", 0o4755), "p": File("", 0)}),
    case("copy-empty-directory", "FROM busybox\nCOPY . /e", {"empty": None, "f": ""}),
    case(
        "copy-from-stage",
        "FROM busybox AS s\nRUN mkdir /o && echo o > /o/o && chown -R 5:6 /o\nFROM busybox\nCOPY --from=s /o /o",
    ),
    case("copy-from-number", "FROM busybox\nRUN echo o > /o\nFROM busybox\nCOPY --from=0 /o /p"),
    case("copy-from-image", "FROM scratch\nCOPY --from=busybox /etc/passwd /etc/group /people/"),
    case(
        "copy-from-links",
        "FROM busybox AS s\nRUN mkdir /o && touch /o/a && ln /o/a /o/b && ln -s a /o/c\n"
        "FROM scratch\nCOPY --from=s /o /o",
    ),
    case("copy-variable", "FROM busybox\nARG F=a\nCOPY ${F}.txt /$F/"),
    case("copy-file-over-directory", "FROM busybox\nRUN mkdir -p /d/one\nCOPY dir /d", fails=True),
    # ADD
    case("add-file", "FROM busybox\nADD a.txt /added/"),
    case("add-tar", "FROM busybox\nADD t.tar /t/", {"t.tar": File(_tar())}),
    case("add-tar-gz", "FROM busybox\nADD t.tgz /t", {"t.tgz": File(_tar("gz"))}),
    case("add-tar-xz", "FROM busybox\nADD t.tar.xz /t/", {"t.tar.xz": File(_tar("xz"))}),
    case("add-tar-bz2", "FROM busybox\nADD t.bz2 /t/", {"t.bz2": File(_tar("bz2"))}),
    case("add-not-a-tar", "FROM busybox\nADD t.tar /t/", {"t.tar": "no archive at all"}),
    case("copy-tar", "FROM busybox\nCOPY t.tar /t/", {"t.tar": File(_tar())}),
    # stages
    case("target", "FROM busybox AS one\nRUN touch /one\nFROM one AS two\nRUN touch /two", PLAIN, "--target", "one"),
    case("stage-on-stage", "FROM busybox AS one\nENV A=1\nRUN touch /one\nFROM one\nRUN touch /two$A"),
    case("unused-stage", "FROM busybox AS no\nRUN touch /no\nFROM busybox\nRUN touch /yes"),
]
