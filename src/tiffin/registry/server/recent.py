"""What requests have touched lately: no sweep removes it, whatever its marks say.

A sweep marks, then removes. A request that relies on something (a HEAD that says "it is here", a manifest that is
being pushed) touches it first and looks second: either the sweep was earlier, and the request sees that it is gone, or
the sweep finds it touched and leaves it.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Recent:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moments: dict[str, float] = {}

    def touch(self, *keys: str) -> None:
        """Digests, repositories' names."""
        now = time.monotonic()
        with self._lock:
            for key in keys:
                self._moments[key] = now

    @contextmanager
    def removing(self, key: str, until: float) -> Iterator[bool]:
        """Whether it may be removed: nobody has touched it since `until` (monotonic), and within nobody does."""
        with self._lock:
            yield self._moments.get(key, -1.0) < until

    def forget(self, until: float) -> None:
        """What was touched earlier (monotonic) protects nothing any more."""
        with self._lock:
            for key in [key for key, moment in self._moments.items() if moment < until]:
                del self._moments[key]
