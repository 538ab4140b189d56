"""GET /images/{name}/layers, a route of tiffin's own: what each layer adds, changes, hides and wastes."""

from msgspec import Struct


class File(Struct, rename="pascal"):
    path: str
    size: int


class Tally(Struct, rename="pascal"):
    """names: how many; size: bytes of their files; largest: some of them, largest first."""

    names: int
    size: int
    largest: list[File]


class Layer(Struct, rename="pascal", kw_only=True):
    """Lowest first in the answer. id: digest of the layer's plain tar; size: bytes of the files in it."""

    id: str
    instruction: str
    size: int
    adds: Tally
    changes: Tally
    hides: Tally
    wastes: Tally
