"""The command line and daemon.json: what is read, what is refused."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tiffin.daemon import options
from tiffin.daemon.main import main
from tiffin.errors import Invalid


def write(directory: Path, **content: Any) -> str:
    path = directory / "daemon.json"
    path.write_text(json.dumps({key.replace("_", "-"): value for key, value in content.items()}))
    return str(path)


def test_flags_in_every_spelling_of_dockerd(tmp_path: Path) -> None:
    config = options.read(
        [
            *shlex.split(
                "-H unix:///a --host=tcp://127.0.0.1:0 -D --icc=false --add-runtime crun=/usr/bin/crun -p /x "
                "--log-opt max-size=1m --default-address-pool base=10.0.0.0/8,size=24 --config-file"
            ),
            write(tmp_path),
        ]
    )
    assert config.hosts == ("unix:///a", "tcp://127.0.0.1:0")
    assert config.debug
    assert not config.icc
    assert config.runtimes == {"crun": {"path": "/usr/bin/crun"}}
    assert config.log_opts == {"max-size": "1m"}
    assert config.address_pools == (("10.0.0.0/8", 24),)
    assert config.pidfile == "/x"


def test_the_file_gives_what_flags_do_not(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        debug=True,
        hosts=["unix:///b"],
        runtimes={"crun": {"path": "crun", "runtimeArgs": ["--debug"]}},
        proxies={"http-proxy": "http://p"},
        default_address_pools=[{"base": "10.0.0.0/8", "size": 24}],
    )
    config = options.read(["--config-file", path, "--mtu", "1400"])
    assert config.debug
    assert config.hosts == ("unix:///b",)
    assert config.http_proxy == "http://p"
    assert config.mtu == 1400
    assert config.runtimes["crun"]["runtimeArgs"] == ["--debug"]


def test_a_directive_in_both_places_is_refused_in_dockerds_words(tmp_path: Path) -> None:
    path = write(tmp_path, debug=False, labels=["a=b"])
    with pytest.raises(Invalid, match=r"specified both as a flag and in the configuration file: .*debug: \(from flag"):
        options.read(["--config-file", path, "--debug"])


def test_an_unknown_directive_is_refused_in_dockerds_words(tmp_path: Path) -> None:
    path = write(tmp_path, colour="red")
    with pytest.raises(Invalid, match="the following directives don't match any configuration option: colour"):
        options.read(["--config-file", path])


@pytest.mark.parametrize("text", ["{", "[]", '{"debug": "yes"}', '{"mtu": true}', '{"hosts": "unix:///x"}'])
def test_a_malformed_file_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "daemon.json"
    path.write_text(text)
    with pytest.raises(Invalid, match=str(path)):
        options.read(["--config-file", str(path)])


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no such file"):
        options.read(["--config-file", str(tmp_path / "none")])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense"],
        ["--log-level", "loud"],
        ["-H", "http://x"],
        ["-H", "nothing"],
        ["--debug=perhaps"],
        ["--userns-remap", "default"],
        ["--exec-opt", "native.cgroupdriver=systemd"],
        ["--default-address-pool", "base=10.0.0.0/8"],
        ["--storage-driver", "zfs"],
        ["--add-runtime", "crun"],
    ],
)
def test_what_can_not_work_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(Invalid):
        options.read([*arguments, "--config-file", write(tmp_path)])


def test_reread_takes_the_changeable_keys_only(tmp_path: Path) -> None:
    path = write(tmp_path)
    config = options.read(["--config-file", path])
    write(tmp_path, debug=True, labels=["x=y"], mtu=9000)
    renewed = options.reread(config)
    assert (renewed.debug, renewed.labels, renewed.mtu) == (True, ("x=y",), 1500)


def test_validate_says_ok_and_touches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    assert main(["--validate", "--data-root", str(root), "--config-file", write(tmp_path)]) == 0
    assert capsys.readouterr().out == "configuration OK\n"
    assert not root.exists()
    assert main(["--validate", "--config-file", write(tmp_path, colour="red")]) == 1
    assert "colour" in capsys.readouterr().err
