"""Who is called what on which network, and what a container that asks for a name hears."""

import random
from collections.abc import Iterable, Sequence

from tiffin.model.network import Endpoint
from tiffin.networks import dns_message as dns


class Names:
    """The names of the running containers on user networks. Without regard to case, as DNS has it."""

    def __init__(self) -> None:
        self._named: dict[str, dict[str, dict[str, Endpoint]]] = {}  # network, name, endpoint
        self._addressed: dict[str, dict[str, Endpoint]] = {}  # network, address

    def add(self, endpoint: Endpoint) -> None:
        """Make a container known under its names and addresses."""
        if endpoint.dns_names is None:
            return
        named = self._named.setdefault(endpoint.network_id, {})
        for name in endpoint.dns_names:
            named.setdefault(name.lower(), {})[endpoint.id] = endpoint
        addressed = self._addressed.setdefault(endpoint.network_id, {})
        for address in (endpoint.ipv4, endpoint.ipv6):
            if address:
                addressed[address] = endpoint

    def remove(self, endpoint: Endpoint) -> None:
        """Forget what `add` did; forgetting twice is no error."""
        named = self._named.get(endpoint.network_id, {})
        for name in endpoint.dns_names or ():
            holders = named.get(name.lower(), {})
            holders.pop(endpoint.id, None)
            if not holders:
                named.pop(name.lower(), None)
        addressed = self._addressed.get(endpoint.network_id, {})
        for address in (endpoint.ipv4, endpoint.ipv6):
            if address in addressed and addressed[address].id == endpoint.id:
                del addressed[address]
        if not named:
            self._named.pop(endpoint.network_id, None)
        if not addressed:
            self._addressed.pop(endpoint.network_id, None)

    def answer(self, question: dns.Question, places: Sequence[Endpoint], *, limit: int) -> bytes | None:
        """What a container on these networks hears; None when the name is none of ours.

        A name of ours that has no record of the wanted kind is answered with none: asked elsewhere, a resolver that
        doesn't know it would say that there is no such name at all.
        """
        if question.space != dns.IN:
            return None
        if question.kind == dns.PTR and (address := dns.address_asked(question.name)):
            name = self._name_of(address, places)
            if not name:
                return None
            record = dns.name_record(name)
            return dns.answer(question, [record] if record else [], limit=limit)
        found = self._find(question.name, places)
        if not found:
            return None
        texts = [text for one in found for text in (one.ipv4, one.ipv6) if text]
        records = [record for record in map(dns.address_record, texts) if record[0] == question.kind]
        random.shuffle(records)
        return dns.answer(question, records, limit=limit)

    def _name_of(self, address: str, places: Iterable[Endpoint]) -> str:
        for place in places:
            one = self._addressed.get(place.network_id, {}).get(address)
            if one is not None and one.dns_names:
                return f"{one.dns_names[0]}.{one.network}"
        return ""

    def _find(self, name: str, places: Sequence[Endpoint]) -> list[Endpoint]:
        """On the first network that knows the name; `name.network` names the network as well."""
        if found := self._on(name, places):
            return found
        end = len(name)
        while (end := name.rfind(".", 0, end)) > 0:
            network = name[end + 1 :]
            if found := self._on(name[:end], [place for place in places if place.network.lower() == network]):
                return found
        return []

    def _on(self, name: str, places: Iterable[Endpoint]) -> list[Endpoint]:
        for place in places:
            named = self._named.get(place.network_id, {})
            found = named.get(name) or named.get(_linked(place, name))
            if found:
                return list(found.values())
        return []


def _linked(place: Endpoint, name: str) -> str:
    """The container that the asking one knows by a name of its own (`--link db:database`), "" for none."""
    for link in place.request.links or ():
        target, _, alias = link.partition(":")
        if name == (alias or target).lower():
            return target.lower().removeprefix("/")
    return ""
