"""Details of answers, as dockerd 28 has them: what is null, left out, or not yet known, and how refusals read."""

from __future__ import annotations

from typing import Any

import docker as docker_py
import pytest
from docker.errors import APIError

from api.asking import create, post, refusal
from rig import eventually

pytestmark = pytest.mark.root


def test_what_a_request_leaves_out_is_null_in_inspect(newest: docker_py.APIClient) -> None:
    create(newest, "bare")
    found = newest.inspect_container("bare")
    names = ("PortBindings", "Dns", "DnsOptions", "DnsSearch", "Devices", "BlkioWeightDevice", "Binds", "ExtraHosts")
    assert {name: found["HostConfig"][name] for name in names} == dict.fromkeys(names)
    assert found["Config"]["Volumes"] is None
    create(newest, "empty", Volumes={}, HostConfig={"Dns": [], "PortBindings": {}})
    found = newest.inspect_container("empty")
    assert (found["HostConfig"]["Dns"], found["HostConfig"]["PortBindings"]) == ([], {})
    assert found["Config"]["Volumes"] is None


def test_a_container_that_never_ran_has_no_log_and_no_networks_id(newest: docker_py.APIClient) -> None:
    create(newest, "young", "true")
    found = newest.inspect_container("young")
    assert (found["LogPath"], found["NetworkSettings"]["Networks"]["bridge"]["NetworkID"]) == ("", "")
    (listed,) = newest.containers(all=True, filters={"name": "young"})
    assert listed["NetworkSettings"]["Networks"]["bridge"]["NetworkID"] == ""
    newest.start("young")
    newest.wait("young")
    found = newest.inspect_container("young")
    assert found["LogPath"].endswith("-json.log")
    assert found["NetworkSettings"]["Networks"]["bridge"]["NetworkID"] == newest.inspect_network("bridge")["Id"]


def test_a_size_of_nothing_is_left_out_of_the_list(newest: docker_py.APIClient) -> None:
    create(newest, "sized", "true")
    (listed,) = newest.containers(all=True, size=True, filters={"name": "sized"})
    assert listed.get("SizeRw", 1) > 0 and listed["SizeRootFs"] > 0


def test_a_container_on_anothers_network_has_that_ones_name_and_files(newest: docker_py.APIClient) -> None:
    create(newest, "donor", "sleep", "999")
    newest.start("donor")
    create(newest, "guest", "sleep", "999", HostConfig={"NetworkMode": "container:donor"})
    newest.start("guest")
    donor, guest = (newest.inspect_container(name) for name in ("donor", "guest"))
    assert guest["Config"]["Hostname"] == donor["Config"]["Hostname"] != ""
    for field in ("HostsPath", "HostnamePath", "ResolvConfPath"):
        assert guest[field] == donor[field] != ""


def test_execs_are_listed_until_they_end(newest: docker_py.APIClient) -> None:
    create(newest, "host", "sleep", "999")
    newest.start("host")
    made = post(newest, "/containers/host/exec", {"Cmd": ["true"], "AttachStdout": True})["Id"]
    assert newest.inspect_container("host")["ExecIDs"] == [made]
    assert "user" not in newest.exec_inspect(made)["ProcessConfig"]
    newest.exec_start(made)
    eventually(lambda: newest.inspect_container("host")["ExecIDs"] is None)


def test_wait_tells_of_a_start_that_failed_and_nothing_otherwise(newest: docker_py.APIClient) -> None:
    create(newest, "fine", "true")
    newest.start("fine")
    assert newest.wait("fine") == {"StatusCode": 0}
    create(newest, "wrong", "nosuch")
    assert refusal(newest, "/containers/wrong/start")[0] == 400
    ended = newest.wait("wrong")
    assert ended["StatusCode"] == 127
    assert ended["Error"]["Message"] == newest.inspect_container("wrong")["State"]["Error"] != ""


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        ("/nosuch", 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        ("/etc", 'exec: "/etc": is a directory: permission denied'),
    ],
)
def test_a_command_that_cannot_run_is_told_in_runcs_words(
    newest: docker_py.APIClient, command: str, words: str
) -> None:
    create(newest, "cannot", command)
    status, said = refusal(newest, "/containers/cannot/start")
    assert status == 400
    assert said == (
        "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create "
        f"failed: unable to start container process: error during container init: {words}"
    )


@pytest.mark.parametrize("bind", ["/etc/passwd:/bin", "/etc:/bin/busybox"])
def test_a_file_over_a_directory_is_a_mistake_that_is_named(newest: docker_py.APIClient, bind: str) -> None:
    create(newest, "mismatch", "true", HostConfig={"Binds": [bind]})
    status, said = refusal(newest, "/containers/mismatch/start")
    assert status == 400
    assert said.endswith(
        "not a directory: Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host"
        " path exists and is the expected type"
    )
    assert newest.inspect_container("mismatch")["State"]["ExitCode"] == 127


def test_refusals_name_the_container_as_the_client_did(newest: docker_py.APIClient) -> None:
    identity = create(newest, "stopped", "true")
    create(newest, "frozen", "sleep", "999")
    newest.start("frozen")
    newest.pause("frozen")
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
        found = refusal(newest, f"/containers/{path}", body)
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
    newest: docker_py.APIClient, host: dict[str, Any], words: str
) -> None:
    assert refusal(newest, "/containers/create", {"Image": "busybox", "HostConfig": host}) == (400, words)


def test_a_limit_of_kernel_memory_is_of_the_past(newest: docker_py.APIClient) -> None:
    create(newest, "past", HostConfig={"KernelMemory": 1})
    assert "KernelMemory" not in newest.inspect_container("past")["HostConfig"]


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
def test_filters_say_what_they_take(newest: docker_py.APIClient, filters: dict[str, list[str]], words: str) -> None:
    with pytest.raises(APIError) as refused:
        newest.containers(filters=filters)
    assert (refused.value.status_code, refused.value.explanation) == (400, words)


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
    newest: docker_py.APIClient, fields: dict[str, Any], words: str
) -> None:
    status, said = refusal(newest, "/containers/create", {"Image": "busybox", **fields})
    assert (status, said[: len(words)]) == (400, words)


def test_an_exec_of_a_user_that_nobody_knows_is_refused(newest: docker_py.APIClient) -> None:
    create(newest, "users", "sleep", "999")
    newest.start("users")
    found = refusal(newest, "/containers/users/exec", {"Cmd": ["true"], "User": "nobody-knows"})
    assert found == (400, "unable to find user nobody-knows: no matching entries in passwd file")


def test_sharing_needs_one_who_runs_and_shares(newest: docker_py.APIClient) -> None:
    create(newest, "still", "true")
    other = create(newest, "alone", "sleep", "999")
    newest.start("alone")
    create(newest, "one", HostConfig={"NetworkMode": "container:still"})
    words = "cannot join network namespace of a non running container: container still is created"
    assert refusal(newest, "/containers/one/start") == (409, words)
    create(newest, "two", HostConfig={"IpcMode": "container:alone"})
    words = f"failed to join IPC namespace: container {other}: non-shareable IPC (hint: use IpcMode:shareable for the"
    assert refusal(newest, "/containers/two/start")[1] == f"{words} donor container)"


def test_a_volume_with_options_is_not_counted_as_disk(newest: docker_py.APIClient) -> None:
    newest.create_volume("plain")
    newest.create_volume("elsewhere", driver_opts={"type": "tmpfs", "device": "tmpfs"})
    try:
        counted = {one["Name"] for one in newest.df()["Volumes"]}
        assert "plain" in counted and "elsewhere" not in counted
    finally:
        newest.remove_volume("plain")
        newest.remove_volume("elsewhere")


def test_filters_of_events_and_volumes(newest: docker_py.APIClient) -> None:
    assert list(newest.events(since=0, until=1, filters={"nosuch": "x"})) == []
    with pytest.raises(APIError, match=r"invalid filter 'dangling=\[junk\]'"):
        newest.volumes(filters={"dangling": ["junk"]})


def test_info_leaves_out_what_there_is_not(newest: docker_py.APIClient) -> None:
    found = newest.info()
    assert found["SystemTime"].endswith("Z")
    assert found["RegistryConfig"]["Mirrors"] is None
    assert "DiscoveredDevices" not in found and "Info" not in found["FirewallBackend"]
    assert found["Warnings"] != []


def test_lists_of_block_io_are_lists(newest: docker_py.APIClient) -> None:
    if newest.info()["CgroupVersion"] != "1":
        pytest.skip("null without a device that was used, where the control groups are version 2")
    create(newest, "counted", "sleep", "999")
    newest.start("counted")
    found = newest.stats("counted", stream=False)["blkio_stats"]
    assert all(isinstance(entries, list) for entries in found.values()), found
