"""What is held or was touched is not removed."""

import threading
import time

from tiffin.registry.server.recent import Recent


def removable(recent: Recent, key: str, until: float) -> bool:
    with recent.removing(key, until) as permitted:
        return permitted


def test_what_was_touched_since_stays() -> None:
    recent = Recent()
    before = time.monotonic()
    recent.touch("a")
    after = time.monotonic() + 0.001
    assert not removable(recent, "a", before)
    assert removable(recent, "a", after)
    assert removable(recent, "b", before)
    recent.forget(after)
    assert removable(recent, "a", before)


def test_what_is_held_stays_whatever_the_grace() -> None:
    recent = Recent()
    later = time.monotonic() + 1000
    with recent.holding("a", "b"), recent.holding("a"):
        assert not removable(recent, "a", later)
        recent.forget(later)
        assert not removable(recent, "a", later)
    assert removable(recent, "a", later)
    assert removable(recent, "b", later)


def test_nobody_touches_while_it_is_removed() -> None:
    recent, order = Recent(), list[str]()

    def touch() -> None:
        recent.touch("a")
        order.append("touched")

    with recent.removing("a", time.monotonic()) as permitted:
        assert permitted
        thread = threading.Thread(target=touch)
        thread.start()
        order.append("removed")
    thread.join()
    assert order == ["removed", "touched"]
