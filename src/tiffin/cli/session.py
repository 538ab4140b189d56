"""What a command talks through: the daemon that options, environment and contexts choose, and the standard streams."""

from __future__ import annotations

import os
import sys

from tiffin.cli.command import Failed
from tiffin.errors import Invalid, TiffinError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.flags import Values
    from tiffin.client.contexts import Contexts
    from tiffin.client.endpoint import Endpoint, Tls
    from tiffin.client.engine import Engine
    from tiffin.client.settings import Settings


class Session:
    """Built from the global flags; opens nothing until it is asked."""

    def __init__(self, options: Values) -> None:
        self.options = options
        self._engine: Engine | None = None
        self._settings: Settings | None = None

    # -- streams

    def out(self, text: str) -> None:
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
        if sys.stdout.isatty():
            sys.stdout.buffer.flush()

    def err(self, text: str) -> None:
        sys.stdout.buffer.flush()
        sys.stderr.buffer.write(text.encode("utf-8", "surrogateescape"))
        sys.stderr.buffer.flush()

    def flush(self) -> None:
        sys.stdout.buffer.flush()

    # -- configuration

    @property
    def folder(self) -> str:
        from tiffin.client import settings

        return settings.directory(self.options.text("config"))

    @property
    def settings(self) -> Settings:
        if self._settings is None:
            from tiffin.client.settings import Settings

            self._settings = Settings(self.folder)
        return self._settings

    @property
    def contexts(self) -> Contexts:
        from tiffin.client.contexts import Contexts

        return Contexts(self.folder)

    @property
    def hosts(self) -> list[str]:
        return self.options.list("host")

    def context_name(self) -> str:
        """Which context is in force: option, a host from option or environment, the environment, the file."""
        chosen = self.options.text("context")
        if chosen:
            if self.hosts:
                raise Failed("conflicting options: cannot specify both --host and --context")
            return chosen
        if self.hosts or os.environ.get("TIFFIN_HOST") or os.environ.get("DOCKER_HOST"):
            return "default"
        return os.environ.get("DOCKER_CONTEXT") or self.settings.text("currentContext") or "default"

    # -- the daemon

    def _tls(self, from_environment: Tls | None) -> Tls | None:
        options = self.options
        verify = options.on("tlsverify")
        if not (options.on("tls") or verify or any(options.text(name) for name in ("tlscacert", "tlscert", "tlskey"))):
            return from_environment
        from tiffin.client.endpoint import Tls

        folder = os.environ.get("DOCKER_CERT_PATH") or self.folder
        paths = []
        for option, name in (("tlscacert", "ca.pem"), ("tlscert", "cert.pem"), ("tlskey", "key.pem")):
            default = os.path.join(folder, name)
            paths.append(options.text(option) or (default if os.path.exists(default) else ""))
        return Tls(paths[0], paths[1], paths[2], verify)

    def chosen_endpoint(self) -> Endpoint | None:
        """The daemon the user named, None for their own."""
        from tiffin.client.endpoint import Endpoint, from_environment

        if len(self.hosts) > 1:
            raise Failed("Specify only one -H")
        name = self.context_name()
        if name != "default":
            try:
                host, tls = self.contexts.endpoint(name)
                return Endpoint(host, tls) if host else None
            except TiffinError as error:
                raise Failed(f"Failed to initialize: unable to resolve docker endpoint: {error}") from error
        host, tls = from_environment()
        host = self.hosts[0] if self.hosts else host
        if not host:
            return None
        if "://" not in host:
            host = f"unix://{host}" if host.startswith("/") else f"tcp://{host}"
        try:
            return Endpoint(host, self._tls(tls))
        except Invalid as error:
            text = f"Failed to initialize: unable to resolve docker endpoint: {error}"
            raise Failed(text) from error

    @property
    def engine(self) -> Engine:
        """The daemon; the user's own is started when nobody was named and none runs."""
        if self._engine is None:
            from tiffin.client.engine import Engine

            endpoint = self.chosen_endpoint()
            if endpoint is None:
                from tiffin.client.launch import ensure_daemon

                endpoint = ensure_daemon()
            self._engine = Engine(endpoint)
            headers = self.settings.values.get("HttpHeaders")
            if isinstance(headers, dict):
                self._engine.extra_headers = {str(key): str(value) for key, value in headers.items()}
        return self._engine
