"""Networks, and the events of networks, volumes and images, as dockerd 28 shows and tells them."""

from __future__ import annotations

import time
from typing import Any

import docker as docker_py
import pytest
from docker.errors import APIError

from api.asking import create, post, refusal
from rig import Cli

pytestmark = pytest.mark.root


def test_the_list_says_less_of_networks_than_inspect(docker: Cli, newest: docker_py.APIClient) -> None:
    network = newest.create_network("shapes")["Id"]
    try:
        docker(
            "run", "-d", "--name", "named", "--network", "shapes", "--network-alias", "other", "busybox", "sleep", "999"
        )
        (listed,) = newest.containers(filters={"name": "named"})
        of_list = listed["NetworkSettings"]["Networks"]["shapes"]
        of_inspect = newest.inspect_container("named")["NetworkSettings"]["Networks"]["shapes"]
        hidden = ("Aliases", "DNSNames", "DriverOpts")
        assert {name: of_list[name] for name in hidden} == dict.fromkeys(hidden)
        assert of_inspect["Aliases"] == ["other"] and "other" in of_inspect["DNSNames"]
        shown = of_list.keys() - set(hidden)
        assert {name: of_list[name] for name in shown} == {name: of_inspect[name] for name in shown}
    finally:
        docker("rm", "-f", "named")
        newest.remove_network(network)


def test_networks_show_what_was_asked_for(newest: docker_py.APIClient) -> None:
    asked = {"Subnet": "10.223.0.0/24"}
    made = post(newest, "/networks/create", {"Name": "asked", "IPAM": {"Config": [asked]}})["Id"]
    try:
        assert newest.inspect_network("asked")["IPAM"] == {"Driver": "default", "Options": None, "Config": [asked]}
        create(newest, "there", "sleep", "999", HostConfig={"NetworkMode": "asked"})
        newest.start("there")
        place = newest.inspect_container("there")["NetworkSettings"]["Networks"]["asked"]
        assert (place["Gateway"], place["IPAddress"]) == ("10.223.0.1", "10.223.0.2")
        with pytest.raises(APIError) as refused:
            newest.remove_network("asked")
        words = f'network asked has active endpoints (name:"there" id:"{place["EndpointID"][:12]}")'
        assert refused.value.explanation == f"error while removing network: {words}"
    finally:
        newest.remove_container("there", force=True)
        newest.remove_network(made)
    for name in ("host", "none"):
        found = newest.inspect_network(name)
        assert (found["EnableIPv4"], found["IPAM"]["Config"]) == (True, None)


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        ({"Subnet": "junk"}, "invalid subnet junk: invalid CIDR block notation"),
        ({"Subnet": "10.223.0.5/16"}, "invalid subnet 10.223.0.5/16: it should be 10.223.0.0/16"),
        (
            {"Subnet": "10.223.0.0/24", "Gateway": "10.1.1.1"},
            "invalid gateway 10.1.1.1: parent subnet 10.223.0.0/24 doesn't contain this address",
        ),
        (
            {"Subnet": "10.223.0.0/24", "IPRange": "10.1.1.0/24"},
            "invalid ip-range 10.1.1.0/24: parent subnet 10.223.0.0/24 doesn't contain ip-range",
        ),
        (
            {"Subnet": "10.223.0.0/24", "AuxiliaryAddresses": {"a": "10.1.1.1"}},
            "invalid auxiliary address a: parent subnet 10.223.0.0/24 doesn't contain this address",
        ),
    ],
)
def test_addresses_of_a_network_that_make_no_sense(
    newest: docker_py.APIClient, pool: dict[str, Any], words: str
) -> None:
    body = {"Name": "wrong", "IPAM": {"Config": [pool]}}
    assert refusal(newest, "/networks/create", body) == (400, f"invalid network config:\n{words}")


def test_networks_of_the_host_are_not_joined(newest: docker_py.APIClient) -> None:
    create(newest, "joining", "sleep", "999")
    create(newest, "hosts", "sleep", "999", HostConfig={"NetworkMode": "host"})
    made = newest.create_network("other")["Id"]
    sharing = "container sharing network namespace with another container or host"
    try:
        for network, name, words in (
            ("host", "joining", "cannot connect container to host network - container must be created in host network"),
            ("other", "hosts", f"{sharing} cannot be connected to any other network"),
        ):
            status, said = refusal(newest, f"/networks/{network}/connect", {"Container": name})
            assert status == 400 and said.startswith(words), said
    finally:
        newest.remove_network(made)


def told(client: docker_py.APIClient, since: float, **filters: str) -> list[dict[str, Any]]:
    return list(client.events(since=since, until=time.time() + 1, decode=True, filters=filters))


def test_volumes_tell_who_mounts_them(newest: docker_py.APIClient) -> None:
    since = time.time()
    made = create(newest, "mounts", "true", HostConfig={"Binds": ["mounted-here:/data:ro"]})
    newest.start("mounts")
    newest.wait("mounts")
    newest.remove_container("mounts")
    newest.remove_volume("mounted-here")
    shown = [(one["Action"], one["Actor"]["Attributes"]) for one in told(newest, since, volume="mounted-here")]
    place = {"container": made, "destination": "/data", "propagation": "", "read/write": "false"}
    local = {"driver": "local"}
    assert shown == [
        ("create", local),
        ("mount", place | local),
        ("unmount", {"container": made} | local),
        ("destroy", local),
    ]


@pytest.mark.parametrize("mode", ["", "default", "bridge", "first"])
def test_networks_that_are_named_take_the_place_of_the_default(newest: docker_py.APIClient, mode: str) -> None:
    ids = [newest.create_network(name)["Id"] for name in ("first", "second")]
    try:
        ends = {"EndpointsConfig": {"second": {}}}
        create(newest, "placed", "sleep", "999", HostConfig={"NetworkMode": mode}, NetworkingConfig=ends)
        newest.start("placed")
        assert [*newest.inspect_container("placed")["NetworkSettings"]["Networks"]] == ["second"]
        body = {"Image": "busybox", "NetworkingConfig": {"EndpointsConfig": {"second": None}}}
        words = "invalid config for network second: EndpointsConfig is nil"
        assert refusal(newest, "/containers/create", body) == (400, words)
    finally:
        newest.remove_container("placed", force=True)
        for one in ids:
            newest.remove_network(one)


@pytest.mark.parametrize("network", ["host", "none", "bridge"])
def test_networks_tell_who_joins_them(newest: docker_py.APIClient, network: str) -> None:
    since = time.time()
    made = create(newest, "joins", "true", HostConfig={"NetworkMode": network})
    newest.start("joins")
    newest.wait("joins")
    shown = [(one["Action"], one["Actor"]["Attributes"]["container"]) for one in told(newest, since, network=network)]
    assert shown == [("connect", made), ("disconnect", made)]


def test_events_of_exec_top_and_commit_are_dockers(newest: docker_py.APIClient) -> None:
    since = time.time()
    create(newest, "tells", "sleep", "999", Labels={"a": "b"})
    newest.start("tells")
    post(newest, "/containers/tells/exec", {"Cmd": ["true"]})
    newest.top("tells")
    image = newest.commit("tells", "made-of", "1", message="why")["Id"]
    newest.remove_image("made-of:1", force=True)
    of_container = {one["Action"]: one["Actor"]["Attributes"] for one in told(newest, since, container="tells")}
    assert {"exec_create: true ", "top"} <= of_container.keys()
    commit = of_container["commit"]
    assert (commit["imageID"], commit["imageRef"], commit["comment"]) == (image, "made-of:1", "why")
    of_image = {one["Action"]: one["Actor"]["Attributes"] for one in told(newest, since, type="image")}
    assert of_image["tag"] == {"name": "made-of:1", "a": "b"}
    assert of_image["create"]["a"] == "b"
