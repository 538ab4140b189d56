"""Something that `system check` has found to be wrong."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """subject: what it is about: a digest, an id, a path. problem: what is wrong, and where. advice: what to do.

    repair: does it; None where only people can. certain: nothing that is merely on its way looks like this. It may
    raise TiffinError or OSError, block, and be called from any thread.
    """

    domain: str
    kind: str
    subject: str
    problem: str
    advice: str
    certain: bool = False
    repair: Callable[[], object] | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> tuple[str, str, str]:
        """The same when it is found once more."""
        return self.domain, self.kind, self.subject
