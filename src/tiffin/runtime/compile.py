"""An OCI runtime specification as a plan. A function of its arguments: what the machine offers is one of them.

The order of operations is the kernel's and runc's: propagation, root, mounts, devices, hooks of the host, hooks in the
container, the pivot, then what covers or freezes: names, sysctls, read-only paths, masks, the read-only root.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from tiffin.errors import Invalid
from tiffin.linux import cgroups_devices, mounts
from tiffin.runtime import compile_cgroups, compile_linux, compile_machine, compile_mounts, plan
from tiffin.runtime.compile_linux import Namespaces
from tiffin.runtime.compile_machine import Machine
from tiffin.runtime.compile_options import PROPAGATION, parse
from tiffin.runtime.compile_process import compile_process, memory_policy, personality

__all__ = ["cgroups_path", "compile_exec", "compile_process", "compile_spec"]

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


class RootMount(Protocol):
    """What a snapshot gives: model.mount.Mount."""

    @property
    def type(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def options(self) -> tuple[str, ...]: ...


def compile_spec(
    spec: Mapping[str, Any],
    *,
    container_id: str,
    state_dir: str,
    bundle: str = "/",
    stdio: Mapping[str, Any] | None = None,
    log: Mapping[str, Any] | None = None,
    root: RootMount | None = None,
    root_at: str | None = None,
    machine: Machine | None = None,
    init: bool = False,
    network: bool = False,
    gate: bytes | None = None,
    external: Mapping[str, Any] | None = None,
    pivot: bool = True,
    keyring: bool = True,
) -> dict[str, object]:
    """The plan for a container.

    spec      OCI runtime specification 1.2, as decoded JSON; `root.path` is relative to `bundle`
    root      the root file system's mount, made on `root_at`; without it spec.root.path is bound on itself
    stdio, log, init, network, gate, external: as in plan.py; spec.process.terminal decides on the terminal
    pivot     False: enter the root by moving its mount (--no-pivot)
    keyring   whether the process gets a session keyring of its own

    Raises Invalid, in runc's words where it has some.
    """
    machine = machine or compile_machine.detect()
    linux: Mapping[str, Any] = spec.get("linux") or {}
    process = spec.get("process")
    if process is None:
        raise Invalid("process property must not be empty")
    spaces = compile_linux.parse_namespaces(linux)
    _validate(spec, linux, spaces, machine)
    user = compile_linux.owner_maps(linux, spaces)
    groups = compile_cgroups.compile_groups(
        machine.hierarchies, cgroups_path(linux, container_id), linux.get("resources") or {}, _device_rules(linux)
    )
    in_user_namespace = "user" in spaces.names
    compiled = compile_process(
        process,
        machine,
        filter=linux.get("seccomp"),
        user_namespace=in_user_namespace,
        cwd_create=True,
        keyring=b"_ses." + container_id.encode() if keyring else None,
    )
    compiled["personality"] = personality(linux.get("personality"))
    compiled["memory_policy"] = memory_policy(linux.get("memoryPolicy"))
    return {
        "id": container_id,
        "state": state_dir,
        "unshare": spaces.unshare,
        "join": tuple(spaces.join),
        "user": user,
        "time_offsets": compile_linux.time_offsets(linux, spaces),
        "cgroup": groups.operations,
        "procs": groups.procs,
        "oom": groups.oom,
        "rmdir": groups.rmdir,
        "operations": tuple(
            _operations(spec, linux, spaces, machine, groups, bundle=bundle, root=root, root_at=root_at, pivot=pivot)
        ),
        "process": compiled,
        "stdio": {**(stdio or {}), **_terminal(process, stdio)},
        "log": dict(log) if log is not None else None,
        "init": init,
        "network": network,
        "hooks": _hooks(spec.get("hooks") or {}),
        "hook_state": hook_state(spec, container_id, bundle),
        "gate": gate,
        "external": dict(external) if external is not None else None,
    }


def compile_exec(
    process: Mapping[str, Any], spec: Mapping[str, Any], *, machine: Machine | None = None
) -> dict[str, object]:
    """plan["process"] for a further process of the container that `spec` describes. Raises Invalid."""
    linux: Mapping[str, Any] = spec.get("linux") or {}
    # what is joined was made by the container: here it matters only whether it has a user namespace
    owned = any(entry.get("type") == "user" for entry in linux.get("namespaces") or ())
    return compile_process(
        process,
        machine or compile_machine.detect(),
        filter=linux.get("seccomp"),
        user_namespace=owned,
    )


def cgroups_path(linux: Mapping[str, Any], container_id: str) -> str:
    """Where the container's groups are, as linux.cgroupsPath."""
    return linux.get("cgroupsPath") or container_id


def hook_state(spec: Mapping[str, Any], container_id: str, bundle: str) -> bytes:
    """The OCI state that hooks read: JSON with %s for the status and %d for the pid."""
    fixed = {"ociVersion": spec.get("ociVersion") or "1.0.2", "id": container_id}
    rest = {"bundle": bundle, "annotations": spec.get("annotations") or {}}
    before, after = json.dumps(fixed)[:-1], json.dumps(rest)[1:]
    return (before.replace("%", "%%") + ', "status": "%s", "pid": %d, ' + after.replace("%", "%%")).encode()


def _validate(spec: Mapping[str, Any], linux: Mapping[str, Any], spaces: Namespaces, machine: Machine) -> None:
    if spec.get("hostname") and "uts" not in spaces.names:
        raise Invalid("unable to set hostname without a private UTS namespace")
    if spec.get("domainname") and "uts" not in spaces.names:
        raise Invalid("unable to set domainname without a private UTS namespace")
    if linux.get("intelRdt"):
        raise Invalid("intelRdt is specified in config, but Intel RDT is not supported or enabled")
    if linux.get("mountLabel") and not machine.selinux:
        raise Invalid("selinux label is specified in config, but selinux is disabled or not supported")
    propagation = linux.get("rootfsPropagation") or ""
    if propagation and propagation not in PROPAGATION:
        raise Invalid(f"rootfsPropagation={propagation} is not supported")


def _device_rules(linux: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rules = list((linux.get("resources") or {}).get("devices") or ())
    return [*rules, *cgroups_devices.DEFAULT]


def _terminal(process: Mapping[str, Any], stdio: Mapping[str, Any] | None) -> dict[str, object]:
    found: dict[str, object] = {"terminal": bool(process.get("terminal"))}
    size = process.get("consoleSize")
    if size and (size.get("height") or size.get("width")) and not (stdio or {}).get("size"):
        found["size"] = (size.get("height") or 0, size.get("width") or 0)
    return found


def _operations(
    spec: Mapping[str, Any],
    linux: Mapping[str, Any],
    spaces: Namespaces,
    machine: Machine,
    groups: compile_cgroups.Groups,
    *,
    bundle: str,
    root: RootMount | None,
    root_at: str | None,
    pivot: bool,
) -> Iterable[plan.Operation]:
    propagation = PROPAGATION.get(linux.get("rootfsPropagation") or "", 0)
    unbindable = propagation & mounts.MS_UNBINDABLE
    # an unbindable tree could not be cloned for the binds below
    yield plan.propagation(propagation if propagation and not unbindable else mounts.MS_SLAVE | mounts.MS_REC)
    yield _root(spec, bundle, root, root_at)
    if spaces.new("network"):
        yield plan.loopback()
    after: list[plan.Operation] = []
    entries: Sequence[Mapping[str, Any]] = spec.get("mounts") or ()
    for entry in entries:
        now, later = compile_mounts.compile_mount(
            entry,
            bundle=bundle,
            hierarchies=machine.hierarchies,
            place=groups.cgroup,
            private_cgroup="cgroup" in spaces.names,
            label=linux.get("mountLabel") or "",
        )
        yield from now
        after += later
    if compile_mounts.own_dev(entries):
        yield from compile_mounts.devices(
            linux.get("devices") or (), kcore=machine.kcore, bind=machine.in_user_namespace
        )
    if (spec.get("process") or {}).get("terminal"):
        yield plan.console()
    hooks = spec.get("hooks") or {}
    yield from (plan.hook(name) for name in HOOKS[:3] if hooks.get(name))
    yield plan.pivot() if pivot else plan.move_root()
    if propagation & (mounts.MS_SHARED | mounts.MS_UNBINDABLE):
        yield plan.propagation_root(propagation & ~mounts.MS_REC)
    yield from after
    yield from _names_and_covers(spec, linux, spaces)


def _root(spec: Mapping[str, Any], bundle: str, root: RootMount | None, at: str | None) -> plan.Operation:
    if root is None:
        path = os.path.join(bundle, (spec.get("root") or {}).get("path") or "rootfs")
        return plan.rootfs(b"bind", path.encode(), path.encode())
    if at is None:
        raise Invalid("a root file system that is to be mounted needs a directory to mount it on")
    options = parse(root.options)
    if root.type == "bind" or options.bind:
        return plan.rootfs(
            b"bind", root.source.encode(), at.encode(), attributes=options.set, recursive=options.bind == 2
        )
    return plan.rootfs(
        root.type.encode(), root.source.encode(), at.encode(), options=tuple(options.data), attributes=options.set
    )


def _names_and_covers(
    spec: Mapping[str, Any], linux: Mapping[str, Any], spaces: Namespaces
) -> Iterable[plan.Operation]:
    if spec.get("hostname"):
        yield plan.hostname(spec["hostname"].encode())
    if spec.get("domainname"):
        yield plan.domainname(spec["domainname"].encode())
    yield from (plan.sysctl(key, value) for key, value in compile_linux.sysctls(linux, spaces))
    yield from (plan.readonly(path.encode()) for path in linux.get("readonlyPaths") or ())
    yield from (plan.mask(path.encode()) for path in linux.get("maskedPaths") or ())
    if (spec.get("root") or {}).get("readonly"):
        yield plan.readonly_root()


def _hooks(hooks: Mapping[str, Any]) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for name in HOOKS:
        entries = []
        for hook in hooks.get(name) or ():
            if not os.path.isabs(hook.get("path") or ""):
                raise Invalid(f"invalid {name} hook: path {hook.get('path')!r} is not absolute")
            argv = tuple(argument.encode() for argument in hook.get("args") or (hook["path"],))
            environment = tuple(variable.encode() for variable in hook.get("env") or ())
            entries.append((hook["path"].encode(), argv, environment, hook.get("timeout") or 0))
        if entries:
            found[name] = tuple(entries)
    return found
