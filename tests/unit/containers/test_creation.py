"""What a request and an image make together, and what is refused."""

import pytest

from tiffin.containers import creation, logs, modes, validation
from tiffin.errors import Invalid
from tiffin.model.container import Config, Healthcheck
from tiffin.model.container_host import HostConfig, LogConfig, PortBinding, RestartPolicy

IMAGE = {
    "Env": ["PATH=/bin", "A=image"],
    "Cmd": ["serve"],
    "Entrypoint": ["/entry"],
    "User": "web",
    "WorkingDir": "/srv",
    "Labels": {"a": "1", "b": "2"},
    "ExposedPorts": {"80/tcp": {}},
    "Volumes": {"/data": {}},
    "StopSignal": "SIGQUIT",
    "Healthcheck": {"Test": ["CMD", "probe"], "Interval": 5_000_000_000, "Retries": 2},
}


def test_the_image_fills_what_the_request_leaves_out() -> None:
    merged = creation.merge(Config(env=("A=mine", "B=c"), labels={"b": "x"}, exposed_ports={"81/tcp": {}}), IMAGE)
    assert merged.env == ("A=mine", "B=c", "PATH=/bin")
    assert merged.labels == {"a": "1", "b": "x"}
    assert set(merged.exposed_ports or ()) == {"80/tcp", "81/tcp"}
    assert (merged.user, merged.working_dir, merged.stop_signal) == ("web", "/srv", "SIGQUIT")
    assert creation.command_of(merged) == ("/entry", ("serve",))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Config(cmd=("x",)), ("/entry", ("x",))),
        (Config(entrypoint=("sh",)), ("sh", ())),
        (Config(entrypoint=("sh",), cmd=("-c", "y")), ("sh", ("-c", "y"))),
        (Config(entrypoint=("",), cmd=("z",)), ("z", ())),
    ],
)
def test_entrypoint_and_command_combine_as_in_docker(config: Config, expected: tuple[str, tuple[str, ...]]) -> None:
    assert creation.command_of(creation.merge(config, IMAGE)) == expected


def test_a_container_needs_a_command() -> None:
    with pytest.raises(Invalid, match="no command specified"):
        creation.merge(Config(), {})


def test_a_health_check_is_merged_field_by_field() -> None:
    merged = creation.merge(Config(healthcheck=Healthcheck(interval=10**9)), IMAGE).healthcheck
    assert merged == Healthcheck(test=("CMD", "probe"), interval=10**9, retries=2)


def settle(host: HostConfig) -> HostConfig:
    return creation.settle(host, runtime="tiffin", log=LogConfig(), unified_cgroups=False)


def test_defaults_are_dockers() -> None:
    host = settle(HostConfig(memory=64 << 20, cap_add=("net_admin",), network_mode="default"))
    assert (host.network_mode, host.ipc_mode, host.cgroupns_mode) == ("bridge", "private", "host")
    assert host.memory_swap == 128 << 20
    assert host.cap_add == ("CAP_NET_ADMIN",)
    assert host.shm_size == 64 << 20
    assert host.masked_paths == creation.MASKED_PATHS


def test_a_privileged_container_has_nothing_masked() -> None:
    host = settle(HostConfig(privileged=True))
    assert host.masked_paths is None and host.readonly_paths is None and host.security_opt == ("label=disable",)


def check(config: Config | None = None, host: HostConfig | None = None) -> None:
    validation.check(config or Config(), host or HostConfig(), {})


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (HostConfig(memory=1 << 20), "Minimum memory limit allowed is 6MB"),
        (HostConfig(memory=10 << 20, memory_swap=9 << 20), "Minimum memoryswap limit should be larger"),
        (HostConfig(memory_swap=9 << 20), "You should always set the Memory limit when using Memoryswap"),
        (HostConfig(memory=10 << 20, memory_reservation=20 << 20), "can not be less than memory reservation"),
        (HostConfig(nano_cpus=10**15), "range of CPUs is from 0.01"),
        (HostConfig(nano_cpus=1, cpu_quota=1), "Nano CPUs and CPU Quota cannot both be set"),
        (HostConfig(cpu_period=5), "CPU cfs period can not be less than 1ms"),
        (HostConfig(cpuset_cpus="a"), "Invalid value a for cpuset cpus"),
        (HostConfig(cpuset_cpus="90000"), "Requested CPUs are not available"),
        (HostConfig(oom_score_adj=2000), "range for oom score adj"),
        (HostConfig(shm_size=-1), "SHM size can not be less than 0"),
        (HostConfig(blkio_weight=5), "Range of blkio weight is from 10 to 1000"),
        (HostConfig(auto_remove=True, restart_policy=RestartPolicy("always")), "can't create 'AutoRemove' container"),
        (HostConfig(cap_add=("FLY",)), "invalid CapAdd: unknown capability"),
        (HostConfig(security_opt=("bogus",)), "invalid --security-opt"),
        (HostConfig(pid_mode="x"), "invalid PID mode: x"),
        (HostConfig(ipc_mode="x"), "invalid IPC mode: x"),
        (HostConfig(uts_mode="x"), "invalid UTS mode: x"),
        (HostConfig(network_mode="container:"), "invalid container format"),
        (HostConfig(network_mode="container:x", dns=("1.1.1.1",)), "conflicting options: dns and the network mode"),
        (
            HostConfig(network_mode="container:x", port_bindings={"80/tcp": ()}),
            "port publishing and the container type",
        ),
        (HostConfig(port_bindings={"80/icmp": ()}), "invalid port specification"),
        (HostConfig(port_bindings={"80/tcp": (PortBinding("", "99999"),)}), "invalid port specification"),
        (HostConfig(extra_hosts=("nothing",)), "bad format for add-host"),
        (HostConfig(log_config=LogConfig("syslog2")), "error looking up logging plugin syslog2"),
        (HostConfig(sysctls={"kernel.core_pattern": "|/x"}), "is not allowed"),
        (HostConfig(sysctls={"net.ipv4.ip_forward": "1"}, network_mode="host"), "not allowed in host network"),
    ],
)
def test_a_host_configuration_that_makes_no_sense_is_refused(host: HostConfig, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        check(host=host)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (Config(working_dir="here"), "needs to be an absolute path"),
        (Config(env=("=x",)), "invalid environment variable: =x"),
        (Config(stop_signal="NOPE"), "invalid signal: NOPE"),
        (Config(hostname="x" * 64), "invalid hostname"),
        (Config(cmd=("a\0b",)), "NUL"),
        (Config(healthcheck=Healthcheck(interval=5)), "Interval in Healthcheck cannot be less than 1ms"),
    ],
)
def test_a_process_that_makes_no_sense_is_refused(config: Config, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        check(config)


def test_what_docker_accepts_is_accepted() -> None:
    check(
        Config(env=("A=b", "C"), hostname="web", stop_signal="SIGRTMIN+3"),
        HostConfig(
            memory=6 << 20,
            memory_swap=-1,
            cap_drop=("all",),
            security_opt=("no-new-privileges", "seccomp=unconfined", "label:disable", "apparmor=unconfined"),
            port_bindings={"7000-7001/udp": (PortBinding("127.0.0.1", ""),)},
            sysctls={"net.core.somaxconn": "1", "kernel.shmmax": "1", "fs.mqueue.msg_max": "1"},
        ),
    )


def test_modes_say_whose_network_it_is() -> None:
    assert modes.container_of("container:x") == "x" and modes.container_of("host") is None
    assert modes.has_own_network("none") and not modes.has_own_network("host")


@pytest.mark.parametrize(("text", "size"), [("10m", 10 << 20), ("1.5k", 1536), ("3", 3), ("-1", -1), ("2GB", 2 << 30)])
def test_log_sizes_have_units(text: str, size: int) -> None:
    assert logs.size(text) == size


@pytest.mark.parametrize(
    "config",
    [
        LogConfig("json-file", {"bogus": "1"}),
        LogConfig("json-file", {"max-size": "much"}),
        LogConfig("json-file", {"max-file": "0"}),
        LogConfig("json-file", {"compress": "perhaps"}),
        LogConfig("none", {"max-size": "1m"}),
        LogConfig("fluentd", {}),
    ],
)
def test_log_options_that_make_no_sense_are_refused(config: LogConfig) -> None:
    with pytest.raises(Invalid):
        logs.check_options(config)


def facts() -> logs.Facts:
    return logs.Facts(
        id="0123456789abcdef",
        name="web",
        image="busybox",
        image_id="sha256:" + "f" * 64,
        command="echo hi",
        labels={"a": "1", "x": "2"},
        env=("B=3", "CC=4", "D=5"),
    )


def test_log_attributes_come_from_labels_and_variables() -> None:
    config = LogConfig("json-file", {"labels": "a", "env": "B", "env-regex": "^C", "tag": "t"})
    assert logs.attributes(config, facts()) == {"a": "1", "B": "3", "CC": "4", "tag": "t"}


def test_a_tag_knows_the_container() -> None:
    assert logs.tag("{{.ImageName}}/{{ .Name }}/{{.ID}}", facts()) == "busybox/web/0123456789ab"
    with pytest.raises(Invalid, match="is not one of"):
        logs.tag("{{.Nonsense}}", facts())


def test_entries_in_the_journal_have_dockers_fields() -> None:
    fields = logs.journal_fields(LogConfig("journald", {"labels": "a", "tag": "{{.Name}}"}), facts())
    assert fields["CONTAINER_TAG"] == fields["SYSLOG_IDENTIFIER"] == fields["CONTAINER_NAME"] == "web"
    assert (fields["CONTAINER_ID"], fields["IMAGE_NAME"], fields["A"]) == ("0123456789ab", "busybox", "1")
