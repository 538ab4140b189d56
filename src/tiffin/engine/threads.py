"""Work that may have to wait for others, a client that sends or a file system that does not answer, in threads of its
own: the loop's pool is small and serves what must be quick.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_POOL = ThreadPoolExecutor(512, thread_name_prefix="waiting")


async def in_thread(work: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> T:
    """As asyncio.to_thread."""
    return await asyncio.get_running_loop().run_in_executor(_POOL, partial(work, *arguments, **named))
