"""EventMessage (API v1.51) with the fields of its older form, `status`, `id` and `from`."""

import msgspec


class EventActor(msgspec.Struct, rename={"id": "ID", "attributes": "Attributes"}):
    """The object that an event is about."""

    id: str
    attributes: dict[str, str]


class EventMessage(msgspec.Struct, omit_defaults=True):
    """One event; the legacy fields are left out where they don't apply."""

    type: str = msgspec.field(name="Type")
    action: str = msgspec.field(name="Action")
    actor: EventActor = msgspec.field(name="Actor")
    scope: str
    time: int
    """Seconds."""
    time_nano: int = msgspec.field(name="timeNano")
    status: str = ""
    id: str = ""
    from_: str = msgspec.field(name="from", default="")
