"""Signals as bytes on a pipe, so that one loop waits for them along with everything else."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType

# left alone: they can't be caught, tell of our own faults, or mean nothing to a container
_OWN = frozenset(
    {
        signal.SIGKILL,
        signal.SIGSTOP,
        signal.SIGCHLD,
        signal.SIGPIPE,
        signal.SIGURG,
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGABRT,
        signal.SIGTRAP,
        signal.SIGSYS,
        signal.SIGWINCH,
    }
)
FORWARDED = tuple(number for number in range(1, 32) if number not in _OWN)


def wanted(*, forward: bool, resize: bool) -> tuple[int, ...]:
    """The signals that a session catches."""
    return (*(FORWARDED if forward else ()), *((signal.SIGWINCH,) if resize else ()))


def _note(_number: int, _frame: FrameType | None) -> None:
    """The wake-up pipe has it already."""


class Caught:
    """While inside, the signals arrive at `descriptor`, one byte each."""

    def __init__(self, numbers: tuple[int, ...]) -> None:
        self._numbers = numbers
        self._before: dict[int, object] = {}
        self.descriptor, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def __enter__(self) -> Caught:
        self._wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        for number in self._numbers:
            self._before[number] = signal.signal(number, _note)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._wakeup)
        os.close(self.descriptor)
        os.close(self._write_end)

    def take(self) -> list[int]:
        """Numbers of the signals that came."""
        try:
            return list(os.read(self.descriptor, 512))
        except BlockingIOError:
            return []


def name(number: int) -> str:
    """`INT` for 2, as the Engine API takes it."""
    return signal.Signals(number).name.removeprefix("SIG")
