"""What other firewalls of this host do to packets that it forwards. A drop is final, whoever accepted before.

Docker's FORWARD chain drops what no rule of its own accepts, and so do ufw's and firewalld's by default. Their tables
are theirs: it is said, once a table, how to let our bridges pass.
"""

from collections.abc import Iterable

from tiffin.netlink import nftables
from tiffin.networks.rules import TABLE

_DOCKERS = "DOCKER-USER"
"""The chain that Docker keeps for rules of others."""


def found(bridges: Iterable[str]) -> list[str]:
    """A line for each table that drops what nobody accepts and names none of these bridges. Raises OSError."""
    names = sorted(bridges)
    chains = [one for one in nftables.chains() if one.table != TABLE] if names else []
    said = []
    for chain in chains:
        if chain.hook != nftables.FORWARD or not chain.drops:
            continue
        written = b"".join(nftables.rules(chain.family, chain.table))
        left = [name for name in names if name.encode() + b"\0" not in written]
        if left:
            docker = any((one.family, one.table, one.name) == (chain.family, chain.table, _DOCKERS) for one in chains)
            said.append(_line(chain, left[0], docker=docker))
    return said


def _line(chain: nftables.Chain, bridge: str, *, docker: bool) -> str:
    family = nftables.FAMILIES.get(chain.family, str(chain.family))
    ways = " and ".join(f"`iptables -I {_DOCKERS} {way} {bridge} -j ACCEPT`" for way in ("-i", "-o"))
    advice = ways if docker else f"let it accept packets from and to {bridge}"
    return (
        f"the firewall table {family} {chain.table} (chain {chain.name}) drops what this host forwards for containers"
        f" on {bridge}: {advice}"
    )
