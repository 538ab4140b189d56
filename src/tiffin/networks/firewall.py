"""The one nftables table of ours, as the kernel has it; `rules` says what is in it."""

from collections.abc import Callable, Collection, Iterable, Sequence

from tiffin.model.network import Allowed
from tiffin.netlink import conntrack
from tiffin.netlink.nftables import Batch
from tiffin.netlink.socket import NETLINK_NETFILTER, Socket
from tiffin.networks import rules
from tiffin.networks.rules import TABLE, Bridge, Mapping


class Firewall:
    """The table as we last wrote it. Where it turns out to be different, it is written anew. Blocking."""

    def __init__(self) -> None:
        self._bridges: tuple[Bridge, ...] = ()
        self._mappings: dict[Mapping, None] = {}
        self._allowed: dict[Allowed, None] = {}
        # kept: to close one waits until the kernel has freed what transactions deleted, 12 ms
        self._socket: Socket | None = None

    def close(self) -> None:
        """Let go of the socket; the table stays."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def replace(self, bridges: Iterable[Bridge], mappings: Iterable[Mapping], allowed: Iterable[Allowed] = ()) -> None:
        """Write the whole table. Raises OSError."""
        self._bridges = tuple(bridges)
        self._mappings = dict.fromkeys(mappings)
        self._allowed = dict.fromkeys(allowed)
        self._send(rules.ruleset(self._bridges, self._mappings, self._allowed))

    def rewire(self, bridges: Iterable[Bridge]) -> None:
        """Write the rules of these bridges instead of those before; what is published stays. Raises OSError."""
        self._bridges = tuple(bridges)
        batch = Batch(TABLE)
        batch.clear_rules()
        batch.clear_set("bridges")
        rules.wire(batch, self._bridges)
        self._commit(batch)

    def publish(self, mappings: Sequence[Mapping]) -> None:
        """Add ports. Raises OSError."""
        self._mappings.update(dict.fromkeys(mappings))
        self._change(rules.publish, mappings)

    def withdraw(self, mappings: Sequence[Mapping]) -> None:
        """Take ports out. Raises OSError."""
        for one in mappings:
            self._mappings.pop(one, None)
        self._change(rules.withdraw, mappings)

    def allow(self, before: Collection[Allowed], after: Collection[Allowed]) -> None:
        """Let these reach each other instead of those. Raises OSError."""
        batch = Batch(TABLE)
        batch.delete_elements("links", [(rules.link(one), None) for one in before if one not in after])
        batch.add_elements("links", [(rules.link(one), None) for one in after])
        for one in before:
            self._allowed.pop(one, None)
        self._allowed.update(dict.fromkeys(after))
        self._commit(batch)

    def _change(self, how: Callable[[Batch, Iterable[Mapping]], None], mappings: Sequence[Mapping]) -> None:
        if not mappings:
            return
        batch = Batch(TABLE)
        how(batch, mappings)
        self._commit(batch)
        datagrams = {one.published.host_port for one in mappings if one.published.protocol == "udp"} - {0}
        if datagrams:
            conntrack.forget_udp(datagrams, self._socket)

    def _commit(self, batch: Batch) -> None:
        try:
            self._send(batch)
        except OSError:
            # `nft flush ruleset`, or a leftover of a daemon that was killed
            self._send(rules.ruleset(self._bridges, self._mappings, self._allowed))

    def _send(self, batch: Batch) -> None:
        self._socket = self._socket or Socket(NETLINK_NETFILTER)
        try:
            batch.commit(self._socket)
        except OSError:
            self.close()  # with whatever else the kernel has answered
            raise
