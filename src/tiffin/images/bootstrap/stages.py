"""In which order dpkg gets the packages, and the script that hands them to it within a container."""

from collections.abc import Sequence

from tiffin.images.bootstrap.packages import Package

HERE = "/run/bootstrap"
"""Where the container sees the .debs and the script."""


def waves(packages: Sequence[Package], installed: Sequence[Package]) -> list[list[Package]]:
    """Groups to install one after another: what a package pre-depends on is configured in an earlier one.

    Within a group dpkg finds the order itself. Where packages pre-depend on each other in a circle they stay together.
    """
    left = [one for one in packages if one.name not in {other.name for other in installed}]
    first = reached(left, [one for one in left if _pre_depended(one, left)])
    if not first or len(first) == len(left):
        return [left] if left else []
    rest = [one for one in left if one not in first]
    return [*waves(first, ()), *waves(rest, ())]


def _pre_depended(package: Package, among: Sequence[Package]) -> bool:
    return any(
        package.is_called(relation)
        for other in among
        if other is not package
        for group in other.relations("pre-depends")
        for relation in group
    )


def reached(among: Sequence[Package], start: Sequence[Package]) -> list[Package]:
    """start and what of `among` they depend on, by whichever alternative, in the order of `among`."""
    found = {one.name for one in start}
    pending = list(start)
    while pending:
        package = pending.pop()
        for group in package.relations("pre-depends", "depends"):
            for relation in group:
                for other in among:
                    if other.name not in found and other.is_called(relation):
                        found.add(other.name)
                        pending.append(other)
    return [one for one in among if one.name in found]


def file_name(package: Package) -> str:
    """A .deb's name beside the script: nothing of the archive's own file name gets into it."""
    return f"{package.name}_{package.file.sha256[:16]}.deb"


def script(essential: Sequence[Package], groups: Sequence[Sequence[Package]]) -> str:
    """The second stage as a shell script: every package goes through the image's own dpkg."""
    lines = [
        "set -e",
        f"cd {HERE}",
        # nothing here needs to survive a power loss before it is an image
        "dpkg='/usr/bin/dpkg --force-unsafe-io'",
        # the tools of the essential packages work unpacked: they are what configures them
        f"$dpkg --force-depends --install {_files(essential)}",
    ]
    lines += [f"$dpkg --install {_files(group)}" for group in groups]
    # one that dpkg has left half-done without saying so is an error here
    lines += [
        "left=$(/usr/bin/dpkg-query -W -f '${db:Status-Status} ${Package}\\n' | grep -v '^installed ' || true)",
        'if [ -n "$left" ]; then echo "not installed: $left" >&2; exit 1; fi',
    ]
    return "\n".join(lines) + "\n"


def _files(packages: Sequence[Package]) -> str:
    return " ".join(file_name(one) for one in packages)
