"""`tiffind`: reads its configuration, takes its directories, builds the services, serves until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from tiffin.daemon import options
from tiffin.daemon.config import Config
from tiffin.daemon.notify import notify
from tiffin.daemon.roots import PidFile, Roots
from tiffin.daemon.sockets import Listener, listeners
from tiffin.errors import TiffinError
from tiffin.linux import heap

log = logging.getLogger("tiffin.daemon")

_LEVELS = {"trace": "DEBUG", "debug": "DEBUG", "info": "INFO", "warn": "WARNING", "fatal": "CRITICAL"}


def main(arguments: list[str] | None = None) -> int:
    """The program. Returns its exit status: 0, or 1 with the reason on stderr."""
    try:
        config = options.read(sys.argv[1:] if arguments is None else arguments)
        if config.validate:
            print("configuration OK")
            return 0
        _log_to_stderr(config)
        _run(config)
    except TiffinError as error:
        print(f"failed to start daemon: {error}" if _configured() else str(error), file=sys.stderr)
    except OSError as error:
        if os.geteuid() == 0:
            log.critical("the daemon ends", exc_info=error)
        hint = "" if os.geteuid() == 0 else "; it has to be run by root"
        print(f"failed to start daemon: {error}{hint}", file=sys.stderr)
    return 1


def _configured() -> bool:
    return bool(logging.getLogger().handlers)


def _log_to_stderr(config: Config) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=_LEVELS.get(config.level, config.level.upper()),
        format="%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def _run(config: Config) -> NoReturn:
    for name in options.without_effect(config):
        log.warning("--%s has no effect in this version", name)
    os.umask(0o022)
    os.chdir("/")
    # stacks of all threads on stderr, for a daemon that seems to hang
    faulthandler.register(signal.SIGUSR1)
    _set_oom_score(config)
    heap.tune((heap.ARENAS, 1))  # threads mostly wait for the disk: a heap each would be memory for nothing
    with contextlib.ExitStack() as undo:
        roots = Roots(Path(config.data_root).resolve(), Path(config.exec_root).resolve())
        undo.callback(roots.close)
        if config.pidfile:
            undo.callback(PidFile(Path(config.pidfile)).close)
        bound = listeners(config)
        for listener in bound:
            undo.callback(listener.close)
        asyncio.run(_serve(config, roots, bound))
    # at once: Python would wait for threads that wait for a file system which does not answer
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def _set_oom_score(config: Config) -> None:
    if config.oom_score_adjust:
        try:
            Path("/proc/self/oom_score_adj").write_text(str(config.oom_score_adjust))
        except OSError as error:
            log.warning("cannot set oom_score_adj to %d: %s", config.oom_score_adjust, error.strerror)


async def _serve(config: Config, roots: Roots, bound: list[Listener]) -> None:
    gc.disable()  # until all is there: collecting while importing finds nothing
    # imported late, so that --help and --validate answer at once
    from tiffin.daemon import services
    from tiffin.engine.system import VERSION
    from tiffin.http.server import Server

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _asked_to_stop, stop, number)
    engine = await services.build(config, roots)
    server = Server(services.router(), engine.services, VERSION, experimental=config.experimental)
    loop.add_signal_handler(signal.SIGHUP, _reload, config, engine)
    # nothing made so far will ever be garbage
    gc.collect()
    heap.trim()
    gc.freeze()
    gc.enable()
    for listener in bound:
        await server.listen(listener.socket, listener.tls)
        log.info("API listen on %s", listener.address)
    notify("READY=1")
    await stop.wait()
    notify("STOPPING=1")
    await server.close()
    await engine.close()
    log.info("daemon shutdown complete")


def _asked_to_stop(stop: asyncio.Event, number: int) -> None:
    if stop.is_set():
        log.warning("asked to stop again; still stopping")
    log.info("processing signal '%s'", signal.strsignal(number))
    stop.set()


def _reload(config: Config, engine: object) -> None:
    """SIGHUP: the configuration file's changeable keys. A file with mistakes changes nothing."""
    from tiffin.daemon import services

    notify("RELOADING=1")
    try:
        renewed = options.reread(config)
        logging.getLogger().setLevel(_LEVELS.get(renewed.level, renewed.level.upper()))
        assert isinstance(engine, services.Engine)
        engine.reconfigure(renewed)
        log.info("reloaded %s", config.config_file)
    except TiffinError as error:
        log.error("the configuration was not reloaded: %s", error)
    finally:
        notify("READY=1")
