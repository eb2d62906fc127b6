"""Which names in inbox/ are drops, judged by the name alone."""

from __future__ import annotations

import enum
import re
from typing import Final

PAUSE_NAME: Final = "PAUSE"

_DROP_ENDINGS: Final = (".yaml", ".yml")
_IGNORED_BEGINNINGS: Final = (".", "~$")
# Recycle bins and snapshots hold what people threw away: rendering that again would cost money.
_IGNORED_FOLDERS: Final = frozenset(
    {
        "@eadir",
        "@recycle",
        "@recently-snapshot",
        "@tmp",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "__macosx",
        "lost+found",
        "recycler",
        "system volume information",
    }
)

# Each is anchored to the end of the stem, where the programs put it: "the conflict.yaml" stays a drop.
_CONFLICT_COPY: Final = re.compile(
    r"""
    (?: \( [^/]* \b(?:conflicted\ copy|case\ conflict|case\ clash|sfconflict)\b [^/]* \)  # Dropbox
      | \.sync-conflict-\d{8}-\d{6} (?:-[0-9a-z]{7})?                     # Syncthing
      | _conflict-\d{8}-\d{6}                                            # ownCloud
      | _[^_/]+ _[a-z]{3}-\d{2}-\d{4,6}-\d{4} _(?:case)?conflict          # Synology Drive
      | \.conflict                                                       # Resilio
      | \ \[conflict (?:ed)? [^/\]]* \]                                  # Google Drive, pCloud
    ) (?:\ \(\d+\))? $
    """,
    re.VERBOSE | re.IGNORECASE,
)
# OneDrive appends the computer's name; only the names that Windows itself gives can be told from a person's.
_ONEDRIVE_COPY: Final = re.compile(r"-(?:DESKTOP-[A-Z0-9]{7}|LAPTOP-[A-Z0-9]{8})(?:-\d+)?$")


class Kind(enum.StrEnum):
    """What a name in inbox/ stands for."""

    DROP = "drop"
    IGNORED = "ignored"
    CONFLICT = "conflict"
    PAUSE = "pause"


def kind(name: str) -> Kind:
    """What a path relative to inbox/ (with ``/``) stands for.

    ``.yaml`` and ``.yml`` in any case are drops, unless a program made them for itself (DESIGN, "Not drops").
    """
    if name == PAUSE_NAME:
        return Kind.PAUSE
    folder, _, base = name.rpartition("/")
    if not base.lower().endswith(_DROP_ENDINGS) or base.startswith(_IGNORED_BEGINNINGS):
        return Kind.IGNORED
    if folder and any(is_ignored_folder(part) for part in folder.split("/")):
        return Kind.IGNORED
    stem = base.rpartition(".")[0]
    if _CONFLICT_COPY.search(stem) or _ONEDRIVE_COPY.search(stem):
        return Kind.CONFLICT
    return Kind.DROP


def is_ignored_folder(base: str) -> bool:
    """Whether nothing below a folder of this name is a drop; ``base`` is one segment of a path."""
    return base.startswith(_IGNORED_BEGINNINGS) or base.lower() in _IGNORED_FOLDERS
