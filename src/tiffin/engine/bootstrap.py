"""`image bootstrap`: an image composed from an archive's signed packages.

    archive ──▶ packages ──▶ first stage (unpacked, nothing has run) ──▶ a container in which dpkg installs them
            ──▶ its root file system, tidied ──▶ the image

The archive and both ends are `images.bootstrap`, in threads; the container is one like any other, on no network
unless the request names one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tiffin.engine.builds_foreign import REGISTERED, interpreted
from tiffin.engine.container_logs import Asked
from tiffin.engine.containers import Containers
from tiffin.engine.transfers import Transfers
from tiffin.errors import Forbidden, Internal, NotFound, TiffinError, Unsupported
from tiffin.images import host
from tiffin.images.bootstrap import closure, product, recipes, signatures, stages, suites, tidy
from tiffin.images.bootstrap.archive import Archive
from tiffin.images.bootstrap.downloads import Downloads
from tiffin.images.bootstrap.product import Product, Write
from tiffin.images.bootstrap.recipes import Chosen, Request
from tiffin.images.bootstrap.rootfs import Rootfs
from tiffin.images.events import Message, Progress, Report
from tiffin.images.service import Images
from tiffin.model.container import Config
from tiffin.model.container_host import HostConfig, LogConfig, MountRequest
from tiffin.model.image import Image
from tiffin.model.platform import Platform, host_platform
from tiffin.model.reference import Reference, parse_reference
from tiffin.registry.cancellation import Cancellation

LABEL = "io.tiffin.bootstrap"
"""On the containers of second stages, and on their images: what a killed daemon has left is known by it."""
_BY_ITSELF = {("amd64", "386")}
_UNDER_WAY = 3600.0  # seconds since a file was used
_TOLD = 30  # lines of the second stage's output that a failure shows
_SETTING_UP = "Setting up "
_ENVIRONMENT = (recipes.PATH, "HOME=/root", "LC_ALL=C.UTF-8", "TZ=UTC", "DEBIAN_FRONTEND=noninteractive",
                "DEBCONF_NONINTERACTIVE_SEEN=true")  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Prepared:
    """The first stage, stored. seconds: the moment the image will be of. debs: the directory the container sees."""

    image: Image
    chosen: Chosen
    seconds: int
    debs: Path


class Bootstraps:
    """Every bootstrap of the engine. root: a directory for downloads; kept between runs."""

    def __init__(self, root: Path, images: Images, containers: Containers, transfers: Transfers) -> None:
        self._root = root
        self._images = images
        self._containers = containers
        self._transfers = transfers
        self._downloads = Downloads(root / "files", transfers.registries.transport)

    async def reconcile(self) -> None:
        """At the daemon's start: remove what bootstraps have left that ended with an earlier daemon."""
        for container in tuple(self._containers.context.records):
            if LABEL in (container.config.labels or {}):
                with contextlib.suppress(TiffinError):
                    await self._containers.removal.remove(container.id, force=True, volumes=True)
        await asyncio.to_thread(self._forget_stages)

    def _forget_stages(self) -> None:
        for image in self._images.catalog.images():
            if LABEL in image.config.labels:
                with contextlib.suppress(TiffinError):
                    self._images.remove(image.id, force=True)
        for left in self._root.glob("debs-*"):
            shutil.rmtree(left, ignore_errors=True)

    def forget(self) -> int:
        """Remove the downloads that no bootstrap under way may need; the bytes freed. Blocks."""
        return self._downloads.expire(_UNDER_WAY)

    async def run(self, request: Request) -> AsyncGenerator[Message | Progress, None]:
        """Compose an image; ends with its ID. Given up when nobody iterates any more, and then nothing is left.

        Raises Invalid, NotFound, Conflict (packages that exclude each other), Forbidden (signatures, checksums, a
        reserved name), Unavailable (the archive), Internal (a package's script failed).
        """
        name = _name(request)
        prepared: list[_Prepared] = []
        loop, settled, begun = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

        def prepare(report: Report, cancellation: Cancellation) -> None:
            begun.set()
            try:
                prepared.append(self._prepare(request, report, cancellation))
            finally:
                with contextlib.suppress(RuntimeError):  # the loop has gone
                    loop.call_soon_threadsafe(settled.set)

        try:
            async with contextlib.aclosing(self._transfers.following(prepare)) as messages:
                async for message in messages:
                    yield message
            stage = prepared[0]
            container = await self._create(stage, request)
            try:
                async with contextlib.aclosing(self._configured(container, stage)) as messages:
                    async for message in messages:
                        yield message
                made = await asyncio.to_thread(self._stored, container, stage, request, name)
            finally:
                with contextlib.suppress(NotFound):  # somebody has removed it already
                    await asyncio.shield(self._containers.removal.remove(container, force=True, volumes=True))
        finally:
            if begun.is_set():
                await asyncio.shield(self._dropped(settled, prepared))
        yield Message(made.id, status=True)

    async def _dropped(self, settled: asyncio.Event, prepared: list[_Prepared]) -> None:
        """Wait for the thread that prepares, which may have been told to give up, then remove what it made."""
        await settled.wait()
        for stage in prepared:
            await asyncio.to_thread(self._drop, stage)

    def _prepare(self, request: Request, report: Report, cancellation: Cancellation) -> _Prepared:
        """From the request to a first stage. Blocks."""
        architecture = suites.debian_architecture(request.platform or host_platform())
        require(request.platform or host_platform())
        where = recipes.distribution(request, architecture)
        keyring = (
            signatures.Keyring("the given keyring", request.keyring)
            if request.keyring
            else signatures.shipped(where.keyring)
        )
        archive = Archive(self._downloads, keyring, report, cancellation)
        opened = archive.open(where.sources, now=time.time(), allow_expired=request.allow_expired)
        index = archive.index(opened, architecture, closure.pins(request.include))
        chosen = recipes.chosen(request, where, [one.source for one in opened], index, architecture)
        paths = dict(zip((one.name for one in chosen.packages), archive.packages(chosen.packages), strict=True))
        seconds = max(one.release.date for one in opened)
        report(Message(f"Unpacking {len(chosen.essential)} packages", status=True, id="first stage"))
        run = {"Labels": {LABEL: request.base}}
        with contextlib.ExitStack() as undo:
            debs = Path(tempfile.mkdtemp(prefix="debs-", dir=self._root))
            undo.callback(shutil.rmtree, debs, ignore_errors=True)
            _offer(debs, chosen, paths)
            image = product.stored(
                self._images,
                lambda write: recipes.first_stage(Rootfs(write, seconds), chosen, paths, cancellation.check),
                Product(run, seconds, "first stage", platform=request.platform),
            )
            undo.pop_all()
        self._downloads.expire()
        return _Prepared(image, chosen, seconds, debs)

    async def _create(self, stage: _Prepared, request: Request) -> str:
        config = Config(
            image=stage.image.id,
            entrypoint=stage.chosen.command[:1],
            cmd=stage.chosen.command[1:],
            env=(*_ENVIRONMENT, f"SOURCE_DATE_EPOCH={stage.seconds}"),
            labels={LABEL: request.base},
            hostname="localhost",
            working_dir="/",
        )
        debs = MountRequest("bind", str(stage.debs), stages.HERE, read_only=True)
        settings = HostConfig(
            network_mode=request.network or "none",
            mounts=(debs,) if stage.chosen.script else None,
            log_config=LogConfig("json-file"),  # whatever the daemon's default is: it is read here
        )
        return (await self._containers.creation.create("", config, settings)).id

    async def _configured(self, container: str, stage: _Prepared) -> AsyncGenerator[Progress | Message, None]:
        """Run the second stage, told package by package. Raises Internal with what it said last when it fails."""
        ended = self._containers.wait(container, "next-exit")
        await self._containers.lifecycle.start(container)
        sizes = {one.name: one.file.size for one in stage.chosen.packages}
        total, done = sum(sizes.values()), 0
        last: deque[str] = deque(maxlen=_TOLD)
        record = self._containers.get(container)
        log = self._containers.logs.read(record, Asked(stdout=True, stderr=True, follow=True), framed=False)
        async for line in _lines(log):
            last.append(line)
            if line.startswith(_SETTING_UP):
                # `Setting up libc6:amd64 (2.41-12) ...`
                done += sizes.pop(line.removeprefix(_SETTING_UP).split(" ")[0].partition(":")[0], 0)
                yield Progress("second stage", "Installing", done, total)
        outcome = await ended
        if outcome.exit_code != 0:
            said = "\n".join(last)
            raise Internal(f"the second stage failed with status {outcome.exit_code}:\n{said}")
        yield Message(f"{len(stage.chosen.packages)} packages installed", status=True, id="second stage")

    def _stored(self, container: str, stage: _Prepared, request: Request, name: Reference) -> Image:
        """The container's root file system as the image. Blocks."""
        variant = f" --variant {request.variant}" if request.variant else ""
        include = f" --include {','.join(request.include)}" if request.include else ""
        made_by = f"tiffin image bootstrap {request.base}{variant}{include}"

        def fill(write: Write) -> None:
            with contextlib.closing(self._containers.exports.export(container)) as exported:
                for piece in tidy.tidied(exported, stage.seconds):
                    write(piece)

        made = Product(stage.chosen.run, stage.seconds, made_by, name, request.platform)
        return product.stored(self._images, fill, made)

    def _drop(self, stage: _Prepared) -> None:
        shutil.rmtree(stage.debs, ignore_errors=True)
        with contextlib.suppress(NotFound):
            self._images.remove(stage.image.id, force=True)


def require(platform: Platform, registered: Path = REGISTERED) -> None:
    """Raises Unsupported where packages' scripts for a platform can't run here, in a container."""
    here, wanted = host_platform().architecture, platform.architecture
    if wanted == here or (here, wanted) in _BY_ITSELF:
        return
    found = interpreted(registered).get(wanted)
    if not found:
        lacks = "knows no emulator for it" if found is None else "has one without flag F, which containers don't find"
        raise Unsupported(
            f"packages for {platform} have scripts that this machine ({here}) can't run: binfmt_misc {lacks}; "
            "install qemu-user-static, which registers emulators with flag F"
        )


def _name(request: Request) -> Reference:
    name = parse_reference(request.name or request.base).with_default_tag()
    if name.digest or name == host.NAME:
        raise Forbidden(f"{name.familiar} can't be given to an image: choose another with --tag")
    return name


def _offer(directory: Path, chosen: Chosen, paths: dict[str, Path]) -> None:
    """The .debs and the script, by links to the downloads: for the container to read."""
    for package in chosen.packages:
        os.link(paths[package.name], directory / stages.file_name(package))
    (directory / "install").write_text(chosen.script)


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[str]:
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")
