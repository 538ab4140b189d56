"""A mount as snapshots give it and the runtime makes it (containerd's meaning)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mount:
    """`mount -t type -o options source`.

    type     `bind`, `overlay`, or another file system's name
    source   absolute path for `bind`, otherwise a label
    options  `ro`, `rbind`, or `key=value`. An overlay's `lowerdir=a:b` may be longer than a page: make it with
             fsconfig, one `lowerdir+` for each path (topmost first), where the kernel has it (6.5), else by mount(2).
             Paths in it hold no `:`, `,` or `\\`.
    """

    type: str
    source: str
    options: tuple[str, ...] = ()

    def option(self, key: str) -> str | None:
        for option in self.options:
            if option.startswith(key + "="):
                return option[len(key) + 1 :]
        return None
