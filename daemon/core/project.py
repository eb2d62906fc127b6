"""A project as the cloud describes it, beyond the progress of its render (API.md: ``GET /editor/project``)."""

from __future__ import annotations

from dataclasses import field
from typing import Final

from daemon.core.record import dataclass

FAILURE_STATES: Final = frozenset(
    {"fail", "failed", "failure", "error", "errored", "cancel", "canceled", "cancelled", "rejected", "aborted"}
)
"""What a state may say when the render has ended badly. No document lists them; only plain words count."""


@dataclass(frozen=True, slots=True)
class Project:
    """One project.

    Attributes:
        id: the project id.
        state: in lower case, such as ``exported``; empty where it was not told.
        percent: 0 to 100; None where it was not told.
        url: the signed link to the video, where there is one; never logged or kept.
        created_at: seconds since 1970 by *our* clock (the cloud's own is corrected by the answer's ``Date``); None
            where it was not told in a way that can be understood.
        texts: every text in the answer, white space made even; the words that are to be said may be one of them.
        models: what stands under a key that names a model; empty where no model is told.
        clothes: the same of clothes.
        credit: how much credit was taken; None where it was not told.
        words: what the cloud said about a failure, redacted; may be empty.
    """

    id: str
    state: str = ""
    percent: float | None = None
    url: str | None = field(default=None, repr=False)
    created_at: float | None = None
    texts: frozenset[str] = field(default=frozenset(), repr=False)
    models: frozenset[str] = frozenset()
    clothes: frozenset[str] = frozenset()
    credit: float | None = None
    words: str = ""

    @property
    def has_failed(self) -> bool:
        """The state says that the render has ended without a video."""
        return self.state in FAILURE_STATES


def even(text: str) -> str:
    """The text with its white space made even, for comparing."""
    return " ".join(text.split())
