"""The image domain: names, configurations, archives."""

from tiffin.images.events import Message, Progress, Report, User, Users
from tiffin.images.listing import FILTERS, Query, Step, created_seconds, labels_match
from tiffin.images.making import Commit
from tiffin.images.removal import Deleted, Removed, Untagged
from tiffin.images.service import Images

__all__ = [
    "FILTERS",
    "Commit",
    "Deleted",
    "Images",
    "Message",
    "Progress",
    "Query",
    "Removed",
    "Report",
    "Step",
    "Untagged",
    "User",
    "Users",
    "created_seconds",
    "labels_match",
]
