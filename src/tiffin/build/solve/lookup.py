"""What a step's key is made of, and the cached result under it: this engine's, or one that was imported."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import replace

from tiffin.build.keys import ContentInput, Part, content_inputs, key_parts
from tiffin.build.solve import contents
from tiffin.build.solve.cache import Cache
from tiffin.build.solve.cache import Step as Record
from tiffin.build.solve.execution import held
from tiffin.build.solve.imports import Imports
from tiffin.build.solve.reasons import Reasons
from tiffin.build.solve.store import Store
from tiffin.build.solve.threads import in_thread
from tiffin.build.solve.values import EMPTY, Files, Outcome, Stack, Value
from tiffin.build.steps import Step
from tiffin.model.digest import Digest

_EVERYTHING = ContentInput(0, ("/",))


class Lookup:
    """Of one build.

    allowed    the chain IDs that results may have; None for any
    here       a step's outcome with its layers, fetched if need be
    elsewhere  the steps that were found and whose layers are not here
    contents   the digests of what was read, as in a Trail
    """

    def __init__(
        self,
        store: Store,
        cache: Cache,
        reasons: Reasons,
        undo: AsyncExitStack,
        *,
        epoch: int | None,
        allowed: Collection[Digest] | None,
        imports: Imports | None,
        here: Callable[[Digest], Awaitable[Outcome]],
    ) -> None:
        self._store, self._cache, self._reasons, self._undo = store, cache, reasons, undo
        self._epoch, self._allowed, self._imports, self._here = epoch, allowed, imports, here
        self.elsewhere: set[Digest] = set()
        self.contents: dict[tuple[Digest, str], Digest] = {}
        self._hashing = asyncio.Lock()

    async def parts(self, step: Step, inputs: list[Outcome | None], *, trusting: bool) -> tuple[Part, ...]:
        """What the key is made of. `inputs` get their layers where those must be read. NotFound for a missing file.

        trusting: what was imported counts.
        """
        imports = self._imports if trusting else None
        found = [await self._content_of(want, step, inputs, imports) for want in content_inputs(step)]
        keys: list[Digest | None] = []
        for one in by_key(step, inputs):
            if one is None:
                keys.append(None)
            else:
                keys.append(await self._content(_EVERYTHING, one.value) if isinstance(one.value, Files) else one.key)
        epoch = () if self._epoch is None else (Part("epoch", str(self._epoch)),)
        return (*key_parts(step, keys, found), *epoch)

    async def _content_of(
        self, want: ContentInput, step: Step, inputs: list[Outcome | None], imports: Imports | None
    ) -> Digest:
        one, given = inputs[want.index], step.inputs[want.index]
        if one is None or given is None:
            return await self._content(want, EMPTY)
        if given in self.elsewhere and isinstance(one.value, Stack) and one.value.chain:
            told = imports.contents.get((one.value.chain, want.name)) if imports else None
            if told is not None:
                self.contents[one.value.chain, want.name] = told
                return told
            one = inputs[want.index] = await self._here(given)
        return await self._content(want, one.value)

    async def _content(self, wanted: ContentInput, value: Value) -> Digest:
        def work() -> Digest:
            hashes = value.hashes if isinstance(value, Files) else contents.Hashes()
            listing: list[tuple[bytes, bytes]] = []
            with self._store.opened(value) as root:
                found = contents.digest(root, wanted, hashes, listing)
            self._reasons.listings[found] = listing
            return found

        if isinstance(value, Files):
            async with self._hashing:
                return await in_thread(work)
        if value.chain is None:
            return await in_thread(work)
        found = await in_thread(self._cache.content, value.chain, wanted.name, work)
        self.contents[value.chain, wanted.name] = found
        return found

    async def record(self, digest: Digest, key: Digest, below: Stack, *, trusting: bool) -> tuple[Record | None, bool]:
        """The cached result on the base's layers as this build has them (blobs may be compressed otherwise), and
        whether it was imported. Held, unless its layers are elsewhere."""
        imports = self._imports if trusting else None
        own = self._cache.find(key)
        told = imports.steps.get(key) if imports else None
        for record in (own, told):
            if record is None or not record.stack.stands_on(below):
                continue
            stack = Stack((*below.layers, *record.stack.layers[len(below.layers) :]))
            if self._allowed is not None and stack.chain not in self._allowed:
                continue
            strange = imports is not None and record is told and imports.strange(stack.layers)
            # not held is what is damaged, was pruned meanwhile, or removed by hand
            if not strange and await held(self._store, stack, self._undo):
                return replace(record, stack=stack), record is told
            if record is told:
                self.elsewhere.add(digest)
                return replace(record, stack=stack), True
        return None, False


def by_key(step: Step, inputs: list[Outcome | None]) -> list[Outcome | None]:
    """The inputs that count by their keys; None in place of those of which the content counts."""
    by_content = {one.index for one in content_inputs(step)}
    return [None if index in by_content else one for index, one in enumerate(inputs)]
