"""Steps of builds that failed, as tiffin's own routes tell of them."""

from msgspec import Struct


class FailedStep(Struct, rename="pascal"):
    """created: seconds since the epoch; size: bytes of what the step has left."""

    id: str
    step: str
    exit_code: int
    created: int
    size: int
