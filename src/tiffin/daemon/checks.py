"""Who takes part in `system check`."""

from tiffin.content.check import LedgerCheck
from tiffin.content.ledger import Ledger
from tiffin.engine.check import Check
from tiffin.engine.container_check import ContainersCheck
from tiffin.engine.container_context import Context
from tiffin.engine.container_restore import alive
from tiffin.networks.check import NetworksCheck
from tiffin.networks.service import Networks
from tiffin.snapshots import Snapshotter
from tiffin.volumes.check import VolumesCheck
from tiffin.volumes.service import Volumes


def check(ledger: Ledger, context: Context, snapshotter: Snapshotter, networks: Networks, volumes: Volumes) -> Check:
    """Every domain's part of `system check`, but the images', which needs the credentials of a request."""

    def holders() -> dict[str, list[str]]:
        return {
            one.id: [point.name for point in one.mounts if point.type == "volume"] for one in tuple(context.records)
        }

    return Check(
        (
            LedgerCheck(ledger),
            ContainersCheck(context, snapshotter),
            NetworksCheck(networks, lambda: alive(context)),
            VolumesCheck(volumes, context.settings.data_root / "volumes", holders, context.records.arriving),
        )
    )
