"""`tiffin create`, and what `tiffin run` shares with it: flags to the API's body, pulling a missing image."""

from __future__ import annotations

import os

from tiffin.cli import flags, flags_network, flags_process, flags_resources, flags_security, flags_storage, references
from tiffin.cli.command import Call, Command, Failed
from tiffin.cli.flags import Flag, Values
from tiffin.cli.kinds import BOOL
from tiffin.errors import Invalid, NotFound, TiffinError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def pull_flags(when: str) -> tuple[Flag, ...]:
    return (
        Flag("disable-content-trust", BOOL, "Skip image verification", default=True),
        flags.text("platform", "Set platform if the daemon can run several"),
        flags.text("pull", f'Pull the image before {when} ("always", "missing", "never")', default="missing"),
        flags.switch("quiet", "Suppress the pull output", "q"),
        flags.switch("use-api-socket", "Bind mount the API's socket"),
    )


CONTAINER_FLAGS = (
    *flags_process.FLAGS,
    *flags_resources.FLAGS,
    *flags_security.FLAGS,
    *flags_storage.FLAGS,
    *flags_network.FLAGS,
)


def _proxies(call: Call) -> list[str]:
    """Proxy variables that config.json wants in every container."""
    configured = call.session.settings.values.get("proxies")
    if not isinstance(configured, dict):
        return []
    chosen = configured.get(call.engine.endpoint.host) or configured.get("default") or {}
    given = {item.partition("=")[0] for item in call.values.list("env")}
    variables = []
    names = {"httpProxy": "HTTP_PROXY", "httpsProxy": "HTTPS_PROXY", "ftpProxy": "FTP_PROXY", "noProxy": "NO_PROXY"}
    for key, name in (names | {"allProxy": "ALL_PROXY"}).items():
        for variable in (name, name.lower()):
            if chosen.get(key) and variable not in given:
                variables.append(f"{variable}={chosen[key]}")
    return variables


def body(values: Values, image: str, command: list[str]) -> dict[str, Any]:
    """The body of POST /containers/create. Raises Invalid when flags contradict each other or can't be understood."""
    config: dict[str, Any] = {}
    host: dict[str, Any] = {}
    networking = flags_network.fill(values, config, host)
    flags_process.fill(values, image, command, config, host)
    flags_storage.fill(values, config, host)
    flags_resources.fill(values, host)
    flags_security.fill(values, host)
    return {**config, "HostConfig": host, "NetworkingConfig": networking}


def _check_pull(values: Values) -> None:
    policy = values.text("pull")
    if policy not in ("always", "missing", "never", ""):
        choices = 'must be one of "always", "missing" or "never"'
        raise Invalid(f"invalid pull option: '{policy}': {choices}")


def configure(call: Call) -> dict[str, Any]:
    """The create body of this command line. A mistake ends with status 125 and a pointer to the help."""
    try:
        _check_pull(call.values)
        made = body(call.values, call.operands[0], call.operands[1:])
        made["Env"] = _proxies(call) + made["Env"]
    except Invalid as error:
        raise with_help(call, error, 125) from error
    return made


def with_help(call: Call, error: Exception, code: int) -> Failed:
    """The failure as run and create report it."""
    verb = call.command.path.split(" ")[-1]
    return Failed(f"tiffin: {error}\n\nRun 'tiffin {verb} --help' for more information", code)


class CidFile:
    """`--cidfile`: made first, removed again unless an ID was written."""

    def __init__(self, path: str) -> None:
        self.path, self._written = path, False
        if not path:
            return
        if os.path.exists(path):
            raise Invalid(f"container ID file found, make sure the other container isn't running or delete {path}")
        try:
            self._file = open(path, "x", encoding="ascii")
        except OSError as error:
            reason = f"open {path}: {os.strerror(error.errno or 0).lower()}"
            raise Invalid(f"failed to create the container ID file: {reason}") from error

    def write(self, container: str) -> None:
        if self.path:
            self._file.write(container)
            self._written = True

    def close(self) -> None:
        if self.path:
            self._file.close()
            if not self._written:
                os.unlink(self.path)


def create(call: Call, made: dict[str, Any]) -> str:
    """Create the container, pulling its image if need be; its ID. Raises TiffinError."""
    values = call.values
    cid = CidFile(values.text("cidfile"))
    try:
        references.check(made["Image"])
        _check_platform(values.text("platform"))
        if values.on("use-api-socket"):
            _mount_api_socket(call, made)
        if values.text("pull") == "always":
            _pull(call, made["Image"])
        answer = _post(call, made)
        for warning in answer.get("Warnings") or []:
            call.warn(f"WARNING: {warning}")
        for server in made["HostConfig"]["Dns"]:
            if server.startswith("127.") or server == "::1":
                call.warn(f"WARNING: Localhost DNS ({server}) may fail in containers.")
        cid.write(answer["Id"])
        container: str = answer["Id"]
        return container
    finally:
        cid.close()


def _check_platform(text: str) -> None:
    if not text:
        return
    from tiffin.model.platform import parse_platform

    try:
        parse_platform(text)
    except Invalid as error:
        raise Invalid(f"error parsing specified platform: {error}") from error


def _mount_api_socket(call: Call, made: dict[str, Any]) -> None:
    endpoint = call.engine.endpoint
    if endpoint.scheme != "unix":
        raise Invalid(
            f"flag --use-api-socket can only be used with unix sockets: docker endpoint {endpoint.host} incompatible"
        )
    mount = {"Type": "bind", "Source": endpoint.address, "Target": "/var/run/docker.sock"}
    made["HostConfig"]["Mounts"] = [*(made["HostConfig"]["Mounts"] or []), mount]


def _post(call: Call, made: dict[str, Any]) -> dict[str, Any]:
    from tiffin.cli import terminal

    values = call.values
    if values.on("tty"):
        made["HostConfig"]["ConsoleSize"] = list(terminal.size())
    query = {"name": values.text("name") or None, "platform": values.text("platform") or None}
    try:
        answer: dict[str, Any] = call.engine.call("POST", "/containers/create", query, made)
    except NotFound as error:
        # other things than the image may be missing too; only that one can be fetched
        about_image = "No such image" in str(error) or "the specified platform" in str(error)
        if values.text("pull") != "missing" or not about_image:
            raise
        if not values.on("quiet"):
            call.warn(f"Unable to find image '{references.familiar(made['Image'])}' locally")
        _pull(call, made["Image"])
        answer = call.engine.call("POST", "/containers/create", query, made)
    return answer


def _pull(call: Call, image: str) -> None:
    from tiffin.cli import progress, transfer

    documents = transfer.pull_stream(call, image, call.values.text("platform"))
    progress.show(call.session, documents, quiet=call.values.on("quiet"), to_stderr=True)


def run_create(call: Call) -> int:
    made = configure(call)
    try:
        call.say(create(call, made))
    except TiffinError as error:
        raise Failed(str(error)) from error
    return 0


COMMANDS = {
    "container create": Command(
        "container create",
        run_create,
        "IMAGE [COMMAND] [ARG...]",
        (*CONTAINER_FLAGS, *pull_flags("creating")),
        least=1,
        most=None,
        interspersed=False,
    )
}
