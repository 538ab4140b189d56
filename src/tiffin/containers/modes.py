"""The namespace modes of a create body: `host`, `private`, `container:NAME`, … and what they mean."""

from tiffin.errors import Invalid


def container_of(mode: str) -> str | None:
    """The reference in `container:REFERENCE`, None for another mode."""
    return mode.partition(":")[2] if mode.startswith("container:") else None


def has_own_network(mode: str) -> bool:
    """Whether the container gets a network namespace of its own."""
    return mode != "host" and container_of(mode) is None


def check(*, network: str, pid: str, ipc: str, uts: str, userns: str, cgroupns: str) -> None:
    """Raises Invalid with docker's words."""
    if container_of(network) == "":
        raise Invalid("invalid network mode: invalid container format container:<name|id>")
    if pid not in ("", "host") and not container_of(pid):
        raise Invalid(f"invalid PID mode: {pid}")
    if ipc not in ("", "none", "private", "shareable", "host") and not container_of(ipc):
        raise Invalid(f"invalid IPC mode: {ipc}")
    if uts not in ("", "host"):
        raise Invalid(f"invalid UTS mode: {uts}")
    if userns not in ("", "host"):
        raise Invalid(f"invalid userns mode: {userns}")
    if cgroupns not in ("", "private", "host"):
        raise Invalid(f"invalid cgroup namespace mode: {cgroupns}")
