"""Details of answers, as dockerd 28 has them: what is null, left out, or not yet known, and how refusals read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import docker as docker_py
import pytest
from docker.errors import APIError

from rig import Cli, Engine, eventually
from rig.peers import needs_api

pytestmark = pytest.mark.root


@pytest.fixture
def client(engine: Engine, tidy: None) -> Iterator[docker_py.APIClient]:
    needs_api(engine, "1.51", "shapes of dockerd 28")
    made = docker_py.APIClient(base_url=engine.host, timeout=60, version="1.51")
    yield made
    made.close()


def post(client: docker_py.APIClient, path: str, body: Any = None) -> Any:
    """The answer's JSON. Raises APIError."""
    return client._result(client._post_json(client._url(path), body), json=True)


def create(client: docker_py.APIClient, name: str, *command: str, **fields: Any) -> str:
    made = post(client, f"/containers/create?name={name}", {"Image": "busybox", "Cmd": list(command) or None, **fields})
    return str(made["Id"])


def refusal(client: docker_py.APIClient, path: str, body: Any = None) -> tuple[int, str]:
    with pytest.raises(APIError) as refused:
        post(client, path, body)
    return refused.value.status_code, str(refused.value.explanation).strip()


def test_what_a_request_leaves_out_is_null_in_inspect(client: docker_py.APIClient) -> None:
    create(client, "bare")
    found = client.inspect_container("bare")
    names = ("PortBindings", "Dns", "DnsOptions", "DnsSearch", "Devices", "BlkioWeightDevice", "Binds", "ExtraHosts")
    assert {name: found["HostConfig"][name] for name in names} == dict.fromkeys(names)
    assert found["Config"]["Volumes"] is None
    create(client, "empty", Volumes={}, HostConfig={"Dns": [], "PortBindings": {}})
    found = client.inspect_container("empty")
    assert (found["HostConfig"]["Dns"], found["HostConfig"]["PortBindings"]) == ([], {})
    assert found["Config"]["Volumes"] is None


def test_a_container_that_never_ran_has_no_log_and_no_networks_id(client: docker_py.APIClient) -> None:
    create(client, "young", "true")
    found = client.inspect_container("young")
    assert (found["LogPath"], found["NetworkSettings"]["Networks"]["bridge"]["NetworkID"]) == ("", "")
    (listed,) = client.containers(all=True, filters={"name": "young"})
    assert listed["NetworkSettings"]["Networks"]["bridge"]["NetworkID"] == ""
    client.start("young")
    client.wait("young")
    found = client.inspect_container("young")
    assert found["LogPath"].endswith("-json.log")
    assert found["NetworkSettings"]["Networks"]["bridge"]["NetworkID"] == client.inspect_network("bridge")["Id"]


def test_the_list_says_less_of_networks_than_inspect(docker: Cli, client: docker_py.APIClient) -> None:
    network = client.create_network("shapes")["Id"]
    try:
        docker(
            "run", "-d", "--name", "named", "--network", "shapes", "--network-alias", "other", "busybox", "sleep", "99"
        )
        (listed,) = client.containers(filters={"name": "named"})
        of_list = listed["NetworkSettings"]["Networks"]["shapes"]
        of_inspect = client.inspect_container("named")["NetworkSettings"]["Networks"]["shapes"]
        hidden = ("Aliases", "DNSNames", "DriverOpts")
        assert {name: of_list[name] for name in hidden} == dict.fromkeys(hidden)
        assert of_inspect["Aliases"] == ["other"] and "other" in of_inspect["DNSNames"]
        shown = of_list.keys() - set(hidden)
        assert {name: of_list[name] for name in shown} == {name: of_inspect[name] for name in shown}
    finally:
        docker("rm", "-f", "named")
        client.remove_network(network)


def test_a_size_of_nothing_is_left_out_of_the_list(client: docker_py.APIClient) -> None:
    create(client, "sized", "true")
    (listed,) = client.containers(all=True, size=True, filters={"name": "sized"})
    assert listed.get("SizeRw", 1) > 0 and listed["SizeRootFs"] > 0


def test_a_container_on_anothers_network_has_that_ones_name_and_files(client: docker_py.APIClient) -> None:
    create(client, "donor", "sleep", "99")
    client.start("donor")
    create(client, "guest", "sleep", "99", HostConfig={"NetworkMode": "container:donor"})
    client.start("guest")
    donor, guest = (client.inspect_container(name) for name in ("donor", "guest"))
    assert guest["Config"]["Hostname"] == donor["Config"]["Hostname"] != ""
    for field in ("HostsPath", "HostnamePath", "ResolvConfPath"):
        assert guest[field] == donor[field] != ""


def test_execs_are_listed_until_they_end(client: docker_py.APIClient) -> None:
    create(client, "host", "sleep", "99")
    client.start("host")
    made = post(client, "/containers/host/exec", {"Cmd": ["true"], "AttachStdout": True})["Id"]
    assert client.inspect_container("host")["ExecIDs"] == [made]
    assert "user" not in client.exec_inspect(made)["ProcessConfig"]
    client.exec_start(made)
    eventually(lambda: client.inspect_container("host")["ExecIDs"] is None)


def test_wait_tells_of_a_start_that_failed_and_nothing_otherwise(client: docker_py.APIClient) -> None:
    create(client, "fine", "true")
    client.start("fine")
    assert client.wait("fine") == {"StatusCode": 0}
    create(client, "wrong", "nosuch")
    assert refusal(client, "/containers/wrong/start")[0] == 400
    ended = client.wait("wrong")
    assert ended["StatusCode"] == 127
    assert ended["Error"]["Message"] == client.inspect_container("wrong")["State"]["Error"] != ""


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        ("/nosuch", 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        ("/etc", 'exec: "/etc": is a directory: permission denied'),
    ],
)
def test_a_command_that_cannot_run_is_told_in_runcs_words(
    client: docker_py.APIClient, command: str, words: str
) -> None:
    create(client, "cannot", command)
    status, said = refusal(client, "/containers/cannot/start")
    assert status == 400
    assert said == (
        "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create "
        f"failed: unable to start container process: error during container init: {words}"
    )


def test_refusals_name_the_container_as_the_client_did(client: docker_py.APIClient) -> None:
    identity = create(client, "stopped", "true")
    create(client, "frozen", "sleep", "99")
    client.start("frozen")
    client.pause("frozen")
    not_running = f"container {identity} is not running"
    taken = f'The container name "/stopped" is already in use by container "{identity}"'
    for path, body, status, words in (
        ("stopped/kill", None, 409, f"cannot kill container: stopped: {not_running}"),
        ("stopped/kill?signal=FOO", None, 400, "cannot kill container: stopped: invalid signal: FOO"),
        ("stopped/pause", None, 409, not_running),
        ("frozen/exec", {"Cmd": ["true"]}, 409, "Container frozen is paused, unpause the container before exec"),
        ("frozen/rename?name=stopped", None, 409, f"Error when allocating new name: Conflict. {taken}"),
        ("frozen/resize?h=a&w=2", None, 400, 'invalid resize height "a": invalid syntax'),
    ):
        found = refusal(client, f"/containers/{path}", body)
        assert (found[0], found[1][: len(words)]) == (status, words)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ({"CapAdd": ["JUNK"]}, 'invalid CapAdd: unknown capability: "CAP_JUNK"'),
        ({"CapDrop": ["junk"]}, 'invalid CapDrop: unknown capability: "CAP_JUNK"'),
        ({"LogConfig": {"Type": "junk"}}, 'error looking up logging plugin junk: plugin "junk" not found'),
    ],
)
def test_a_create_that_names_what_is_not_there_is_refused(
    client: docker_py.APIClient, host: dict[str, Any], words: str
) -> None:
    assert refusal(client, "/containers/create", {"Image": "busybox", "HostConfig": host}) == (400, words)


def test_a_limit_of_kernel_memory_is_of_the_past(client: docker_py.APIClient) -> None:
    create(client, "past", HostConfig={"KernelMemory": 1})
    assert "KernelMemory" not in client.inspect_container("past")["HostConfig"]


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        (
            {"status": ["junk"]},
            "invalid filter 'status=junk': invalid value for state (junk): must be one of created, running, paused, "
            "restarting, removing, exited, dead",
        ),
        (
            {"health": ["junk"]},
            "invalid filter 'health=junk': invalid value for health (junk): must be one of none, starting, healthy, "
            "unhealthy",
        ),
        ({"is-task": ["junk"]}, "invalid filter 'is-task=[junk]'"),
    ],
)
def test_filters_say_what_they_take(client: docker_py.APIClient, filters: dict[str, list[str]], words: str) -> None:
    with pytest.raises(APIError) as refused:
        client.containers(filters=filters)
    assert (refused.value.status_code, refused.value.explanation) == (400, words)


def test_networks_show_what_was_asked_for(client: docker_py.APIClient) -> None:
    asked = {"Subnet": "10.223.0.0/24"}
    made = post(client, "/networks/create", {"Name": "asked", "IPAM": {"Config": [asked]}})["Id"]
    try:
        assert client.inspect_network("asked")["IPAM"] == {"Driver": "default", "Options": None, "Config": [asked]}
        create(client, "there", "sleep", "99", HostConfig={"NetworkMode": "asked"})
        client.start("there")
        place = client.inspect_container("there")["NetworkSettings"]["Networks"]["asked"]
        assert (place["Gateway"], place["IPAddress"]) == ("10.223.0.1", "10.223.0.2")
        with pytest.raises(APIError) as refused:
            client.remove_network("asked")
        words = f'network asked has active endpoints (name:"there" id:"{place["EndpointID"][:12]}")'
        assert refused.value.explanation == f"error while removing network: {words}"
    finally:
        client.remove_container("there", force=True)
        client.remove_network(made)
    for name in ("host", "none"):
        found = client.inspect_network(name)
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
    client: docker_py.APIClient, pool: dict[str, Any], words: str
) -> None:
    body = {"Name": "wrong", "IPAM": {"Config": [pool]}}
    assert refusal(client, "/networks/create", body) == (400, f"invalid network config:\n{words}")


def test_networks_of_the_host_are_not_joined(client: docker_py.APIClient) -> None:
    create(client, "joining", "sleep", "99")
    create(client, "hosts", "sleep", "99", HostConfig={"NetworkMode": "host"})
    made = client.create_network("other")["Id"]
    sharing = "container sharing network namespace with another container or host"
    try:
        for network, name, words in (
            ("host", "joining", "cannot connect container to host network - container must be created in host network"),
            ("other", "hosts", f"{sharing} cannot be connected to any other network"),
        ):
            status, said = refusal(client, f"/networks/{network}/connect", {"Container": name})
            assert status == 400 and said.startswith(words), said
    finally:
        client.remove_network(made)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"HostConfig": {"PidMode": "container:nosuch"}}, "No such container: nosuch"),
        ({"HostConfig": {"IpcMode": "container:nosuch"}}, "No such container: nosuch"),
        ({"HostConfig": {"VolumesFrom": ["nosuch"]}}, "No such container: nosuch"),
        ({"MacAddress": "junk"}, "invalid config for network bridge: invalid MAC address junk"),
        (
            {"NetworkingConfig": {"EndpointsConfig": {"bridge": {"IPAMConfig": {"IPv4Address": "172.17.0.9"}}}}},
            "invalid config for network bridge: invalid endpoint settings:\n"
            "* user specified IP address is supported on user defined networks only\n"
            "* user specified IP address is supported only when connecting to networks with user configured subnets",
        ),
        (
            {"NetworkingConfig": {"EndpointsConfig": {"bridge": {"Aliases": ["other"]}}}},
            "invalid config for network bridge: invalid endpoint settings:\n"
            "network-scoped alias is supported only for containers in user defined networks",
        ),
    ],
)
def test_a_create_is_refused_for_what_its_start_would_lack(
    client: docker_py.APIClient, fields: dict[str, Any], words: str
) -> None:
    status, said = refusal(client, "/containers/create", {"Image": "busybox", **fields})
    assert (status, said[: len(words)]) == (400, words)


def test_an_exec_of_a_user_that_nobody_knows_is_refused(client: docker_py.APIClient) -> None:
    create(client, "users", "sleep", "99")
    client.start("users")
    found = refusal(client, "/containers/users/exec", {"Cmd": ["true"], "User": "nobody-knows"})
    assert found == (400, "unable to find user nobody-knows: no matching entries in passwd file")


def test_sharing_needs_one_who_runs_and_shares(client: docker_py.APIClient) -> None:
    create(client, "still", "true")
    other = create(client, "alone", "sleep", "99")
    client.start("alone")
    create(client, "one", HostConfig={"NetworkMode": "container:still"})
    words = "cannot join network namespace of a non running container: container still is created"
    assert refusal(client, "/containers/one/start") == (409, words)
    create(client, "two", HostConfig={"IpcMode": "container:alone"})
    words = f"failed to join IPC namespace: container {other}: non-shareable IPC (hint: use IpcMode:shareable for the"
    assert refusal(client, "/containers/two/start")[1] == f"{words} donor container)"


def test_a_volume_with_options_is_not_counted_as_disk(client: docker_py.APIClient) -> None:
    client.create_volume("plain")
    client.create_volume("elsewhere", driver_opts={"type": "tmpfs", "device": "tmpfs"})
    try:
        counted = {one["Name"] for one in client.df()["Volumes"]}
        assert "plain" in counted and "elsewhere" not in counted
    finally:
        client.remove_volume("plain")
        client.remove_volume("elsewhere")


def test_filters_of_events_and_volumes(client: docker_py.APIClient) -> None:
    assert list(client.events(since=0, until=1, filters={"nosuch": "x"})) == []
    with pytest.raises(APIError, match=r"invalid filter 'dangling=\[junk\]'"):
        client.volumes(filters={"dangling": ["junk"]})


def told(client: docker_py.APIClient, since: float, **filters: str) -> list[dict[str, Any]]:
    return list(client.events(since=since, until=time.time() + 1, decode=True, filters=filters))


def test_volumes_tell_who_mounts_them(client: docker_py.APIClient) -> None:
    since = time.time()
    made = create(client, "mounts", "true", HostConfig={"Binds": ["told:/data:ro"]})
    client.start("mounts")
    client.wait("mounts")
    client.remove_container("mounts")
    client.remove_volume("told")
    shown = [(one["Action"], one["Actor"]["Attributes"]) for one in told(client, since, volume="told")]
    place = {"container": made, "destination": "/data", "propagation": "", "read/write": "false"}
    local = {"driver": "local"}
    assert shown == [
        ("create", local),
        ("mount", place | local),
        ("unmount", {"container": made} | local),
        ("destroy", local),
    ]


@pytest.mark.parametrize("network", ["host", "none", "bridge"])
def test_networks_tell_who_joins_them(client: docker_py.APIClient, network: str) -> None:
    since = time.time()
    made = create(client, "joins", "true", HostConfig={"NetworkMode": network})
    client.start("joins")
    client.wait("joins")
    shown = [(one["Action"], one["Actor"]["Attributes"]["container"]) for one in told(client, since, network=network)]
    assert shown == [("connect", made), ("disconnect", made)]


def test_events_of_exec_top_and_commit_are_dockers(client: docker_py.APIClient) -> None:
    since = time.time()
    create(client, "tells", "sleep", "99", Labels={"a": "b"})
    client.start("tells")
    post(client, "/containers/tells/exec", {"Cmd": ["true"]})
    client.top("tells")
    image = client.commit("tells", "told-of", "1", message="why")["Id"]
    client.remove_image("told-of:1", force=True)
    of_container = {one["Action"]: one["Actor"]["Attributes"] for one in told(client, since, container="tells")}
    assert {"exec_create: true ", "top"} <= of_container.keys()
    commit = of_container["commit"]
    assert (commit["imageID"], commit["imageRef"], commit["comment"]) == (image, "told-of:1", "why")
    of_image = {one["Action"]: one["Actor"]["Attributes"] for one in told(client, since, type="image")}
    assert of_image["tag"] == {"name": "told-of:1", "a": "b"}
    assert of_image["create"]["a"] == "b"


def test_info_leaves_out_what_there_is_not(client: docker_py.APIClient) -> None:
    found = client.info()
    assert found["SystemTime"].endswith("Z")
    assert found["RegistryConfig"]["Mirrors"] is None
    assert "DiscoveredDevices" not in found and "Info" not in found["FirewallBackend"]
    assert found["Warnings"] != []


def test_lists_of_block_io_are_lists(client: docker_py.APIClient, engine: Engine) -> None:
    if client.info()["CgroupVersion"] != "1":
        pytest.skip("null without a device that was used, where the control groups are version 2")
    create(client, "counted", "sleep", "99")
    client.start("counted")
    found = client.stats("counted", stream=False)["blkio_stats"]
    assert all(isinstance(entries, list) for entries in found.values()), found
