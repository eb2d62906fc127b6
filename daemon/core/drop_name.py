"""Which names in inbox/ are drops, judged by the name alone."""

from __future__ import annotations

import enum
import re
import unicodedata
from typing import Final

PAUSE_NAME: Final = "PAUSE"

DEFAULTS_NAMES: Final = ("_defaults.yaml", "_defaults.yml")
"""What gives the defaults of a folder, in any case of letters."""
RESULT_TABLE: Final = ".result.csv"
"""Behind the name of a table: the table with what became of each row."""

_DROP_ENDINGS: Final = (".yaml", ".yml", ".csv", ".txt")
_TABLE_ENDING: Final = ".csv"
_TEXT_ENDING: Final = ".txt"
# What systems put behind a copied name's stem, in small letters: Windows, a Mac, browsers, file managers on Linux.
_COPIED: Final = r"(?: ?-? ?(?:copy|kopie|복사본)(?: \d+)?| ?-? ?\(\d+\)|_\d+)*"
# Texts that stand in folders for people to read, what we write ourselves, and what hides a second ending on Windows.
_NO_TEXT: Final = re.compile(rf"(?:readme|howto|pause|_defaults|.*\.(?:error|ya?ml|csv)){_COPIED}\.txt", re.DOTALL)
_RESULT: Final = re.compile(rf".*\.result{_COPIED}\.csv", re.DOTALL)
_NO_TABLE: Final = re.compile(rf"_defaults{_COPIED}\.(?:csv|ya?ml)")
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

# As Dropbox writes it on a computer in that language; found in files that people published, not in its manual.
_DROPBOX_WORDS: Final = "|".join(
    re.escape(words)
    for words in (
        "in Konflikt stehende Kopie",
        "copie en conflit",
        "copia en conflicto",
        "copia conflictiva",
        "Conflicto de mayúsculas y minúsculas",
        "copia in conflitto",
        "cópia em conflito",
        "kopia powodująca konflikt",
        "конфликтующая копия",
        "충돌된 사본",
        "競合コピー",
        "問題のあるコピー",
        "冲突副本",
        "衝突複本",
    )
)
# Each is anchored to the end of the stem, where the programs put it: "the conflict.yaml" stays a drop. So does what
# people and browsers write as well: "x (1)" (Google Drive, OneDrive), "x 2" (iCloud), "x_conf(1)", "x-OFFICE".
_CONFLICT_COPY: Final = re.compile(
    rf"""
    (?: \( [^/]* \b(?:conflicted\ copy|case\ clash|sfconflict)\b [^/]* \)  # Dropbox, Nextcloud, ownCloud; Seafile
      | \( [^/]* \b(?:case|unicode\ encoding|selective\ sync|white\ ?space)\ conflict\b [^/]* \)  # Dropbox
      | \( [^/]* (?:{_DROPBOX_WORDS}) [^/]* \)                           # Dropbox in other languages
      | \ \(conflicted\)                                                 # pCloud, some versions
      | -safebackup-\d{{4}}                                            # OneDrive Client for Linux
      | \.sync-conflict-\d{{8}}-\d{{6}} (?:-[0-9a-z]{{7}})?             # Syncthing
      | _conflict-\d{{8}}-\d{{6}}                                    # ownCloud, older
      | _[^_/]+ _[a-z]{{3}}-\d{{2}}-\d{{4,6}}-\d{{4}} _(?:case)?conflict  # Synology Drive
      | \.conflict\d*                                                     # Resilio, rclone bisync
      | \ \[conflict (?:ed)? [^/\]]* \]                                  # Google Drive, pCloud
    ) (?:\ \(\d+\))? $
    """,
    re.VERBOSE | re.IGNORECASE,
)
# OneDrive appends the computer's name; only the names that Windows itself gives can be told from a person's.
_ONEDRIVE_COPY: Final = re.compile(r"-(?:DESKTOP-[A-Z0-9]{7}|LAPTOP-[A-Z0-9]{8}|WIN-[A-Z0-9]{11})(?:-\d+)?$")


class Kind(enum.StrEnum):
    """What a name in inbox/ stands for.

    DEFAULTS gives the defaults of its folder; RESULT is a table with what became of each row, which is left lying.
    """

    DROP = "drop"
    IGNORED = "ignored"
    CONFLICT = "conflict"
    PAUSE = "pause"
    DEFAULTS = "defaults"
    RESULT = "result"


def kind(name: str) -> Kind:
    """What a path relative to inbox/ (with ``/``) stands for.

    ``.yaml``, ``.yml``, ``.csv``, and ``.txt`` in any case are drops, unless a program made them for itself (DESIGN,
    "Not drops"); a text only where its folder's defaults give the rest (`is_text`). A table of results is none: whose
    rows it would order again is not known.
    """
    if name == PAUSE_NAME:
        return Kind.PAUSE
    folder, _, base = name.rpartition("/")
    if not base.lower().endswith(_DROP_ENDINGS) or base.startswith(_IGNORED_BEGINNINGS):
        return Kind.IGNORED
    if folder and any(is_ignored_folder(part) for part in folder.split("/")):
        return Kind.IGNORED
    stem = unicodedata.normalize("NFC", base.rpartition(".")[0])  # a Mac takes letters apart
    if _CONFLICT_COPY.search(stem) or _ONEDRIVE_COPY.search(stem):
        return Kind.CONFLICT
    return _kind_of_ours(unicodedata.normalize("NFC", base).lower())


def _kind_of_ours(base: str) -> Kind:
    if base in DEFAULTS_NAMES:
        return Kind.DEFAULTS
    if _RESULT.fullmatch(base):
        return Kind.RESULT
    return Kind.IGNORED if _NO_TEXT.fullmatch(base) or _NO_TABLE.fullmatch(base) else Kind.DROP


def is_text(name: str) -> bool:
    """Whether a drop is a text: one job, where the folder's defaults give the rest."""
    return name.lower().endswith(_TEXT_ENDING)


def is_table(name: str) -> bool:
    """Whether a drop is a table: one job a row."""
    return name.lower().endswith(_TABLE_ENDING)


def is_defaults(name: str) -> bool:
    """Whether the name is that of a folder's defaults."""
    return name.rpartition("/")[2].lower() in DEFAULTS_NAMES


def folders_of(name: str) -> tuple[str, ...]:
    """The folders whose defaults hold for a name, outermost first; inbox/ itself is empty."""
    parts = name.split("/")[:-1]
    return tuple("/".join(parts[:count]) for count in range(len(parts) + 1))


_SCRATCH_ENDINGS: Final = (".part", ".partial", ".tmp", ".crdownload", ".download", ".swp", ".bak", ".orig", "~")
_FOR_READERS: Final = ("readme", "howto")
_SCRATCH_NAMES: Final = frozenset({"thumbs.db", "desktop.ini"})


def is_stranger(name: str) -> bool:
    """Whether a file that is no drop was probably meant as one: nobody's scratch, so that a person should be told.

    Args:
        name: path relative to inbox/, of kind IGNORED, and of a file.
    """
    base = name.rpartition("/")[2].lower()
    is_scratch = base.startswith(_IGNORED_BEGINNINGS) or base.endswith(_SCRATCH_ENDINGS) or base in _SCRATCH_NAMES
    return not is_scratch and not base.startswith(_FOR_READERS)


def is_ignored_folder(base: str) -> bool:
    """Whether nothing below a folder of this name is a drop; ``base`` is one segment of a path."""
    return base.startswith(_IGNORED_BEGINNINGS) or base.lower() in _IGNORED_FOLDERS
