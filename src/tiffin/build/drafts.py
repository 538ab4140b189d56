"""An image's configuration while instructions change it. Values: every change makes a new draft."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tiffin.model.digest import Digest
from tiffin.model.image import ImageConfig, config_bytes
from tiffin.model.platform import Platform

COMMENT = "buildkit.dockerfile.v0"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of the history. `created` is RFC 3339; None until the layer, or the image, is made."""

    created_by: str
    empty: bool
    created: str | None = None
    comment: str = COMMENT
    author: str = ""

    def document(self, created: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"created": self.created or created}
        if self.created_by:
            entry["created_by"] = self.created_by
        entry |= {key: value for key, value in (("author", self.author), ("comment", self.comment)) if value}
        return entry | ({"empty_layer": True} if self.empty else {})


@dataclass(frozen=True, slots=True)
class ImageDraft:
    """`run` has the document's names (Env, Cmd, …); `based_on` are the base image's layers, lowest first."""

    platform: Platform
    run: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[HistoryEntry, ...] = ()
    author: str = ""
    based_on: tuple[Digest, ...] = ()

    def with_run(self, **changes: Any) -> "ImageDraft":
        """None takes a key away."""
        kept = {key: value for key, value in self.run.items() if key not in changes}
        return replace(self, run=kept | {key: value for key, value in changes.items() if value is not None})

    def with_history(self, created_by: str, *, empty: bool = True) -> "ImageDraft":
        return replace(self, history=(*self.history, HistoryEntry(created_by, empty)))

    def with_author(self, author: str) -> "ImageDraft":
        return replace(self, author=author)

    def with_env(self, name: str, value: str) -> "ImageDraft":
        """In the place where the name stood, or last."""
        env = list(self.texts("Env"))
        found = next((index for index, item in enumerate(env) if item.partition("=")[0] == name), len(env))
        env[found : found + 1] = [f"{name}={value}"]
        return self.with_run(Env=tuple(env))

    def with_names(self, key: str, names: Iterable[str]) -> "ImageDraft":
        """For ExposedPorts and Volumes."""
        return self.with_run(**{key: dict(self.run.get(key) or {}) | {name: {} for name in names}})

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(self.run.get(key) or ())

    def text(self, key: str) -> str:
        return str(self.run.get(key) or "")

    def env(self) -> dict[str, str]:
        pairs = (item.partition("=") for item in self.texts("Env"))
        return {name: value for name, _, value in pairs}

    def document(self, diff_ids: tuple[Digest, ...], created: str) -> bytes:
        """The configuration. `diff_ids` are all layers; `created`, RFC 3339, is given to what has no time yet."""
        run = {key: _plain(value) for key, value in self.run.items() if value not in (None, "", (), [], {}, False)}
        history = tuple(entry.document(created) for entry in self.history)
        return config_bytes(self.platform, diff_ids, run, history, created=created, author=self.author)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def empty_draft(platform: Platform) -> ImageDraft:
    """FROM scratch."""
    return ImageDraft(platform, {"Env": (f"PATH={DEFAULT_PATH}",), "WorkingDir": "/"})


def draft_of(config: ImageConfig) -> ImageDraft:
    history = tuple(
        HistoryEntry(
            created_by=str(entry.get("created_by") or ""),
            empty=bool(entry.get("empty_layer")),
            created=entry.get("created"),
            comment=str(entry.get("comment") or ""),
            author=str(entry.get("author") or ""),
        )
        for entry in config.history
    )
    return ImageDraft(config.platform, dict(config.run), history, config.author, config.diff_ids)
