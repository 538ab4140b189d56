"""The way in: a session with the first endpoint that answers for a registry, and login."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from tiffin.errors import Internal, TiffinError
from tiffin.model.reference import Reference
from tiffin.registry.authorization import challenges
from tiffin.registry.cancellation import Cancellation
from tiffin.registry.credentials import NOBODY, Credentials
from tiffin.registry.failures import Refused, Unreachable
from tiffin.registry.hosts import Endpoint, Hosts
from tiffin.registry.repository import Repository
from tiffin.registry.session import Retries, Session
from tiffin.registry.transport import Transport

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Registries:
    """Every registry, as the daemon is configured. `hosts` may be replaced while it runs."""

    hosts: Hosts
    transport: Transport = field(default_factory=Transport)
    retries: Retries = field(default_factory=Retries)

    def session(self, endpoint: Endpoint, credentials: Credentials, cancellation: Cancellation) -> Session:
        # what a user has for a registry is not for its mirrors
        own = NOBODY if endpoint.mirror else credentials
        return Session(endpoint, own, self.transport, cancellation, self.retries)

    def reading(
        self, reference: Reference, credentials: Credentials, cancellation: Cancellation
    ) -> Iterator[Repository]:
        """Where a repository may be read, the mirrors first; the next is tried when the ones before have failed.

        A mirror that can't be reached is passed over; raises Unreachable where the registry itself can't.
        """
        endpoints = self.hosts.pulling(reference.domain)
        for mirror in endpoints:
            if not mirror.mirror:
                continue
            session = self.session(mirror, credentials, cancellation)
            try:
                session.ping()
            except Unreachable as error:
                log.info("mirror %s of %s: %s", mirror.url, reference.domain, error)
                continue
            yield Repository(session, reference.path)
        own = [one for one in endpoints if not one.mirror]
        yield Repository(self.answering(own, credentials, cancellation), reference.path)

    def writing(self, reference: Reference, credentials: Credentials, cancellation: Cancellation) -> Repository:
        """The repository itself, never a mirror. Raises Unreachable."""
        session = self.answering(self.hosts.pushing(reference.domain), credentials, cancellation)
        return Repository(session, reference.path, writing=True)

    def answering(self, endpoints: list[Endpoint], credentials: Credentials, cancellation: Cancellation) -> Session:
        """A session with the first of one registry's endpoints that speaks HTTP. The last failure where none does."""
        failure: TiffinError | None = None
        for endpoint in endpoints:
            session = self.session(endpoint, credentials, cancellation)
            try:
                session.ping()
            except Unreachable as error:
                failure = error
                continue
            return session
        raise failure or Internal("no endpoint")

    def login(self, domain: str, credentials: Credentials, cancellation: Cancellation) -> str:
        """Check credentials; the identity token, where the registry gives one. Raises Refused, Unreachable."""
        session = self.answering(self.hosts.pushing(domain), credentials, cancellation)
        url = f"{session.endpoint.url}/v2/"
        with self.transport.exchange(
            "GET", url, headers={}, cancellation=cancellation, verify=session.endpoint.verify
        ) as answer:
            wanted = challenges(answer) if answer.status == 401 else []
        for scheme, parameters in wanted:
            if scheme == "bearer":
                try:
                    session.authorizer.fetch(parameters, (), cancellation, offline=True)
                except Refused as error:
                    raise Refused("", f'Get "{url}": {error}', error.status) from error
                return session.authorizer.identity_token
        headers = {"Authorization": credentials.basic()} if wanted else {}
        with self.transport.exchange(
            "GET", url, headers=headers, cancellation=cancellation, verify=session.endpoint.verify
        ) as answer:
            if answer.status != 200:
                text = f"login attempt to {url} failed with status: {answer.status} {answer.reason}"
                raise Refused("", text, answer.status)
        return ""
