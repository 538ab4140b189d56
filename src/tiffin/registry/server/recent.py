"""What requests have touched lately: no sweep removes it, whatever its marks say.

A sweep marks, then removes. A request that relies on something (a HEAD that says "it is here", a manifest that is
being pushed) touches it first and looks second: either the sweep was earlier, and the request sees that it is gone, or
the sweep finds it touched and leaves it.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Recent:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moments: dict[str, float] = {}
        self._held: Counter[str] = Counter()

    def touch(self, *keys: str) -> None:
        """Digests, repositories' names."""
        now = time.monotonic()
        with self._lock:
            for key in keys:
                self._moments[key] = now

    @contextmanager
    def holding(self, *keys: str) -> Iterator[None]:
        """Touch, and keep from every sweep until the end, however short its grace period."""
        with self._lock:
            self._held.update(keys)
        try:
            self.touch(*keys)
            yield
        finally:
            self.touch(*keys)
            with self._lock:
                self._held.subtract(keys)
                for key in keys:
                    if self._held[key] <= 0:
                        del self._held[key]

    @contextmanager
    def removing(self, key: str, until: float) -> Iterator[bool]:
        """Whether it may be removed: nobody holds it, or has since `until` (monotonic) touched it, or does within."""
        with self._lock:
            yield key not in self._held and self._moments.get(key, -1.0) < until

    def forget(self, until: float) -> None:
        """What was touched earlier (monotonic) protects nothing any more."""
        with self._lock:
            for key in [key for key, moment in self._moments.items() if moment < until]:
                del self._moments[key]
