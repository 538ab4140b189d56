"""Settings reach the process through its environment and stay out of the image."""

from __future__ import annotations

import json
from pathlib import Path

from acceptance.conftest import Configured
from rig import Cli

URL = "postgresql://app:secret@db:5432/app?sslmode=disable"


def test_env_and_env_file_are_seen_by_the_process_and_override_the_image(
    cli: Cli, configured: Configured, tmp_path: Path
) -> None:
    image = configured(Env=["PATH=/bin", "DATABASE_URL=from-image", "KEPT=yes"])
    settings = tmp_path / "settings.env"
    settings.write_text("# a comment\nFROM_FILE=a b = c\n\nDATABASE_URL=from-file\nFROM_CLIENT\nNOT_SET_ANYWHERE\n")
    words = ["run", "--rm", "--env", f"DATABASE_URL={URL}", "--env-file", str(settings), image, "env"]
    seen = dict(line.split("=", 1) for line in cli(*words, env={"FROM_CLIENT": "handed on"}).out.splitlines())
    assert seen["DATABASE_URL"] == URL
    assert seen["FROM_FILE"] == "a b = c"
    assert seen["FROM_CLIENT"] == "handed on"
    assert seen["KEPT"] == "yes"
    assert "NOT_SET_ANYWHERE" not in seen
    (document,) = json.loads(cli("image", "inspect", image).out)
    assert document["Config"]["Env"] == ["PATH=/bin", "DATABASE_URL=from-image", "KEPT=yes"]


def test_the_environment_has_path_hostname_home_and_with_a_terminal_term(cli: Cli) -> None:
    plain = dict(line.split("=", 1) for line in cli("run", "--rm", "-h", "box", "busybox", "env").out.splitlines())
    assert plain == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME": "box",
        "HOME": "/root",
    }
    with cli.terminal("run", "--rm", "-t", "busybox", "env") as terminal:
        assert terminal.wait() == 0
        assert "TERM=xterm\r" in terminal.seen
