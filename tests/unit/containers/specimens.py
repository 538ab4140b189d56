"""Containers for tests."""

from tiffin.containers.names import new_id
from tiffin.model.container import Config, Container, ContainerId, EndpointRequest
from tiffin.model.container_host import HostConfig, MountPoint, PortBinding, RestartPolicy


def container(name: str, **changes: object) -> Container:
    values: dict[str, object] = {
        "id": ContainerId(new_id()),
        "name": name,
        "created": 1,
        "image_id": "sha256:" + "0" * 64,
        "config": Config(cmd=("true",), labels={"a": "b"}, exposed_ports={"80/tcp": {}}),
        "host": HostConfig(
            port_bindings={"80/tcp": (PortBinding("", "8080"),)}, restart_policy=RestartPolicy("on-failure", 3)
        ),
        "path": "true",
        "args": (),
        "driver": "overlay",
        "networks": {"bridge": EndpointRequest(aliases=("web",))},
        "mounts": (MountPoint("bind", "/data", source="/srv"),),
        **changes,
    }
    return Container(**values)  # type: ignore[arg-type]
