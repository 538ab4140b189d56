"""Paths in an image as instructions give them: relative to WORKDIR, with a meaning in the last slash."""

from tiffin.build.dockerfile.wildcards import join


def absolute(directory: str, path: str, *, keep_slash: bool = False) -> str:
    """keep_slash: `/` and `/.` at the end stay, as they say that a directory is meant."""
    parent = directory if directory.startswith("/") else join("/", directory)
    found = path or parent
    if not found.startswith("/"):
        found = join(parent, found)
    if keep_slash and path.endswith("/") and not found.endswith("/"):
        return found + "/"
    if keep_slash and path.endswith("/."):
        return found.rstrip("/") + "/." if not found.endswith("/.") else found
    return found


def destination(directory: str, path: str) -> str:
    return absolute(directory, path if path not in (".", "") else "./", keep_slash=True)
