"""Ports as they are given and shown, mounts as they are given."""

from __future__ import annotations

import pytest

from tiffin.cli import port_specs
from tiffin.cli.container_list import ports
from tiffin.cli.flags_storage import parse_mount, volume
from tiffin.cli.kinds import BadValue
from tiffin.errors import Invalid


@pytest.mark.parametrize(
    ("spec", "bindings"),
    [
        ("80", {"80/tcp": [("", "")]}),
        ("8080:80", {"80/tcp": [("", "8080")]}),
        ("127.0.0.1:8080:80/udp", {"80/udp": [("127.0.0.1", "8080")]}),
        ("127.0.0.1::80", {"80/tcp": [("127.0.0.1", "")]}),
        ("[::1]:8080:80", {"80/tcp": [("::1", "8080")]}),
        ("7000-7001:80-81", {"80/tcp": [("", "7000")], "81/tcp": [("", "7001")]}),
        ("7000-7005:80", {"80/tcp": [("", "7000-7005")]}),
        ("80-81", {"80/tcp": [("", "")], "81/tcp": [("", "")]}),
        ("published=8080,target=80,protocol=udp", {"80/udp": [("", "8080")]}),
    ],
)
def test_published_ports_are_read(spec: str, bindings: dict[str, list[tuple[str, str]]]) -> None:
    expected = {port: [{"HostIp": ip, "HostPort": host} for ip, host in hosts] for port, hosts in bindings.items()}
    assert port_specs.publish([spec]) == expected


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("99999", "invalid containerPort: 99999"),
        ("x:80", "invalid hostPort: x"),
        ("80/foo", "invalid proto: foo"),
        ("1.2.3:80:80", "invalid IP address: 1.2.3"),
        ("8080:", "no port specified: 8080:<empty>"),
        ("1-2:80-85", "invalid ranges specified for container and host Ports: 80-85 and 1-2"),
    ],
)
def test_impossible_ports_are_refused(spec: str, error: str) -> None:
    with pytest.raises(Invalid) as caught:
        port_specs.publish([spec])
    assert str(caught.value) == error


def port(private: int, public: int = 0, ip: str = "", kind: str = "tcp") -> dict[str, object]:
    return {"PrivatePort": private, "Type": kind} | ({"PublicPort": public, "IP": ip} if ip else {})


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ([], ""),
        ([port(80)], "80/tcp"),
        ([port(81), port(80), port(82)], "80-82/tcp"),
        ([port(80), port(90)], "80/tcp, 90/tcp"),
        ([port(80, 8080, "0.0.0.0"), port(80, 8080, "::")], "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"),
        ([port(80, 80, "0.0.0.0"), port(81, 81, "0.0.0.0")], "0.0.0.0:80-81->80-81/tcp"),
        ([port(53, kind="udp"), port(53)], "53/tcp, 53/udp"),
    ],
)
def test_neighbouring_ports_are_drawn_together(given: list[dict[str, object]], shown: str) -> None:
    assert ports(given) == shown


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("type=bind,src=/a,dst=/b,ro", {"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": True}),
        ("src=v,target=/b", {"Type": "volume", "Source": "v", "Target": "/b"}),
        (
            "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770",
            {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o1770}},
        ),
        (
            'src=v,dst=/b,volume-driver=local,"volume-opt=o=a,b"',
            {
                "Type": "volume",
                "Source": "v",
                "Target": "/b",
                "VolumeOptions": {"DriverConfig": {"Name": "local", "Options": {"o": "a,b"}}},
            },
        ),
        (
            "type=bind,src=/a,dst=/b,bind-recursive=disabled",
            {"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": {"NonRecursive": True}},
        ),
    ],
)
def test_mounts_are_read(text: str, mount: dict[str, object]) -> None:
    assert parse_mount(text, []) == [mount]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("foo", "invalid field 'foo' must be a key=value pair"),
        ("foo=bar", "unexpected key 'foo' in 'foo=bar'"),
        ("type=bind,src=/x", "target is required"),
        ("type=bind,dst=/y,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
        ("dst=/y,readonly=maybe", "invalid value for readonly: maybe"),
        (
            "type=bind,dst=/y,bind-recursive=readonly",
            "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction",
        ),
    ],
)
def test_contradictory_mounts_are_refused(text: str, error: str) -> None:
    with pytest.raises(BadValue) as caught:
        parse_mount(text, [])
    assert str(caught.value) == error


def test_a_volume_without_source_is_anonymous() -> None:
    assert volume("/data") == ("", "/data")
    assert volume("name:/data:ro") == ("name:/data:ro", "")
