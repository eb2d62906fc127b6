"""What was asked and what became of it, since the start or the last reset."""

from __future__ import annotations

import collections
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request for an export.

    Attributes:
        number: 1 for the first that came in, and so on.
        at: when, in seconds since 1970.
        fields: its JSON object; None where it could not be read.
        is_accepted: whether it was accepted, which is to say paid, whatever the client was told.
        key: the project's; None where there is none.
        fault: the fault that struck it, in short; empty where it was spared.
        code: the HTTP status code that the client was sent, or would have been.
        version: of the API by which it came.
        is_exported: whether it is rendered; v3 accepts projects that are not, unless ``isExport`` is true.
    """

    number: int
    at: float
    fields: Any
    is_accepted: bool
    key: str | None
    fault: str
    code: int
    version: str = "v2"
    is_exported: bool = False

    @property
    def text(self) -> str:
        """The text that was to be said; empty where there is none."""
        return str(self.fields.get("text", "")) if isinstance(self.fields, dict) else ""


@dataclass(frozen=True, slots=True)
class Served:
    """One request that was answered, for whoever wants to print it.

    Attributes:
        target: one of the targets that can fail (``export``, ``progress``, ...), ``thumbnail``, or ``stray``.
        subject: the project's key, or what was asked for instead.
        code: the HTTP status code.
        fault: the fault that struck it, in short; empty where it was spared.
        note: what else there is to say, such as the percentage.
    """

    target: str
    subject: str
    code: int
    fault: str = ""
    note: str = ""

    def __str__(self) -> str:
        """One line: ``export   6a3f...  200  accepted``."""
        parts = [
            f"{self.target:<8}",
            self.subject,
            str(self.code),
            self.note,
            self.fault and f"fault {self.fault}",
        ]
        return "  ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Stray:
    """A request to a path that there is not, such as one that followed a redirect, and what it gave away."""

    method: str
    path: str
    has_credential: bool
    bytes: int


@dataclass(slots=True)
class Tally:
    """What was counted since the start, or the last reset; refused requests count too."""

    exports: int = 0
    polls: int = 0
    downloads: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    strays: list[Stray] = field(default_factory=list)
    polls_of: collections.Counter[str] = field(default_factory=collections.Counter)
    downloads_of: collections.Counter[str] = field(default_factory=collections.Counter)
    asked: collections.Counter[str] = field(default_factory=collections.Counter)
